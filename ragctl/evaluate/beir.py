"""BEIR: `queries.jsonl` with `_id` and `text`, and `qrels/test.tsv` beside it.

A corpus id is a document's source, or what stands after `#` in the source of a record:
`ragctl ingest corpus.jsonl --jsonl-id _id` makes those.
"""

from collections.abc import Sequence
from pathlib import Path

from ragctl.errors import UsageError
from ragctl.evaluate.questions import (
    Judgement,
    Question,
    Questions,
    asked,
    json_lines,
    lines,
    unique,
    whole,
)

_HEADER = ("query-id", "corpus-id", "score")


def is_queries(path: Path) -> bool:
    """Whether the first line of a file is a query as BEIR writes them."""
    for _, row in json_lines(path):
        return "_id" in row
    return False


def read(path: Path, qrels: Path | None) -> Questions:
    """A folder, or its `queries.jsonl`; `qrels` other than its test judgements. UsageError."""
    queries = path / "queries.jsonl" if path.is_dir() else path
    judged = qrels or queries.parent / "qrels" / "test.tsv"
    for file in (queries, judged):
        if not file.is_file():
            raise UsageError(
                f"{file}: there is no such file; a BEIR folder has queries.jsonl and "
                "qrels/test.tsv (another split: --qrels FILE)"
            )
    texts: dict[str, str] = {}
    for place, row in json_lines(queries):
        name = row.get("_id")
        if not isinstance(name, str) or not name or name in texts:
            raise UsageError(f'{place}: "_id" must be a text that no other query has')
        texts[name] = asked(place, row.get("text"))
    return joined(texts, _qrels(judged), judged)


def joined(texts: dict[str, str], qrels: dict[str, list[Judgement]], path: Path) -> Questions:
    """Questions that have a relevant document; the others are counted. Raises UsageError."""
    found = tuple(
        Question(name, texts[name], tuple(judgements))
        for name, judgements in qrels.items()
        if name in texts and any(judgement.grade for judgement in judgements)
    )
    unknown = [name for name in qrels if name not in texts]
    if unknown:
        raise UsageError(f"{path}: judges {unknown[0]!r}, which is none of the queries")
    return Questions(unique(found, path), unjudged=len(texts) - len(found))


def judge(
    qrels: dict[str, list[Judgement]], place: str, query: str, source: str, grade: str
) -> None:
    """Add one judgement as text has it. Raises UsageError."""
    try:
        value = int(grade)
    except ValueError:
        raise UsageError(f"{place}: grade {grade!r} is no whole number") from None
    # Below 0 TREC puts what is worse than irrelevant (spam).
    qrels.setdefault(query, []).append(Judgement(source, whole(place, max(0, value))))


def _qrels(path: Path) -> dict[str, list[Judgement]]:
    qrels: dict[str, list[Judgement]] = {}
    for number, (place, text) in enumerate(lines(path)):
        cells: Sequence[str] = text.rstrip("\r\n").split("\t")
        if number == 0 and tuple(cells) == _HEADER:
            continue
        if len(cells) != 3 or not all(cell.strip() for cell in cells):
            raise UsageError(f"{place}: write query-id, corpus-id and score, with tabs between")
        judge(qrels, place, *cells)
    return qrels
