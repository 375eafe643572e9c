"""Questions to hits: embed them with the query side, query the collection, refine the hits.

    texts ─► vectors ─► collection.query ─► rerank ─► group ─► skip, limit ─► context

More points are fetched than are returned where a later step selects among them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeAlias

from ragctl.collection.payload import SparseVector, Vector
from ragctl.embedding import Embedder
from ragctl.errors import DocumentError, UsageError
from ragctl.records import Hit
from ragctl.rerank.reranker import Reranker, rerank_hits
from ragctl.search.context import add_context
from ragctl.search.group import count_documents, group_by_document
from ragctl.search.options import MAX_HITS, SearchOptions
from ragctl.search.query import bm25_encoder, build_query, hit_from_point, sparse_vector
from ragctl.stores.base import Collection

SearchOutcome: TypeAlias = list[Hit] | UsageError | DocumentError

QUESTION_BATCH = 64  # questions embedded and searched together


def search(
    collection: Collection,
    text: str,
    *,
    embedder: Embedder | None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]:
    """Return the hits for a question, best first.

    `embedder` may be None in sparse mode. `reranker`: the connected `options.rerank`. Raises
    UsageError for a question without letters and digits, or one that cannot be embedded;
    BackendError, StoreError.
    """
    (outcome,) = search_many(
        collection, [text], embedder=embedder, options=options, reranker=reranker
    )
    if not isinstance(outcome, list):
        raise outcome
    return outcome


def search_many(
    collection: Collection,
    texts: Sequence[str],
    *,
    embedder: Embedder | None,
    options: SearchOptions | None = None,
    reranker: Reranker | None = None,
    batch: int = QUESTION_BATCH,
    parallel: int = 1,
) -> Iterator[SearchOutcome]:
    """Yield, for each question in order, its hits or the error that explains why it has none.

    Questions are embedded and searched `batch` at a time, so that memory does not grow with
    their number; `parallel` searches run at once, which pays off on a server. Raises the errors
    that end all searches: BackendError, StoreError.
    """
    options = options or SearchOptions()
    if options.mode != "sparse" and embedder is None:
        raise AssertionError("dense search needs an embedder")
    options.check_quantization(collection.settings.quantization)
    remaining = iter(texts)
    while chosen := list(islice(remaining, batch)):
        yield from _Batch(collection, embedder, options, reranker, chosen).outcomes(parallel)


class _Batch:
    """Questions that are embedded together and answered under the same languages."""

    def __init__(
        self,
        collection: Collection,
        embedder: Embedder | None,
        options: SearchOptions,
        reranker: Reranker | None,
        texts: Sequence[str],
    ) -> None:
        self._collection = collection
        self._options = options
        self._reranker = reranker
        self._texts = texts
        self._dense_weight = embedder.model.dense_weight if embedder is not None else 1.0
        self._errors: dict[int, UsageError | DocumentError] = {
            number: UsageError("the question has no letters or digits; ask with words")
            for number, text in enumerate(texts)
            if not any(character.isalnum() for character in text)
        }
        self._dense: dict[int, Vector] = {}
        if embedder is not None and options.mode != "sparse":
            self._dense = self._embed(embedder)
        self._encoder = None
        if options.mode != "dense" and len(self._errors) < len(texts):
            self._encoder = bm25_encoder(collection)

    def _embed(self, embedder: Embedder) -> dict[int, Vector]:
        numbers = [number for number in range(len(self._texts)) if number not in self._errors]
        vectors: dict[int, Vector] = {}
        outcomes = embedder.queries([self._texts[number] for number in numbers])
        for number, outcome in zip(numbers, outcomes, strict=True):
            if isinstance(outcome, UsageError):
                self._errors[number] = outcome
            else:
                vectors[number] = outcome
        return vectors

    def outcomes(self, parallel: int) -> Iterator[SearchOutcome]:
        """Yield the outcome of each question, in order."""
        numbers = range(len(self._texts))
        if parallel == 1 or len(numbers) == 1:
            yield from map(self._outcome, numbers)
            return
        with ThreadPoolExecutor(min(parallel, len(numbers)), "search") as pool:
            yield from pool.map(self._outcome, numbers)

    def _outcome(self, number: int) -> SearchOutcome:
        if number in self._errors:
            return self._errors[number]
        text, dense = self._texts[number], self._dense.get(number)
        sparse = None if self._encoder is None else sparse_vector(self._encoder, text)
        if dense is None and sparse is None:
            return []  # sparse mode, and the question has only stop words
        options = self._options
        hits = self._select(text, dense, sparse)
        return add_context(self._collection, hits, options.context, options.expand)

    def _select(self, text: str, dense: Vector | None, sparse: SparseVector | None) -> list[Hit]:
        """Return the hits of the requested page, reranked and grouped."""
        options = self._options
        if self._reranker is not None:
            candidates = self._query(dense, sparse, limit=options.rerank_depth())
            hits = rerank_hits(self._reranker, text, candidates)
        elif options.group is not None:
            hits = self._query_for_documents(options.group, dense, sparse)
        else:
            return self._query(dense, sparse, limit=options.limit, offset=options.offset)
        if options.group is not None:
            return group_by_document(hits, options.group, options.offset, options.limit)
        return hits[options.offset : options.offset + options.limit]

    def _query(
        self, dense: Vector | None, sparse: SparseVector | None, *, limit: int, offset: int = 0
    ) -> list[Hit]:
        query = build_query(
            self._options,
            dense,
            sparse,
            dense_weight=self._dense_weight,
            limit=limit,
            offset=offset,
        )
        return [hit_from_point(point) for point in self._collection.query(query)]

    def _query_for_documents(
        self, group: int, dense: Vector | None, sparse: SparseVector | None
    ) -> list[Hit]:
        """Return the best chunks, as many as it takes to have enough documents among them."""
        documents = self._options.offset + self._options.limit
        prefetch = self._options.fusion_for(self._dense_weight).prefetch
        depth = max(prefetch, 2 * documents * group)
        while True:
            depth = min(depth, MAX_HITS)
            hits = self._query(dense, sparse, limit=depth)
            if len(hits) < depth or depth == MAX_HITS or count_documents(hits) >= documents:
                return hits
            depth *= 4
