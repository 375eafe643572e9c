"""Questions → hits: embed them with the query side, ask the collection, read the payloads.

    texts ─► vectors and terms ─► collection.query ─► rerank ─► group ─► cut ─► context

The collection is asked for more than is shown where something after it chooses.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias, cast

from ragctl.catalog import BackendConfig, Catalog
from ragctl.collection import origin
from ragctl.collection.conditions import Where
from ragctl.collection.payload import SparseVector, Vector
from ragctl.embedding import Embedder, Options, connect
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.errors import DocumentError, UsageError
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.lexical.languages import BM25_NAMES
from ragctl.records import Hit
from ragctl.rerank.reranker import Reranker, rerank_hits
from ragctl.search.ask import CANDIDATES, MOST, Mode, SearchOptions
from ragctl.search.context import widened
from ragctl.search.group import documents_in, grouped
from ragctl.stores.base import Collection, Fusion, Query, Scored

SearchOutcome: TypeAlias = list[Hit] | UsageError | DocumentError

BATCH = 64  # questions embedded and searched together
_AT_ONCE = 4  # requests to a server


def embedder_of(
    collection: Collection,
    *,
    environ: Mapping[str, str],
    backends: Sequence[BackendConfig] = (),
    catalog: Catalog | None = None,
    remote: bool = False,
    threshold: float | None = None,
) -> Embedder:
    """The model that made the collection, through the backends that made it or others.

    Another backend's first query must agree with the collection's canary.
    `remote`: the collection is on a server, where others may have written the
    backend's address. Raises UsageError or BackendError when it cannot be
    reached with these settings.
    """
    settings = collection.settings
    made = origin.backends(collection)
    return connect(
        str(settings.identity["model"]),
        dim=settings.dim,
        task=cast(str | None, settings.origin.get("task")),
        backends=origin.merged(backends, made, remote),
        catalog=catalog,
        environ=environ,
        # Chunks of documents are embedded together, a question never is; its wire is the same.
        options=Options(late_chunking=bool(settings.identity["late_chunking"])),
        canary=origin.canary(collection),
        threshold=CANARY_THRESHOLD if threshold is None else threshold,
        trusted=origin.trusted(made),
    )


def search(
    collection: Collection,
    text: str,
    *,
    embedder: Embedder | None,
    limit: int = 10,
    mode: Mode = "hybrid",
    where: Where = (),
    ask: SearchOptions | None = None,
    reranker: Reranker | None = None,
) -> list[Hit]:
    """Hits for a question, best first. `embedder` may be None in sparse mode.

    `ask` says all of how, instead of `limit`, `mode` and `where`. Raises UsageError for
    a question without a single letter or digit, or one that cannot be embedded.
    """
    ask = ask or SearchOptions(limit=limit, mode=mode, where=where)
    (found,) = search_many(collection, [text], embedder=embedder, ask=ask, reranker=reranker)
    if not isinstance(found, list):
        raise found
    return found


def search_many(
    collection: Collection,
    texts: Sequence[str],
    *,
    embedder: Embedder | None,
    ask: SearchOptions | None = None,
    reranker: Reranker | None = None,
    batch: int = BATCH,
    at_once: int = 1,
) -> Iterator[SearchOutcome]:
    """For each question in order its hits, or why it cannot be answered.

    Questions are embedded and searched `batch` at a time, so that memory does not grow
    with them; `at_once` searches run side by side, which pays on a server. Raises what
    ends all of it: BackendError, StoreError.
    """
    ask = ask or SearchOptions()
    if ask.mode != "sparse" and embedder is None:
        raise AssertionError("dense search needs an embedder")
    ask.check(collection.settings.quantization)
    waiting = iter(texts)
    while some := list(islice(waiting, batch)):
        yield from _Round(collection, embedder, ask, reranker, some).outcomes(at_once)


class _Round:
    """Questions that are embedded together, and answered under the same languages."""

    def __init__(
        self,
        collection: Collection,
        embedder: Embedder | None,
        ask: SearchOptions,
        reranker: Reranker | None,
        texts: Sequence[str],
    ) -> None:
        self._collection = collection
        self._ask = ask
        self._reranker = reranker
        self._texts = texts
        self._fusion = ask.fused(embedder.model.dense_weight if embedder is not None else 1.0)
        self._refused: dict[int, UsageError | DocumentError] = {
            number: UsageError("the question has no letters or digits; ask with words")
            for number, text in enumerate(texts)
            if not any(character.isalnum() for character in text)
        }
        self._dense = self._embedded(embedder) if ask.mode != "sparse" else {}
        self._sparse = (
            sparse_side(collection)
            if ask.mode != "dense" and len(self._refused) < len(texts)
            else None
        )

    def _embedded(self, embedder: Embedder | None) -> dict[int, Vector]:
        assert embedder is not None
        asked = [number for number in range(len(self._texts)) if number not in self._refused]
        vectors: dict[int, Vector] = {}
        outcomes = embedder.queries([self._texts[number] for number in asked])
        for number, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, UsageError):
                self._refused[number] = outcome
            else:
                vectors[number] = outcome
        return vectors

    def outcomes(self, at_once: int) -> Iterator[SearchOutcome]:
        numbers = range(len(self._texts))
        if at_once == 1 or len(numbers) == 1:
            yield from map(self._outcome, numbers)
            return
        with ThreadPoolExecutor(min(at_once, len(numbers)), "search") as pool:
            yield from pool.map(self._outcome, numbers)

    def _outcome(self, number: int) -> SearchOutcome:
        if number in self._refused:
            return self._refused[number]
        return self._hits(self._texts[number], self._dense.get(number))

    def _hits(self, text: str, dense: Vector | None) -> list[Hit]:
        sparse = None if self._sparse is None else terms(self._sparse, text)
        if dense is None and sparse is None:
            return []  # words alone, and all of them stop words
        ask = self._ask
        query = _query(ask, dense, sparse, self._fusion)
        if self._reranker is not None:
            hits = rerank_hits(self._reranker, text, self._asked(query, _first(ask)))
        elif ask.group is not None:
            hits = self._of_documents(query)
        else:
            hits = self._asked(replace(query, offset=ask.offset), ask.limit)
            return widened(self._collection, hits, ask.context, ask.expand)
        if ask.group is not None:
            hits = grouped(hits, ask.group, ask.offset, ask.limit)
        else:
            hits = hits[ask.offset : ask.offset + ask.limit]
        return widened(self._collection, hits, ask.context, ask.expand)

    def _asked(self, query: Query, limit: int) -> list[Hit]:
        found = self._collection.query(replace(query, limit=limit))
        return [as_hit(point) for point in found]

    def _of_documents(self, query: Query) -> list[Hit]:
        """The best chunks, as many as it takes to see enough documents among them."""
        assert self._ask.group is not None
        wanted = self._ask.offset + self._ask.limit
        depth = max(query.fusion.prefetch, 2 * wanted * self._ask.group)
        while True:
            depth = min(depth, MOST)
            hits = self._asked(query, depth)
            if len(hits) < depth or depth == MOST or documents_in(hits) >= wanted:
                return hits
            depth *= 4


def _query(
    ask: SearchOptions, dense: Vector | None, sparse: SparseVector | None, fusion: Fusion
) -> Query:
    return Query(
        ask.limit,
        dense,
        sparse,
        ask.where,
        fusion,
        exact=ask.exact,
        ef=ask.ef,
        diversity=ask.diversity,
        min_score=ask.min_score,
        rescore=ask.rescored,
    )


def _first(ask: SearchOptions) -> int:
    """How many hits a reranker is given."""
    wanted = (ask.offset + ask.limit) * (ask.group or 1)
    if ask.candidates is None:
        return min(MOST, max(CANDIDATES, wanted))
    if ask.candidates < ask.offset + ask.limit:
        raise UsageError(
            f"candidates {ask.candidates}: fewer than the {ask.offset + ask.limit} hits asked for"
        )
    return ask.candidates


def sparse_side(collection: Collection) -> Bm25Encoder:
    """BM25 of questions, under the languages that the collection's documents have by now."""
    config = Bm25Config.from_json(collection.settings.sparse)
    if not config.languages:
        present = sorted(BM25_NAMES.keys() & collection.facet("mark"))
        config = replace(config, languages=tuple(present))
    return Bm25Encoder(config)


def terms(sparse: Bm25Encoder, text: str) -> SparseVector | None:
    """A question's terms; None where it has none, such as a question of stop words alone."""
    indices, values = sparse.query(text)
    return SparseVector(indices, values) if indices else None


def as_hit(point: Scored) -> Hit:
    payload = cast(dict[str, Any], point.payload)
    return Hit(
        source=payload["source"],
        score=point.score,
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        page=payload.get("page"),
        heading=tuple(payload.get("heading") or ()),
        ordinal=payload["ordinal"],
        meta=payload.get("meta") or {},
        line=payload.get("line"),
        title=payload.get("title"),
        spans=((payload["start"], payload["end"]),),
        ordinals=(payload["ordinal"],),
        chunks=payload["chunks"],
        version=payload["version"],
        id=point.id,
    )
