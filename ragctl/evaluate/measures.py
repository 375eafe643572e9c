"""nDCG, recall and MRR of rankings, by ir_measures (which asks trec_eval's own code)."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from ragctl.errors import UsageError
from ragctl.evaluate.judging import Qrels
from ragctl.installation import install_command

Scores = Mapping[str, Mapping[str, float]]
"""Measure → question → value, 0 to 1."""

NDCG = "nDCG@10"
_CUT = 10


def check_extra(*packages: str) -> None:
    """Raise UsageError where what the extra brings is missing."""
    for package in packages or ("ir_measures", "scipy"):
        if find_spec(package) is None:
            raise UsageError(
                f"this needs {package}, which is not installed: {install_command('eval')}"
            )


def depth(cuts: Sequence[int]) -> int:
    """How many ranks are looked at."""
    return max(_CUT, *cuts)


def names(cuts: Sequence[int]) -> tuple[str, ...]:
    """The measures, in the order of tables."""
    return (NDCG, *(f"recall@{cut}" for cut in sorted(set(cuts))), f"MRR@{depth(cuts)}")


def measure(qrels: Qrels, rankings: Mapping[str, Sequence[str]], cuts: Sequence[int]) -> Scores:
    """The measures of rankings (question → units, best first) for every question of `qrels`.

    nDCG@10 with the grades as gains, recall at each cut, and the reciprocal rank of
    the first relevant unit within `depth(cuts)`. A question without a ranking has 0.
    """
    check_extra("ir_measures")
    import ir_measures
    from ir_measures import RR, R, nDCG

    wanted = [nDCG @ _CUT, *(R @ cut for cut in sorted(set(cuts))), RR]
    named = dict(zip(map(str, wanted), names(cuts), strict=True))
    found: dict[str, dict[str, float]] = {name: {} for name in named.values()}
    judged = [
        ir_measures.Qrel(question, unit, grade)
        for question, grades in qrels.items()
        for unit, grade in grades.items()
    ]
    for metric in ir_measures.iter_calc(wanted, judged, list(_scored(rankings, depth(cuts)))):
        found[named[str(metric.measure)]][metric.query_id] = float(metric.value)
    return found


def _scored(rankings: Mapping[str, Sequence[str]], ranks: int) -> Iterator[tuple[str, str, float]]:
    """Scores that fall by one a rank: trec_eval orders by score, equal ones by name backwards."""
    import ir_measures

    for question, ranking in rankings.items():
        for rank, unit in enumerate(ranking[:ranks]):
            yield ir_measures.ScoredDoc(question, unit, float(ranks - rank))


def mean(values: Mapping[str, float], among: Sequence[str]) -> float:
    """The mean of some questions' values."""
    return sum(values[name] for name in among) / len(among)
