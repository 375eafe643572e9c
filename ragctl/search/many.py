"""Many questions: read from a file or a pipe, answered in batches, written in their order."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import quote

from ragctl.errors import DocumentError, UsageError
from ragctl.files import replacing
from ragctl.records import Hit, Json
from ragctl.rerank.reranker import Reranker
from ragctl.search.ask import SearchOptions
from ragctl.search.find import BATCH
from ragctl.search.library import Searcher

_LONGEST = 1 << 20  # bytes of a line
_TAG = "ragctl"  # the run's name in a TREC file


@dataclass(frozen=True, slots=True)
class Question:
    """`id` as the file has it, else the number of its line. `problem`: why it cannot be asked."""

    id: str
    text: str
    problem: str | None = None


@dataclass(slots=True)
class Tally:
    """How many questions were answered, how many hits they got, how many failed."""

    answered: int = 0
    hits: int = 0
    failed: int = 0

    @property
    def questions(self) -> int:
        return self.answered + self.failed


def read_questions(file: BinaryIO) -> Iterator[Question]:
    """Questions, one a line: {"id": …, "query": …}, or a line of text; empty lines are skipped.

    A line that cannot be one is a Question with a problem. Nothing is held but a line
    and, of each id, its hash.
    """
    seen: set[int] = set()
    number = 0
    while raw := file.readline(_LONGEST + 1):
        number += 1
        if len(raw) > _LONGEST and not raw.endswith(b"\n"):
            while (more := file.readline(_LONGEST)) and not more.endswith(b"\n"):
                pass
            yield Question(str(number), "", f"line {number}: longer than {_LONGEST:,} bytes")
            continue
        found = _question(raw, number)
        if found is None:
            continue
        if found.problem is None and hash(found.id) in seen:
            yield Question(found.id, found.text, f"line {number}: the id was there before")
            continue
        seen.add(hash(found.id))
        yield found


def _question(raw: bytes, number: int) -> Question | None:
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        return Question(str(number), "", f"line {number}: it is not UTF-8")
    if not line:
        return None
    if not line.startswith("{"):
        return Question(str(number), line)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return Question(str(number), "", f"line {number}: it is not valid JSON")
    text, own = row.get("query"), row.get("id", number)
    if isinstance(own, bool) or not isinstance(own, str | int):
        return Question(str(number), "", f"line {number}: its id is no text and no number")
    if not isinstance(text, str):
        return Question(str(own), "", f'line {number}: it has no text under "query"')
    return Question(str(own), text)


def answer_all(
    searcher: Searcher,
    questions: Iterable[Question],
    ask: SearchOptions,
    *,
    out: IO[str],
    reranker: Reranker | None = None,
    trec: IO[str] | None = None,
    failed: Callable[[str, str], None] = lambda question, reason: None,
    done: Callable[[int], None] = lambda count: None,
) -> Tally:
    """Answer questions in batches: a line of JSON each to `out`, in their order.

    {"id", "query", "hits"}, or {"id", "query", "error"} for one that cannot be answered,
    which is told to `failed` too and does not end the run. `trec` gets the ranking of
    documents for each question. Raises as Searcher.answers does.
    """
    tally = Tally()
    waiting = iter(questions)
    while batch := list(islice(waiting, BATCH)):
        asked = [question.text for question in batch if question.problem is None]
        outcomes = searcher.answers(asked, ask, reranker)
        for question in batch:
            outcome = DocumentError(question.problem) if question.problem else next(outcomes)
            head: dict[str, Json] = {"id": question.id, "query": question.text}
            if isinstance(outcome, list):
                tally.answered += 1
                tally.hits += len(outcome)
                out.write(line_of({**head, "hits": [hit_json(hit) for hit in outcome]}))
                if trec is not None:
                    trec.writelines(trec_lines(question.id, outcome))
            else:
                tally.failed += 1
                failed(question.id, str(outcome))
                out.write(line_of({**head, "error": str(outcome)}))
        out.flush()
        done(len(batch))
    return tally


def line_of(value: Json) -> str:
    """A line of JSON, in UTF-8 whatever the value holds."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8") + "\n"


def hit_json(hit: Hit) -> dict[str, Json]:
    """A hit as the README documents it."""
    return {
        "source": hit.source,
        "score": hit.score,
        "text": hit.text,
        "start": hit.start,
        "end": hit.end,
        "page": hit.page,
        "heading": list(hit.heading),
        "ordinal": hit.ordinal,
        "meta": dict(hit.meta),
        "title": hit.title,
        "spans": [list(span) for span in hit.spans],
        "ordinals": list(hit.ordinals),
        "cut": hit.cut,
    }


def trec_lines(question: str, hits: Iterable[Hit]) -> Iterator[str]:
    """A ranking as trec_eval reads it: each document once, by its best hit; blanks as %20."""
    seen: set[str] = set()
    for hit in hits:
        if hit.source in seen:
            continue
        seen.add(hit.source)
        yield f"{_word(question)} Q0 {_word(hit.source)} {len(seen)} {hit.score:.9g} {_TAG}\n"


def _word(text: str) -> str:
    return re.sub(r"[\s%]", lambda found: quote(found[0]), text) or "-"


@contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """A file that is there when all of it was written, and as it was before when not.

    What is no file (a pipe, a device) is written as it goes. Raises UsageError.
    """
    with ExitStack() as stack:
        try:
            file: IO[str]
            if path.exists() and not path.is_file():
                file = stack.enter_context(path.open("w", encoding="utf-8"))
            else:
                file = stack.enter_context(replacing(path, text=True))
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"{path}: cannot be written ({reason})") from error
        yield file
