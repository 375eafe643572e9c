"""Embed the questions once, and search the collection for each with a variant, timed."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragctl import chunking
from ragctl.collection.payload import SparseVector
from ragctl.embedding import Embedder
from ragctl.embedding.base import EmbeddingRequest, Vectors
from ragctl.errors import DocumentError, UsageError
from ragctl.evaluate.judgements import Unit
from ragctl.evaluate.questions import Question
from ragctl.evaluate.variant import Variant
from ragctl.progress import Progress
from ragctl.search.options import Mode
from ragctl.search.query import bm25_encoder, build_query, sparse_vector
from ragctl.stores.base import Collection, Scored

TIMED_QUESTIONS = 50  # embedded one by one, as in a search; the others in batches
EMBEDDING_BATCH = 64
CHUNKS_PER_DOCUMENT = 10  # fetched for each document to rank, since the best chunks may share one


@dataclass(frozen=True, slots=True)
class PreparedQuestions:
    """Questions with their vectors, shared by all variants.

    `dense`: shape (questions, dimension of the collection); None if no variant needs it.
    `sparse`: None for a question of stop words. `dense_weight`: the model's RRF weight.
    `dense_seconds`: time to embed a question, of those embedded one by one; `sparse_seconds`:
    mean time to make the BM25 terms of a question.
    """

    questions: tuple[Question, ...]
    dense: Vectors | None
    sparse: tuple[SparseVector | None, ...]
    dense_weight: float
    dense_seconds: Mapping[str, float]
    sparse_seconds: float

    def embedding_seconds(self, question: str, mode: Mode) -> float | None:
        """Return the time from a question to its vectors; None if it was not measured."""
        terms = self.sparse_seconds if mode != "dense" else 0.0
        if mode == "sparse":
            return terms
        dense = self.dense_seconds.get(question)
        return None if dense is None else dense + terms


@dataclass(frozen=True, slots=True)
class Ranking:
    """By question: `units`, best first, and `seconds`, the time of its search alone."""

    units: Mapping[str, Sequence[str]]
    seconds: Mapping[str, float]


def prepare_questions(
    collection: Collection,
    questions: Sequence[Question],
    embedder: Embedder | None,
    progress: Progress | None = None,
) -> PreparedQuestions:
    """Embed each question once. `embedder` is None if all variants are sparse.

    Raises UsageError for a question that cannot be embedded; BackendError.
    """
    started = time.perf_counter()
    encoder = bm25_encoder(collection)
    sparse = tuple(sparse_vector(encoder, question.text) for question in questions)
    sparse_seconds = (time.perf_counter() - started) / len(questions)
    dense: Vectors | None = None
    dense_seconds: dict[str, float] = {}
    if embedder is not None:
        dense, dense_seconds = _embed(embedder, questions, progress or Progress())
    weight = embedder.model.dense_weight if embedder is not None else 1.0
    return PreparedQuestions(tuple(questions), dense, sparse, weight, dense_seconds, sparse_seconds)


def _embed(
    embedder: Embedder, questions: Sequence[Question], progress: Progress
) -> tuple[Vectors, dict[str, float]]:
    """Return the vectors of all questions, and the seconds of those embedded one by one."""
    vectors: Vectors = np.empty((len(questions), embedder.dim), np.float32)
    seconds: dict[str, float] = {}
    # Token counts, for hosts that do not report them.
    tokens = [chunking.count(question.text) for question in questions]
    timed = min(TIMED_QUESTIONS + 1, len(questions))
    for index in range(timed):
        started = time.perf_counter()
        part = slice(index, index + 1)
        _embed_part(embedder, questions[part], vectors[part], tokens[index])
        progress.advance()
        if index:  # the first also waits for the connection, or for the model to load
            seconds[questions[index].id] = time.perf_counter() - started
    size = min(EMBEDDING_BATCH, embedder.limits.texts)
    for start in range(timed, len(questions), size):
        part = slice(start, start + size)
        _embed_part(embedder, questions[part], vectors[part], sum(tokens[part]))
        progress.advance(len(questions[part]))
    return vectors, seconds


def _embed_part(
    embedder: Embedder, questions: Sequence[Question], vectors: Vectors, tokens: int
) -> None:
    """Embed at most `limits.texts` questions into rows of `vectors`."""
    texts = tuple(question.text for question in questions)
    request = EmbeddingRequest("query", texts, threading.Event(), tokens)
    for position, outcome in embedder.embed(request):
        if isinstance(outcome, DocumentError):
            raise UsageError(f"question {questions[position].id!r} cannot be embedded: {outcome}")
        vectors[position : position + len(outcome)] = outcome


def rank(
    collection: Collection,
    prepared: PreparedQuestions,
    dense: Vectors | None,
    variant: Variant,
    *,
    unit: Unit,
    depth: int,
    progress: Progress | None = None,
) -> Ranking:
    """Search for every question and return the first `depth` units.

    `dense`: the vectors of the questions, at the dimension of this collection. The first search
    is made twice, so that opening the collection is not measured.
    """
    limit = depth if unit == "chunk" else depth * CHUNKS_PER_DOCUMENT
    units: dict[str, Sequence[str]] = {}
    seconds: dict[str, float] = {}
    progress = progress or Progress()
    for index, question in enumerate(progress.each(prepared.questions)):
        vector = dense[index] if dense is not None and variant.mode != "sparse" else None
        terms = prepared.sparse[index] if variant.mode != "dense" else None
        if vector is None and terms is None:  # sparse mode, and the question has only stop words
            units[question.id] = []
            continue
        query = build_query(
            variant.options, vector, terms, dense_weight=prepared.dense_weight, limit=limit
        )
        if not seconds:
            collection.query(query)
        started = time.perf_counter()
        points = collection.query(query)
        seconds[question.id] = time.perf_counter() - started
        units[question.id] = _units(points, unit)[:depth]
    return Ranking(units, seconds)


def _units(points: Sequence[Scored], unit: Unit) -> list[str]:
    """Return the ids of the chunks, or the sources of the documents, best first."""
    if unit == "chunk":
        return [point.id for point in points]
    return list(dict.fromkeys(point.payload["source"] for point in points))
