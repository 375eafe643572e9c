"""Which of a collection's documents, or of its chunks, answer each question."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ragctl.collection.conditions import own_match
from ragctl.collection.payload import PayloadKey
from ragctl.collection.text import embedded_text
from ragctl.errors import UsageError
from ragctl.evaluate.questions import Judgement, Question, Questions
from ragctl.stores.base import Collection
from ragctl.text import collapse_whitespace

By = Literal["document", "chunk"]
Qrels = Mapping[str, Mapping[str, int]]  # question → unit → grade

_SOURCES = 50  # read at a time
_FIELDS: tuple[PayloadKey, ...] = ("source", "text", "heading", "start", "end")


@dataclass(frozen=True, slots=True)
class Missing:
    """A judgement of a document, or of a place, that the collection does not have."""

    question: str
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class Judged:
    """`questions` have an answer in the collection, and `qrels` are theirs.

    `missing`: judgements about what it does not have. A question all of whose answers
    are missing is not among `questions` but in `unanswerable`; of the others, the missing
    answers stay in `qrels`, as documents that are never found.
    """

    by: By
    questions: tuple[Question, ...]
    qrels: Qrels
    missing: tuple[Missing, ...]
    unanswerable: tuple[str, ...]


def judged(collection: Collection, questions: Questions, by: By | None = None) -> Judged:
    """The judgements as units of this collection: sources, or ids of points.

    `by` None: chunks where every judgement says a place, else documents. Raises
    UsageError where it has none of the answers, or chunks are asked for without places.
    """
    if by == "chunk" and not questions.placed:
        raise UsageError(
            "judging by chunk needs the place of every answer (start and end, or its words); "
            "this set names documents alone"
        )
    by = by or ("chunk" if questions.placed else "document")
    names = _Names(collection.facet("source", of_all=True))
    missing: list[Missing] = []
    asked: list[tuple[Question, Judgement, str]] = []
    for question in questions.asked:
        for judgement in question.judgements:
            source = names.find(judgement.source)
            if source is not None:
                asked.append((question, judgement, source))
            elif judgement.grade:
                missing.append(Missing(question.id, judgement.source, "no such document"))
    if by == "document":
        units = [(question.id, judgement, [source]) for question, judgement, source in asked]
    else:
        units = list(_chunks(collection, asked))
    qrels: dict[str, dict[str, int]] = {}
    for name, judgement, found in units:
        if not found and judgement.grade:
            missing.append(Missing(name, judgement.source, "its answer is not in the document"))
        grades = qrels.setdefault(name, {})
        for unit in found:
            grades[unit] = max(grades.get(unit, 0), judgement.grade)
    return _split(by, questions, qrels, missing)


def _split(
    by: By, questions: Questions, qrels: dict[str, dict[str, int]], missing: list[Missing]
) -> Judged:
    answerable = {name for name, grades in qrels.items() if any(grades.values())}
    kept = tuple(question for question in questions.asked if question.id in answerable)
    if not kept:
        raise UsageError(
            "the collection has the answer of no question; the first wants "
            f"{missing[0].source!r}: {missing[0].why}. Sources are named as search shows them"
        )
    grade = {(q.id, j.source): j.grade for q in kept for j in q.judgements}
    for lost in missing:
        if lost.question in answerable:
            unit = f"missing {lost.source}"
            qrels[lost.question][unit] = grade[lost.question, lost.source]
    return Judged(
        by,
        kept,
        {name: grades for name, grades in qrels.items() if name in answerable},
        tuple(missing),
        tuple(question.id for question in questions.asked if question.id not in answerable),
    )


class _Names:
    """Sources by the names that judgements have for them: their own, or a record's id alone."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = set(sources)
        self._records: dict[str, str | None] = {}
        for source in self._sources:
            _, hash_, record = source.partition("#")
            if hash_:
                self._records[record] = None if record in self._records else source

    def find(self, name: str) -> str | None:
        return name if name in self._sources else self._records.get(name)


Asked = tuple[Question, Judgement, str]


def _chunks(
    collection: Collection, asked: list[Asked]
) -> Iterator[tuple[str, Judgement, list[str]]]:
    """For each judgement the chunks that hold its place."""
    by_source: dict[str, list[Asked]] = {}
    for each in asked:
        by_source.setdefault(each[2], []).append(each)
    sources = sorted(by_source)
    for start in range(0, len(sources), _SOURCES):
        part = sources[start : start + _SOURCES]
        documents = _documents(collection, part)
        for source in part:
            document = documents.get(source, _Document([]))
            for question, judgement, _ in by_source[source]:
                yield question.id, judgement, document.find(judgement)


def _documents(collection: Collection, sources: list[str]) -> "dict[str, _Document]":
    rows: dict[str, list[_Chunk]] = {}
    where = (own_match("source", *sources),)
    for point in collection.scroll(where, fields=_FIELDS):
        payload = point.payload
        if "start" not in payload:  # a document without text
            continue
        text = payload["text"]
        sent = embedded_text(text, payload.get("heading") or ())
        chunk = _Chunk(point.id, payload["start"], payload["end"], text, _squeezed(sent))
        rows.setdefault(payload["source"], []).append(chunk)
    return {source: _Document(chunks) for source, chunks in rows.items()}


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: str
    start: int
    end: int
    text: str
    squeezed: str  # as it is embedded, every run of white space one space


class _Document:
    """A document's chunks, to find a place in."""

    def __init__(self, chunks: list[_Chunk]) -> None:
        self._chunks = sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))

    def find(self, judgement: Judgement) -> list[str]:
        """Ids of the chunks that hold the place whole; those that hold parts where none does."""
        span = judgement.span
        if span is None:
            assert judgement.answer is not None
            words = _squeezed(judgement.answer)
            whole = [chunk.id for chunk in self._chunks if words in chunk.squeezed]
            if whole:
                return whole
            span = self._span(words)
        if span is None:
            return []
        start, end = span
        whole = [chunk.id for chunk in self._chunks if chunk.start <= start and end <= chunk.end]
        return whole or [c.id for c in self._chunks if c.start < end and start < c.end]

    def _span(self, words: str) -> tuple[int, int] | None:
        """Where words stand that a cut between chunks parts."""
        text = ""
        for chunk in self._chunks:
            text = text[: chunk.start].ljust(chunk.start, "\n") + chunk.text
        pattern = r"\s+".join(map(re.escape, words.split()))
        found = re.search(pattern, text)
        return None if found is None else found.span()


def _squeezed(text: str) -> str:
    return collapse_whitespace(text)
