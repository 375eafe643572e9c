"""nDCG, recall and MRR of rankings, computed by ir_measures with trec_eval's own code."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from ragctl.errors import UsageError
from ragctl.evaluate.judgements import Qrels
from ragctl.installation import install_command

Scores = Mapping[str, Mapping[str, float]]
"""Measure → question → value, 0 to 1."""

NDCG = "nDCG@10"
NDCG_CUT = 10


def check_extra(*packages: str) -> None:
    """Raise UsageError if a package of the extra `eval` is not installed."""
    for package in packages or ("ir_measures", "scipy"):
        if find_spec(package) is None:
            raise UsageError(
                f"this needs {package}, which is not installed: {install_command('eval')}"
            )


def depth(cuts: Sequence[int]) -> int:
    """Return how many ranks the measures look at."""
    return max(NDCG_CUT, *cuts)


def names(cuts: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the measures, in the order of the tables."""
    return (NDCG, *(f"recall@{cut}" for cut in sorted(set(cuts))), f"MRR@{depth(cuts)}")


def measure(qrels: Qrels, rankings: Mapping[str, Sequence[str]], cuts: Sequence[int]) -> Scores:
    """Measure rankings (question → units, best first) for every question of `qrels`.

    The measures are nDCG@10 with the grades as gains, recall at each cut, and the reciprocal rank
    of the first relevant unit within `depth(cuts)`. A question without a ranking has 0.
    """
    check_extra("ir_measures")
    import ir_measures
    from ir_measures import RR, R, nDCG

    metrics = [nDCG @ NDCG_CUT, *(R @ cut for cut in sorted(set(cuts))), RR]
    named = dict(zip(map(str, metrics), names(cuts), strict=True))
    scores: dict[str, dict[str, float]] = {name: {} for name in named.values()}
    judgements = [
        ir_measures.Qrel(question, unit, grade)
        for question, grades in qrels.items()
        for unit, grade in grades.items()
    ]
    for metric in ir_measures.iter_calc(metrics, judgements, list(_scored(rankings, depth(cuts)))):
        scores[named[str(metric.measure)]][metric.query_id] = float(metric.value)
    return scores


def _scored(rankings: Mapping[str, Sequence[str]], ranks: int) -> Iterator[tuple[str, str, float]]:
    """Yield scores that decrease by one per rank.

    trec_eval orders by score, and equal scores by name, descending.
    """
    import ir_measures

    for question, ranking in rankings.items():
        for rank, unit in enumerate(ranking[:ranks]):
            yield ir_measures.ScoredDoc(question, unit, float(ranks - rank))


def mean(values: Mapping[str, float], among: Sequence[str]) -> float:
    """Return the mean of the values of some questions."""
    return sum(values[name] for name in among) / len(among)
