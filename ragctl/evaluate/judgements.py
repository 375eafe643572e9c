"""Resolve judgements: which documents or chunks of a collection answer each question."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ragctl.collection.conditions import own_match
from ragctl.collection.ownership import wrong_keys
from ragctl.collection.payload import PayloadKey
from ragctl.collection.text import embedded_text
from ragctl.errors import UsageError
from ragctl.evaluate.questions import Judgement, Question, Questions
from ragctl.stores.base import Collection
from ragctl.text import collapse_whitespace

Unit = Literal["document", "chunk"]
"""What is ranked: sources of documents, or ids of chunks."""

Qrels = Mapping[str, Mapping[str, int]]  # question → unit → grade

SOURCES_PER_READ = 50
PAYLOAD_FIELDS: tuple[PayloadKey, ...] = ("source", "text", "heading", "start", "end")


@dataclass(frozen=True, slots=True)
class MissingAnswer:
    """A judgement about a document or a passage that the collection does not have."""

    question: str
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class ResolvedJudgements:
    """The questions that have an answer in the collection, and their answers.

    `qrels`: grade of each unit, by question. `missing`: judgements about documents or passages
    that the collection does not have. A question with no other judgements is in `unanswerable`
    instead of `questions`; the missing answers of the others stay in `qrels`, as units that are
    never found.
    """

    unit: Unit
    questions: tuple[Question, ...]
    qrels: Qrels
    missing: tuple[MissingAnswer, ...]
    unanswerable: tuple[str, ...]


def resolve_judgements(
    collection: Collection, questions: Questions, unit: Unit | None = None
) -> ResolvedJudgements:
    """Resolve the judgements to units of this collection.

    `unit` None: chunks if every judgement locates its answer, else documents. Raises UsageError
    if the collection has none of the answers, or `unit` is "chunk" and answers are not located.
    """
    if unit == "chunk" and not questions.are_located:
        raise UsageError(
            "judging by chunk needs the position of every answer (start and end, or its words); "
            "these questions name only documents"
        )
    unit = unit or ("chunk" if questions.are_located else "document")
    names = _SourceNames(collection.facet("source", of_all=True))
    missing: list[MissingAnswer] = []
    located: list[_Located] = []
    for question in questions.questions:
        for judgement in question.judgements:
            source = names.find(judgement.source)
            if source is not None:
                located.append((question, judgement, source))
            elif judgement.grade:
                missing.append(MissingAnswer(question.id, judgement.source, "no such document"))
    if unit == "document":
        answers = [(question.id, judgement, [source]) for question, judgement, source in located]
    else:
        answers = list(_answering_chunks(collection, located))
    qrels: dict[str, dict[str, int]] = {}
    for name, judgement, units in answers:
        if not units and judgement.grade:
            missing.append(
                MissingAnswer(name, judgement.source, "its answer is not in the document")
            )
        grades = qrels.setdefault(name, {})
        for each in units:
            grades[each] = max(grades.get(each, 0), judgement.grade)
    return _without_unanswerable(unit, questions, qrels, missing)


def _without_unanswerable(
    unit: Unit,
    questions: Questions,
    qrels: dict[str, dict[str, int]],
    missing: list[MissingAnswer],
) -> ResolvedJudgements:
    answerable = {name for name, grades in qrels.items() if any(grades.values())}
    kept = tuple(question for question in questions.questions if question.id in answerable)
    if not kept:
        raise UsageError(
            "the collection has no answer to any question; the first names "
            f"{missing[0].source!r}: {missing[0].why}. Write sources as search shows them"
        )
    grade = {(q.id, j.source): j.grade for q in kept for j in q.judgements}
    for each in missing:
        if each.question in answerable:
            qrels[each.question][f"missing {each.source}"] = grade[each.question, each.source]
    return ResolvedJudgements(
        unit,
        kept,
        {name: grades for name, grades in qrels.items() if name in answerable},
        tuple(missing),
        tuple(question.id for question in questions.questions if question.id not in answerable),
    )


class _SourceNames:
    """Documents by the names that judgements use.

    That is the whole name, the path in its source, or the id of a record alone.
    """

    def __init__(self, sources: Iterable[str]) -> None:
        self._sources = set(sources)
        self._records: dict[str, str | None] = {}
        for source in self._sources:
            _, hash_, record = source.partition("#")
            for short in (source.partition("/")[2], record if hash_ else ""):
                if short:
                    self._records[short] = None if short in self._records else source

    def find(self, name: str) -> str | None:
        """Return the source of this name; None if there is none, or several."""
        return name if name in self._sources else self._records.get(name)


_Located = tuple[Question, Judgement, str]
"""A question, one of its judgements, and the source of the judged document."""


def _answering_chunks(
    collection: Collection, located: list[_Located]
) -> Iterator[tuple[str, Judgement, list[str]]]:
    """Yield, for each judgement, the id of its question and the ids of the chunks that answer."""
    by_source: dict[str, list[_Located]] = {}
    for each in located:
        by_source.setdefault(each[2], []).append(each)
    sources = sorted(by_source)
    for start in range(0, len(sources), SOURCES_PER_READ):
        part = sources[start : start + SOURCES_PER_READ]
        documents = _read_documents(collection, part)
        for source in part:
            document = documents.get(source, _Document([]))
            for question, judgement, _ in by_source[source]:
                yield question.id, judgement, document.find(judgement)


def _read_documents(collection: Collection, sources: list[str]) -> "dict[str, _Document]":
    rows: dict[str, list[_Chunk]] = {}
    where = (own_match("source", *sources),)
    for point in collection.scroll(where, fields=PAYLOAD_FIELDS):
        payload = point.payload
        if wrong_keys(payload, PAYLOAD_FIELDS):  # a document without text, or another program's
            continue
        text = payload["text"]
        embedded = embedded_text(text, payload.get("heading") or ())
        chunk = _Chunk(point.id, payload["start"], payload["end"], text, _collapsed(embedded))
        rows.setdefault(payload["source"], []).append(chunk)
    return {source: _Document(chunks) for source, chunks in rows.items()}


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: str
    start: int
    end: int
    text: str
    collapsed: str  # the text as embedded, with single spaces for white space


class _Document:
    """The chunks of a document, in which answers are searched."""

    def __init__(self, chunks: list[_Chunk]) -> None:
        self._chunks = sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))

    def find(self, judgement: Judgement) -> list[str]:
        """Return the ids of the chunks that contain the whole answer; if none, parts of it."""
        span = judgement.span
        if span is None:
            assert judgement.answer is not None
            words = _collapsed(judgement.answer)
            whole = [chunk.id for chunk in self._chunks if words in chunk.collapsed]
            if whole:
                return whole
            span = self._span(words)
        if span is None:
            return []
        start, end = span
        whole = [chunk.id for chunk in self._chunks if chunk.start <= start and end <= chunk.end]
        return whole or [c.id for c in self._chunks if c.start < end and start < c.end]

    def _span(self, words: str) -> tuple[int, int] | None:
        """Return the span of words that are split between chunks; None if they do not occur."""
        text = ""
        for chunk in self._chunks:
            text = text[: chunk.start].ljust(chunk.start, "\n") + chunk.text
        pattern = r"\s+".join(map(re.escape, words.split()))
        match = re.search(pattern, text)
        return None if match is None else match.span()


def _collapsed(text: str) -> str:
    """Return the text with single spaces for white space."""
    return collapse_whitespace(text)
