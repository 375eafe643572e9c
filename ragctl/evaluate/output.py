"""The results of an evaluation as JSON and as tables."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ragctl.evaluate.compare import Difference
from ragctl.evaluate.measures import NDCG, mean, names
from ragctl.evaluate.sweep import ALL, Evaluation, Result
from ragctl.hosts.usage import UsageTotals, dollars_json
from ragctl.records import Json
from ragctl.stores.base import Collection
from ragctl.text import counted

PLOT_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@&"
"""One for each variant of a sweep (at most MAX_VARIANTS)."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds; None if nothing was timed."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """Return the percentiles of these times."""
        if not seconds:
            return cls(None, None)
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return cls(1000 * statistics.median(ordered), 1000 * p95)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON of the report."""
        return {"p50_ms": _rounded(self.p50, 3), "p95_ms": _rounded(self.p95, 3)}


def search_latency(result: Result) -> Latency:
    """Return the latency of the store alone."""
    return Latency.of(list(result.ranking.seconds.values()))


def total_latency(evaluation: Evaluation, result: Result) -> Latency:
    """Return the latency including the embedding, of questions that were embedded one by one."""
    mode = result.variant.mode
    times = [
        (evaluation.prepared.embedding_seconds(question, mode), search)
        for question, search in result.ranking.seconds.items()
    ]
    return Latency.of([embedding + search for embedding, search in times if embedding is not None])


def to_json(
    evaluation: Evaluation, collection: Collection, *, questions: int, bill: UsageTotals | None
) -> dict[str, Json]:
    """Return the JSON document of the command. `questions`: how many the set has."""
    judgements = evaluation.judgements
    return {
        "collection": collection.name,
        "model": collection.settings.identity.model,
        "dimension": collection.settings.dim,
        "judged_by": judgements.unit,
        "questions": questions,
        "asked": len(judgements.questions),
        "unanswerable": list(judgements.unanswerable),
        "missing": [
            {"question": each.question, "source": each.source, "why": each.why}
            for each in judgements.missing
        ],
        "variants": [_result(evaluation, result) for result in evaluation.results],
        "embedding": {
            "requests": bill.requests if bill else 0,
            "tokens": bill.tokens if bill else 0,
            "cost": dollars_json(bill.cost if bill else 0.0),
        },
        "notes": list(evaluation.notes),
    }


def _result(evaluation: Evaluation, result: Result) -> dict[str, Json]:
    return {
        "name": result.variant.name,
        "variant": result.variant.to_json(),
        "bytes_per_vector": result.vector_bytes,
        "groups": {
            group: {"questions": len(ids), **means(evaluation, result, ids)}
            for group, ids in evaluation.groups.items()
        },
        "latency": {
            "search": search_latency(result).to_json(),
            "with_embedding": total_latency(evaluation, result).to_json(),
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
    """Return the mean of each measure over some questions."""
    return {name: _rounded(mean(result.scores[name], ids), 6) for name in names(evaluation.cuts)}


def _difference(difference: Difference) -> dict[str, Json]:
    return {
        "difference": _rounded(difference.difference, 6),
        "p": _rounded(difference.p, 6),
        "p_holm": _rounded(difference.p_holm, 6),
        "won": difference.won,
        "lost": difference.lost,
        "tied": difference.tied,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


Rows = list[tuple[str, ...]]
"""A table: its header, then a row for each line."""


def tables(evaluation: Evaluation) -> list[Rows]:
    """Return the tables to print: the variants, if there are several, then the languages."""
    if len(evaluation.results) == 1:
        return [groups_table(evaluation)]
    table = variants_table(evaluation)
    return [table, groups_table(evaluation)] if len(evaluation.groups) > 1 else [table]


def title(evaluation: Evaluation, collection: Collection) -> str:
    """Return one line: the collection, its model, and how many questions were judged how."""
    count, unit = len(evaluation.judgements.questions), evaluation.judgements.unit
    model = collection.settings.identity.model
    return f"{collection.name}: {model}, {counted(count, 'question')}, judged by {unit}"


def header_lines(
    evaluation: Evaluation, collection: Collection, bill: UsageTotals | None
) -> list[str]:
    """Return the lines above the tables."""
    lines = [title(evaluation, collection)]
    if len(evaluation.results) == 1:
        only = evaluation.results[0]
        search, total = search_latency(only), total_latency(evaluation, only)
        lines[0] += f", {only.variant.name}"
        lines.append(
            f"search p50 {_ms(search.p50)} ms, p95 {_ms(search.p95)} ms; "
            f"with embedding p50 {_ms(total.p50)} ms, p95 {_ms(total.p95)} ms"
        )
    else:
        lines.append(
            f"difference: {NDCG} against the first variant; p: paired randomisation test, after "
            "Holm's correction"
        )
    if bill is not None and bill.tokens:
        cost = "price unknown" if bill.cost is None else f"${bill.cost:.4f}"
        if all(usage.in_process for usage in bill.usages):
            cost = "in this process"
        lines.append(f"questions embedded once: {counted(bill.tokens, 'token')}, {cost}")
    return [*lines, *(f"note: {note}" for note in evaluation.notes)]


def variants_table(evaluation: Evaluation) -> Rows:
    """Return a row for each variant, with its letter in the plot."""
    measured = names(evaluation.cuts)
    rows: Rows = [("", "variant", *measured, "bytes", "p50 ms", "difference", "p", "won/lost")]
    for letter, result in zip(PLOT_LETTERS, evaluation.results, strict=False):
        scores = [f"{mean(result.scores[name], evaluation.groups[ALL]):.3f}" for name in measured]
        size = "-" if result.vector_bytes is None else f"{result.vector_bytes:,}"
        rows.append(
            (
                letter,
                result.variant.name,
                *scores,
                size,
                _ms(search_latency(result).p50),
                *_against_first(result),
            )
        )
    return rows


def groups_table(evaluation: Evaluation) -> Rows:
    """Return a row for each language with every measure; of several variants, their nDCG@10."""
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
        rows.append((result.variant.name, *values))
    return rows


def _against_first(result: Result) -> tuple[str, str, str]:
    """Return the difference in nDCG@10 from the first variant, its corrected p, and won/lost."""
    if result.differences is None:
        return "", "", ""
    ndcg = result.differences[NDCG]
    p = "<0.001" if ndcg.p_holm < 0.001 else f"{ndcg.p_holm:.3f}"
    return f"{ndcg.difference:+.3f}", p, f"{ndcg.won}/{ndcg.lost}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
