"""Searches as Qdrant's query requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ragctl.collection.conditions import Where
from ragctl.collection.ownership import HAS_OWN_KEY
from ragctl.collection.payload import BM25, DENSE, Point
from ragctl.collection.settings import Settings
from ragctl.stores.base import Query, Rescore, Scored
from ragctl.stores.searching import VectorName, threshold_for
from ragctl.stores.server_limits import BatchLimits
from ragctl.stores.server_points import Json, filter_of, given, sparse_vector

DEFAULT_EF = 256
"""hnsw_ef: candidates kept while walking the graph. The server's default of 100 loses recall."""

WEIGHTED_RRF_VERSION = (1, 17)
"""First server version whose fusion has weights."""


class Searched(Protocol):
    """What a search needs of a collection."""

    settings: Settings
    limits: BatchLimits

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor version of the server."""

    def retrieve_from(
        self, ids: Sequence[str], shards: Mapping[str, Any], *, vectors: bool
    ) -> list[Point]:
        """Return the points of some shards."""

    def search(self, searches: Sequence[Mapping[str, Any]]) -> list[list[Scored]]:
        """Return the answers to searches."""


@dataclass(frozen=True, slots=True)
class Search:
    """The requests of one search: those of `searching.Engine`. `shards`: the choice of shards."""

    reader: Searched
    shards: Mapping[str, Any]
    own: Where = (HAS_OWN_KEY,)

    @property
    def max_hits(self) -> int:
        """The most hits that one answer can have."""
        return self.reader.limits.query

    @property
    def is_shared(self) -> bool:
        """Whether the collection is known to hold points that ragctl did not write."""
        return self.reader.limits.shared

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""
        return self.reader.retrieve_from(ids, self.shards, vectors=vectors)

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """Return the best hits by each of the vectors.

        With both vectors the page of the server's own fusion follows, if the server has it.
        """
        limits, version = self.reader.limits, self.reader.server_version
        params = dense_search_params(
            query,
            width=min(query.ef or max(DEFAULT_EF, limit), limits.width),
            quantized=self.reader.settings.quantization is not None,
            oversampling=limits.oversampling,
        )
        searches = requests(query, names, limit, payload=payload, params=params)
        can_fuse = query.fusion.kind == "dbsf" or version >= WEIGHTED_RRF_VERSION
        if len(names) > 1 and query.diversity is None and can_fuse:
            searches.append(fused_request(query, searches, self.max_hits))
        return self.reader.search([{**search, **self.shards} for search in searches])


def requests(
    query: Query,
    names: Sequence[VectorName],
    limit: int,
    *,
    payload: bool,
    params: Mapping[str, Any],
) -> list[Json]:
    """Return one search for each of the vectors. `params`: those of the dense search."""
    searches = []
    for name in names:
        search = {
            "query": _nearest(query, name),
            "using": DENSE if name == "dense" else BM25,
            "limit": limit,
            "with_payload": payload,
            "filter": filter_of(query.where),
            "params": params if name == "dense" else None,
            "score_threshold": None if query.min_score is None else threshold_for(query.min_score),
        }
        searches.append(given(search))
    return searches


def _nearest(query: Query, name: VectorName) -> Any:
    if name == "dense" and query.dense is not None:
        return np.ascontiguousarray(query.dense, dtype=np.float32)
    if query.sparse is None:
        raise AssertionError(f"the query has no {name} vector")
    return sparse_vector(query.sparse)


def fused_request(query: Query, searches: Sequence[Mapping[str, Any]], max_hits: int) -> Json:
    """Return the request for the page of the server's own fusion, with payloads.

    It fuses the candidates of `searches` without the last one of each, which is read only
    to see whether a tie was cut off.
    """
    fusion: Json = {"fusion": "dbsf"}
    if query.fusion.kind == "rrf":
        weights = [query.fusion.dense, query.fusion.sparse]
        fusion = {"rrf": {"k": query.fusion.k, "weights": weights}}
    prefetch = [
        {
            "limit": max(1, search["limit"] - 1),
            **{k: search[k] for k in ("query", "using", "filter", "params") if k in search},
        }
        for search in searches
    ]
    return {
        "prefetch": prefetch,
        "query": fusion,
        "limit": min(query.limit, max_hits),
        "offset": query.offset,
        "with_payload": True,
    }


def dense_search_params(
    query: Query, *, width: int, quantized: bool, oversampling: float = float("inf")
) -> Json:
    """Return how dense vectors are searched.

    `width`: candidates kept while walking the graph. `oversampling`: the most that is allowed.
    """
    if query.exact:
        return {"exact": True}
    params: Json = {"hnsw_ef": width}
    if quantized:
        rescore = query.rescore or Rescore()
        params["quantization"] = {
            "rescore": rescore.rescore,
            "oversampling": min(rescore.oversampling, oversampling),
        }
    return params
