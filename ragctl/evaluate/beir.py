"""Read BEIR questions: `queries.jsonl` with `_id` and `text`, and `qrels/test.tsv` beside it.

A corpus id is the source of a document, or the part after `#` of a record's source, as
`ragctl ingest corpus.jsonl --jsonl-id _id` makes them.
"""

from collections.abc import Sequence
from pathlib import Path

from ragctl.errors import UsageError
from ragctl.evaluate.questions import (
    Judgement,
    Question,
    Questions,
    check_grade,
    question_text,
    read_json_lines,
    read_lines,
    with_unique_ids,
)

QRELS_HEADER = ("query-id", "corpus-id", "score")


def is_beir_queries(path: Path) -> bool:
    """Return whether the first line of a file is a BEIR query."""
    for _, row in read_json_lines(path):
        return "_id" in row
    return False


def read_beir(path: Path, qrels: Path | None) -> Questions:
    """Read a BEIR folder, or its `queries.jsonl`; `qrels`: instead of its test judgements.

    Raises UsageError.
    """
    queries = path / "queries.jsonl" if path.is_dir() else path
    judgements = qrels or queries.parent / "qrels" / "test.tsv"
    for file in (queries, judgements):
        if not file.is_file():
            raise UsageError(
                f"{file}: no such file; a BEIR folder has queries.jsonl and "
                "qrels/test.tsv (another split: --qrels FILE)"
            )
    texts: dict[str, str] = {}
    for location, row in read_json_lines(queries):
        name = row.get("_id")
        if not isinstance(name, str) or not name or name in texts:
            raise UsageError(f'{location}: "_id" must be a text, and unique')
        texts[name] = question_text(location, row.get("text"))
    return join_judgements(texts, _read_qrels(judgements), judgements)


def join_judgements(
    texts: dict[str, str], qrels: dict[str, list[Judgement]], path: Path
) -> Questions:
    """Return the questions that have a relevant document, and count the others.

    `texts`, `qrels`: by the id of the question. Raises UsageError if the judgements in `path` name
    an unknown question.
    """
    questions = tuple(
        Question(name, texts[name], tuple(judgements))
        for name, judgements in qrels.items()
        if name in texts and any(judgement.grade for judgement in judgements)
    )
    unknown = [name for name in qrels if name not in texts]
    if unknown:
        raise UsageError(f"{path}: judges {unknown[0]!r}, which is not one of the queries")
    return Questions(with_unique_ids(questions, path), unjudged=len(texts) - len(questions))


def add_judgement(
    qrels: dict[str, list[Judgement]], location: str, query: str, source: str, grade: str
) -> None:
    """Add a judgement whose grade is text. Raises UsageError, naming `location`."""
    try:
        value = int(grade)
    except ValueError:
        raise UsageError(f"{location}: grade {grade!r} is not a whole number") from None
    # TREC uses grades below 0 for documents worse than irrelevant, such as spam.
    qrels.setdefault(query, []).append(Judgement(source, check_grade(location, max(0, value))))


def _read_qrels(path: Path) -> dict[str, list[Judgement]]:
    qrels: dict[str, list[Judgement]] = {}
    for number, (location, text) in enumerate(read_lines(path)):
        cells: Sequence[str] = text.rstrip("\r\n").split("\t")
        if number == 0 and tuple(cells) == QRELS_HEADER:
            continue
        if len(cells) != 3 or not all(cell.strip() for cell in cells):
            raise UsageError(f"{location}: write query-id, corpus-id and score, with tabs between")
        add_judgement(qrels, location, *cells)
    return qrels
