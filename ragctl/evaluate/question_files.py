"""Read a set of questions in any of the formats: JSON Lines, BEIR, TREC."""

from pathlib import Path

from ragctl.errors import UsageError
from ragctl.evaluate.beir import is_beir_queries, read_beir
from ragctl.evaluate.questions import Questions, read_json_questions
from ragctl.evaluate.trec import read_trec


def read_questions(path: Path, qrels: Path | None = None) -> Questions:
    """Read the questions in a file or a BEIR folder; `qrels`: a separate file of judgements.

    Raises UsageError with file and line.
    """
    if path.is_dir():
        return read_beir(path, qrels)
    if not path.is_file():
        raise UsageError(f"no questions at {path}: no such file")
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".json"):
        if qrels is None:
            raise UsageError(f"{path}: TREC topics need their judgements: --qrels FILE")
        return read_trec(path, qrels)
    if qrels is not None or is_beir_queries(path):
        return read_beir(path, qrels)
    return read_json_questions(path)
