"""Questions asked of a collection under a setting: rankings, and how long they took."""

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
from ragctl.evaluate.judging import By
from ragctl.evaluate.questions import Question
from ragctl.evaluate.setting import Setting
from ragctl.search.options import Mode, SearchOptions
from ragctl.search.query import bm25_encoder, sparse_vector
from ragctl.stores.base import Collection, Fusion, Query, Scored

_TIMED = 50  # questions embedded one by one, as a search does; the others go in batches
_BATCH = 64
_CHUNKS = 10  # asked for each document that is wanted, since the best may share one


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions made ready once for all settings.

    `dense`: shape (questions, dim of the collection); None where no setting needs it.
    `sparse`: None for a question without terms. `seconds`: what its vector took, of the
    questions that were embedded one by one; `term_seconds`: what terms take a question.
    """

    questions: tuple[Question, ...]
    dense: Vectors | None
    sparse: tuple[SparseVector | None, ...]
    seconds: Mapping[str, float]
    term_seconds: float
    fusion: Fusion

    def waited(self, question: str, mode: Mode) -> float | None:
        """Seconds from a question to its vectors; None where that was not timed."""
        terms = self.term_seconds if mode != "dense" else 0.0
        if mode == "sparse":
            return terms
        return self.seconds[question] + terms if question in self.seconds else None


@dataclass(frozen=True, slots=True)
class Ranked:
    """`rankings`: question → units, best first. `seconds`: question → of its search alone."""

    rankings: Mapping[str, Sequence[str]]
    seconds: Mapping[str, float]


def ask(collection: Collection, questions: Sequence[Question], embedder: Embedder | None) -> Asked:
    """Embed the questions, each once. `embedder` None: no setting searches the dense side.

    Raises UsageError for a question that cannot be embedded, BackendError.
    """
    began = time.perf_counter()
    sparse = _terms(collection, questions)
    term_seconds = (time.perf_counter() - began) / len(questions)
    dense: Vectors | None = None
    seconds: dict[str, float] = {}
    if embedder is not None:
        dense, seconds = _embedded(embedder, questions)
    return Asked(tuple(questions), dense, sparse, seconds, term_seconds, _fusion(embedder))


def _fusion(embedder: Embedder | None) -> Fusion:
    """How a search fuses where nobody says: by the model's own weight."""
    return SearchOptions().fusion_for(embedder.model.dense_weight if embedder is not None else 1.0)


def _embedded(
    embedder: Embedder, questions: Sequence[Question]
) -> tuple[Vectors, dict[str, float]]:
    vectors: Vectors = np.empty((len(questions), embedder.dim), np.float32)
    seconds: dict[str, float] = {}
    counts = [chunking.count(question.text) for question in questions]  # for hosts that do not say
    timed = min(_TIMED + 1, len(questions))
    for index in range(timed):
        began = time.perf_counter()
        part = slice(index, index + 1)
        _embed_part(embedder, questions[part], vectors[part], counts[index])
        if index:  # the first waits for connections and for loading
            seconds[questions[index].id] = time.perf_counter() - began
    size = min(_BATCH, embedder.limits.texts)
    for start in range(timed, len(questions), size):
        part = slice(start, start + size)
        _embed_part(embedder, questions[part], vectors[part], sum(counts[part]))
    return vectors, seconds


def _embed_part(
    embedder: Embedder, questions: Sequence[Question], vectors: Vectors, tokens: int
) -> None:
    """Embed at most `limits.texts` questions into rows of `vectors`."""
    texts = tuple(question.text for question in questions)
    for position, outcome in embedder.embed(
        EmbeddingRequest("query", texts, threading.Event(), tokens)
    ):
        if isinstance(outcome, DocumentError):
            raise UsageError(f"question {questions[position].id!r} cannot be embedded: {outcome}")
        vectors[position : position + len(outcome)] = outcome


def _terms(
    collection: Collection, questions: Sequence[Question]
) -> tuple[SparseVector | None, ...]:
    """The questions' terms, under the languages that the collection's documents have."""
    sparse = bm25_encoder(collection)
    return tuple(sparse_vector(sparse, question.text) for question in questions)


def run(
    collection: Collection,
    asked: Asked,
    dense: Vectors | None,
    setting: Setting,
    *,
    by: By,
    ranks: int,
) -> Ranked:
    """SearchOptions every question; `dense`: the questions' vectors as this collection's are.

    The first search is made twice, so that what opens with it is not measured.
    """
    fusion = setting.fused(asked.fusion)
    limit = ranks if by == "chunk" else ranks * _CHUNKS
    rankings: dict[str, Sequence[str]] = {}
    seconds: dict[str, float] = {}
    for index, question in enumerate(asked.questions):
        vector = dense[index] if dense is not None and setting.mode != "sparse" else None
        terms = asked.sparse[index] if setting.mode != "dense" else None
        if vector is None and terms is None:  # a question of stop words, asked of BM25 alone
            rankings[question.id] = []
            continue
        query = Query(limit, vector, terms, fusion=fusion, rescore=setting.rescored())
        if not seconds:
            collection.query(query)
        began = time.perf_counter()
        found = collection.query(query)
        seconds[question.id] = time.perf_counter() - began
        rankings[question.id] = _units(found, by)[:ranks]
    return Ranked(rankings, seconds)


def _units(found: Sequence[Scored], by: By) -> list[str]:
    if by == "chunk":
        return [point.id for point in found]
    return list(dict.fromkeys(point.payload["source"] for point in found))
