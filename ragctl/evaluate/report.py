"""An evaluation as figures: JSON, and the rows of its tables."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ragctl.evaluate.compare import Difference
from ragctl.evaluate.measures import NDCG, mean, names
from ragctl.evaluate.sweep import ALL, Evaluation, Result
from ragctl.hosts.usage import UsageTotals
from ragctl.records import Json
from ragctl.stores.base import Collection


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; None where nothing was timed."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        if not seconds:
            return cls(None, None)
        ordered = sorted(seconds)
        late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return cls(1000 * statistics.median(ordered), 1000 * late)

    def to_json(self) -> dict[str, Json]:
        return {"p50_ms": _rounded(self.p50, 3), "p95_ms": _rounded(self.p95, 3)}


def search_latency(result: Result) -> Latency:
    """Of the store alone."""
    return Latency.of(list(result.ranked.seconds.values()))


def whole_latency(evaluation: Evaluation, result: Result) -> Latency:
    """With the question's embedding, of those that were embedded one by one."""
    waited = [
        (evaluation.asked.waited(question, result.setting.mode), search)
        for question, search in result.ranked.seconds.items()
    ]
    return Latency.of([before + search for before, search in waited if before is not None])


def name_of(result: Result) -> str:
    """A setting in words."""
    mode, *rest = str(result.setting).split(", ")
    return " ".join([mode.removeprefix("mode="), *rest])


def to_json(
    evaluation: Evaluation, collection: Collection, *, questions: int, bill: UsageTotals | None
) -> dict[str, Json]:
    """The document of `--json`. `questions`: how many the set has."""
    judged = evaluation.judged
    return {
        "collection": collection.name,
        "model": collection.settings.identity.model,
        "dimension": collection.settings.dim,
        "judged_by": judged.by,
        "questions": questions,
        "asked": len(judged.questions),
        "unanswerable": list(judged.unanswerable),
        "missing": [
            {"question": each.question, "source": each.source, "why": each.why}
            for each in judged.missing
        ],
        "settings": [_result(evaluation, result) for result in evaluation.results],
        "embedding": {
            "requests": bill.requests if bill else 0,
            "tokens": bill.tokens if bill else 0,
            "cost": bill.cost if bill else 0.0,
        },
        "notes": list(evaluation.notes),
    }


def _result(evaluation: Evaluation, result: Result) -> dict[str, Json]:
    return {
        "name": name_of(result),
        "setting": result.setting.to_json(),
        "bytes_per_vector": result.size,
        "groups": {
            group: {"questions": len(ids), **means(evaluation, result, ids)}
            for group, ids in evaluation.groups.items()
        },
        "latency": {
            "search": search_latency(result).to_json(),
            "with_embedding": whole_latency(evaluation, result).to_json(),
        },
        "against_first": None
        if result.differences is None
        else {name: _difference(each) for name, each in result.differences.items()},
        "per_question": {
            name: {key: _rounded(value, 6) for key, value in values.items()}
            for name, values in result.scores.items()
        },
    }


def means(evaluation: Evaluation, result: Result, ids: Sequence[str]) -> dict[str, Json]:
    return {name: _rounded(mean(result.scores[name], ids), 6) for name in names(evaluation.cuts)}


def _difference(found: Difference) -> dict[str, Json]:
    return {
        "difference": _rounded(found.difference, 6),
        "p": _rounded(found.p, 6),
        "p_holm": _rounded(found.p_holm, 6),
        "won": found.won,
        "lost": found.lost,
        "tied": found.tied,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


Rows = list[tuple[str, ...]]


def tables(evaluation: Evaluation) -> list[Rows]:
    """What is printed: the settings where there are several, then the languages."""
    if len(evaluation.results) == 1:
        return [groups_table(evaluation)]
    found = [settings_table(evaluation)]
    return [*found, groups_table(evaluation)] if len(evaluation.groups) > 1 else found


def title(evaluation: Evaluation, collection: Collection) -> str:
    count, unit = len(evaluation.judged.questions), evaluation.judged.by
    model = collection.settings.identity.model
    return f"{collection.name}: {model}, {count:,} questions, judged by {unit}"


def head(evaluation: Evaluation, collection: Collection, bill: UsageTotals | None) -> list[str]:
    """What is said above the tables."""
    lines = [title(evaluation, collection)]
    if len(evaluation.results) == 1:
        only = evaluation.results[0]
        search, whole = search_latency(only), whole_latency(evaluation, only)
        lines[0] += f", {name_of(only)}"
        lines.append(
            f"search p50 {_ms(search.p50)} ms, p95 {_ms(search.p95)} ms; "
            f"with embedding p50 {_ms(whole.p50)} ms, p95 {_ms(whole.p95)} ms"
        )
    else:
        lines.append(
            f"differences are of {NDCG} from the first setting; p by a paired randomisation "
            "test, after Holm"
        )
    if bill is not None and bill.tokens:
        cost = "at a price unknown" if bill.cost is None else f"${bill.cost:.4f}"
        lines.append(f"questions embedded once: {bill.tokens:,} tokens, {cost}")
    return [*lines, *(f"note: {note}" for note in evaluation.notes)]


def settings_table(evaluation: Evaluation) -> Rows:
    """A row a setting, with a letter by which the plot knows it; the first row is the head."""
    measured = names(evaluation.cuts)
    rows: Rows = [("", "setting", *measured, "bytes", "p50 ms", "difference", "p", "won/lost")]
    for letter, result in zip(letters(), evaluation.results, strict=False):
        scores = [f"{mean(result.scores[name], evaluation.groups[ALL]):.3f}" for name in measured]
        size = "-" if result.size is None else f"{result.size:,}"
        rows.append(
            (
                letter,
                name_of(result),
                *scores,
                size,
                _ms(search_latency(result).p50),
                *_apart(result),
            )
        )
    return rows


def groups_table(evaluation: Evaluation) -> Rows:
    """A row a language: of one setting every measure, of several their nDCG@10."""
    if len(evaluation.results) == 1:
        measured = names(evaluation.cuts)
        only = evaluation.results[0]
        rows: Rows = [("language", "questions", *measured)]
        for group, ids in evaluation.groups.items():
            values = (f"{mean(only.scores[name], ids):.3f}" for name in measured)
            rows.append((group, f"{len(ids):,}", *values))
        return rows
    rows = [(NDCG, *(f"{group} ({len(ids):,})" for group, ids in evaluation.groups.items()))]
    for result in evaluation.results:
        values = (f"{mean(result.scores[NDCG], ids):.3f}" for ids in evaluation.groups.values())
        rows.append((name_of(result), *values))
    return rows


def letters() -> Sequence[str]:
    """Names of points in a plot: a to z, A to Z, 0 to 9, and two more."""
    return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@&"


def _apart(result: Result) -> tuple[str, str, str]:
    """The nDCG@10 against the first setting's, and the corrected p of that."""
    if result.differences is None:
        return "", "", ""
    found = result.differences[NDCG]
    p = "<0.001" if found.p_holm < 0.001 else f"{found.p_holm:.3f}"
    return f"{found.difference:+.3f}", p, f"{found.won}/{found.lost}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
