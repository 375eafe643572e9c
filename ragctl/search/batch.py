"""Answer many questions: read them from a file or pipe, search in batches, write in order."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO
from urllib.parse import quote

from ragctl.errors import DocumentError, UsageError
from ragctl.files import replacing
from ragctl.records import Hit, Json
from ragctl.rerank.reranker import Reranker
from ragctl.search.find import QUESTION_BATCH
from ragctl.search.library import Searcher
from ragctl.search.options import SearchOptions
from ragctl.text import json_text

MAX_LINE_BYTES = 1 << 20
TREC_RUN_NAME = "ragctl"


@dataclass(frozen=True, slots=True)
class Question:
    """A line of a question file.

    `id`: from the file, or the line number. `problem`: why it cannot be answered, if so.
    """

    id: str
    text: str
    problem: str | None = None


@dataclass(slots=True)
class Tally:
    """Counts of a batch run: questions answered, their hits, questions failed."""

    answered: int = 0
    hits: int = 0
    failed: int = 0

    @property
    def questions(self) -> int:
        """The number of questions."""
        return self.answered + self.failed


def read_questions(file: BinaryIO) -> Iterator[Question]:
    """Yield the questions of a file: a line is {"id": …, "query": …}, or the question as text.

    Empty lines are skipped. A line that cannot be read becomes a Question with a problem. Only
    one line and the hashes of the ids are kept in memory.
    """
    seen: set[int] = set()
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield Question(str(number), "", f"line {number}: longer than {MAX_LINE_BYTES:,} bytes")
            continue
        question = _parse_line(raw, number)
        if question is None:
            continue
        if question.problem is None and hash(question.id) in seen:
            yield Question(question.id, question.text, f"line {number}: its id was used before")
            continue
        seen.add(hash(question.id))
        yield question


def _parse_line(raw: bytes, number: int) -> Question | None:
    """Return the question on a line; None if the line is empty."""
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        return Question(str(number), "", f"line {number}: not valid UTF-8")
    if not line:
        return None
    if not line.startswith("{"):
        return Question(str(number), line)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return Question(str(number), "", f"line {number}: not valid JSON")
    text, name = row.get("query"), row.get("id", number)
    if isinstance(name, bool) or not isinstance(name, str | int):
        return Question(str(number), "", f'line {number}: "id" is not a text or a number')
    if not isinstance(text, str):
        return Question(str(name), "", f'line {number}: "query" is missing or not a text')
    return Question(str(name), text)


def answer_all(
    searcher: Searcher,
    questions: Iterable[Question],
    options: SearchOptions,
    *,
    out: TextIO,
    reranker: Reranker | None = None,
    trec: TextIO | None = None,
    on_failure: Callable[[str, str], None] = lambda question, reason: None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Tally:
    """Answer questions in batches and write one JSON line each to `out`, in order.

    A line is {"id", "query", "hits"}, or {"id", "query", "error"} for a question that cannot be
    answered; `on_failure` gets its id and the reason, and the run goes on. `trec` gets the
    ranking of documents for each question; `on_progress` the number of questions done since
    its last call. Raises as Searcher.answers.
    """
    tally = Tally()
    remaining = iter(questions)
    while batch := list(islice(remaining, QUESTION_BATCH)):
        texts = [question.text for question in batch if question.problem is None]
        outcomes = searcher.answers(texts, options, reranker)
        for question in batch:
            outcome = DocumentError(question.problem) if question.problem else next(outcomes)
            row: dict[str, Json] = {"id": question.id, "query": question.text}
            if isinstance(outcome, list):
                tally.answered += 1
                tally.hits += len(outcome)
                out.write(_json_line({**row, "hits": [hit_to_json(hit) for hit in outcome]}))
                if trec is not None:
                    trec.writelines(trec_lines(question.id, outcome))
            else:
                tally.failed += 1
                on_failure(question.id, str(outcome))
                out.write(_json_line({**row, "error": str(outcome)}))
        out.flush()
        on_progress(len(batch))
    return tally


def _json_line(value: Json) -> str:
    return json_text(value) + "\n"


def hit_to_json(hit: Hit) -> dict[str, Json]:
    """Return a hit as `ragctl search --json` prints it."""
    return {
        "source": hit.source,
        "score": hit.score,
        "text": hit.text,
        "start": hit.start,
        "end": hit.end,
        "page": hit.page,
        "line": hit.line,
        "heading": list(hit.heading),
        "ordinal": hit.ordinal,
        "meta": dict(hit.meta),
        "title": hit.title,
        "spans": [list(span) for span in hit.spans],
        "ordinals": list(hit.ordinals),
        "chunks": hit.chunks,
        "cut": hit.cut,
        "lang": hit.lang,
        "id": hit.id,
    }


def trec_lines(question: str, hits: Iterable[Hit]) -> Iterator[str]:
    """Yield a ranking in trec_eval's format: each document once, at the rank of its best hit.

    White space and "%" in names are percent-encoded.
    """
    seen: set[str] = set()
    for hit in hits:
        if hit.source in seen:
            continue
        seen.add(hit.source)
        name, source = _trec_name(question), _trec_name(hit.source)
        yield f"{name} Q0 {source} {len(seen)} {hit.score:.9g} {TREC_RUN_NAME}\n"


def _trec_name(text: str) -> str:
    return re.sub(r"[\s%]", lambda match: quote(match[0]), text) or "-"


@contextmanager
def output_file(path: Path) -> Iterator[TextIO]:
    """Open a file that is replaced when the block ends without error, and otherwise unchanged.

    A path that is not a regular file (a pipe, a device) is written directly. Raises UsageError.
    """
    path = path.resolve()  # follows links
    direct = path.exists() and not path.is_file()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("wb") if direct else replacing(path))
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
        text = TextIOWrapper(file, encoding="utf-8")
        try:
            yield text
        finally:
            text.detach()  # flushes; `file` is closed by its own context
