"""One collection on a Qdrant server: its reads and writes as requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from qdrant_client import QdrantClient, models

from ragctl.records import Json
from ragctl.stores.base import Batch, Point, Query, Scored, Settings, Told, Where, nobody
from ragctl.stores.server_points import (
    HIDDEN,
    as_request,
    filter_of,
    fuse,
    read_hits,
    read_point,
    sides,
    write_requests,
)
from ragctl.stores.server_wire import Wire, applied, what

T = TypeVar("T")

_PAGE = 1000  # points read at a time; with vectors a tenth of it
_FACETS = 10_000  # values asked for at first; the server sets aside memory for all of them
_SEARCH_WIDTH = 256  # hnsw_ef; the server's default of 100 loses recall
_WEIGHTED_RRF = (1, 17)
_UNLIMITED = 2**31


@dataclass(frozen=True, slots=True)
class Limits:
    """What the collection's strict mode allows in one request."""

    upsert: int = _UNLIMITED  # points
    query: int = _UNLIMITED  # results
    width: int = _UNLIMITED  # hnsw_ef

    @classmethod
    def of(cls, info: models.CollectionInfo) -> "Limits":
        strict = info.config.strict_mode_config
        if strict is None or not strict.enabled:
            return cls()
        return cls(
            upsert=strict.upsert_max_batchsize or _UNLIMITED,
            query=strict.max_query_limit or _UNLIMITED,
            width=strict.search_max_hnsw_ef or _UNLIMITED,
        )


class Locking(Protocol):
    """The store, as far as a collection needs it."""

    def lock(
        self, name: str, *, patience: float, waiting: Told
    ) -> AbstractContextManager[None]: ...

    def check_lock(self, name: str) -> None: ...


MARK = "ragctl"  # the key of our settings in metadata, or in the hidden point's payload


class ServerCollection:
    """One collection of a ServerStore. `metadata`: its settings are there, not in the point.

    Every write asks first whether the run still has the collection, if it locked it,
    and asks again before each new try of a request.
    """

    def __init__(
        self,
        store: Locking,
        wire: Wire,
        name: str,
        settings: Settings,
        limits: Limits,
        *,
        metadata: bool,
    ) -> None:
        self.name = name
        self.settings = settings
        self._store = store
        self._wire = wire
        self._limits = limits
        self._metadata = metadata

    def apply(self, batch: Batch) -> None:
        requests = write_requests(batch, upsert_limit=self._limits.upsert, hidden=HIDDEN)
        for operations in requests:
            self._write(operations)

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        condition = filter_of(where, HIDDEN)
        offset: Any = None
        while True:
            records, offset = self._page(condition, offset, fields, vectors)
            yield from map(read_point, records)
            if offset is None:
                return

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        page = _PAGE // 10 if vectors else _PAGE
        wanted = [point_id for point_id in ids if point_id != HIDDEN]
        found: list[Point] = []
        for first in range(0, len(wanted), page):
            found += self._retrieve(wanted[first : first + page], vectors)
        return found

    def facet(self, key: str) -> dict[str, int]:
        # The hidden point has none of the indexed fields.
        limit = min(_FACETS, self._limits.query)
        while True:
            hits = self._facet(key, limit)
            if len(hits) < limit:
                return {str(hit.value): hit.count for hit in hits}
            if limit == self._limits.query:
                return self._counted(key)
            limit = min(limit * 10, self._limits.query)

    def count(self, where: Where = ()) -> int:
        condition = filter_of(where, HIDDEN)
        return self._do(
            lambda client: client.count(self.name, count_filter=condition, exact=True)
        ).count

    def query(self, query: Query) -> list[Scored]:
        fused = query.dense is not None and query.sparse is not None
        wanted = query.limit + query.offset
        depth = max(query.fusion.prefetch, wanted) if fused else wanted
        depth = min(depth, self._limits.query)
        width = min(max(_SEARCH_WIDTH, depth), self._limits.width)
        searches = sides(query, depth, width)
        if not fused:
            hits = self._search(searches[0], query)
        elif self._wire.version >= _WEIGHTED_RRF:
            hits = self._fused_there(searches, query)
        else:
            hits = self._fused_here(searches, query)
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))

    def lock(
        self, *, patience: float = 0.0, waiting: Told = nobody
    ) -> AbstractContextManager[None]:
        return self._store.lock(self.name, patience=patience, waiting=waiting)

    def finish(self) -> None:
        """Every write was durable when it returned; the server compacts by itself."""

    def close(self) -> None:
        """The connection belongs to the store."""

    def _do(self, request: Callable[[QdrantClient], T]) -> T:
        return self._wire.call(what(self.name), request)

    def _write(self, operations: list[models.UpdateOperation]) -> None:
        def write(client: QdrantClient) -> None:
            self._store.check_lock(self.name)
            for result in client.batch_update_points(self.name, operations, wait=True):
                applied(result)

        self._do(write)

    def _page(
        self, condition: models.Filter | None, offset: Any, fields: Sequence[str] | None, full: bool
    ) -> tuple[list[models.Record], Any]:
        return self._do(
            lambda client: client.scroll(
                self.name,
                scroll_filter=condition,
                limit=min(_PAGE // 10 if full else _PAGE, self._limits.query),
                offset=offset,
                with_payload=True if fields is None else list(fields),
                with_vectors=full,
            )
        )

    def _retrieve(self, ids: Sequence[str], vectors: bool) -> list[Point]:
        records = self._do(
            lambda client: client.retrieve(self.name, ids, with_payload=True, with_vectors=vectors)
        )
        return [read_point(record) for record in records]

    def _facet(self, key: str, limit: int) -> list[models.FacetValueHit]:
        return self._do(lambda client: client.facet(self.name, key, limit=limit, exact=True)).hits

    def _counted(self, key: str) -> dict[str, int]:
        """A facet by reading every point, where the server limits results too far."""
        counts: dict[str, int] = {}
        for point in self.scroll(fields=[key]):
            held = point.payload.get(key)
            for value in set(held if isinstance(held, list) else [held]):
                if isinstance(value, str):
                    counts[value] = counts.get(value, 0) + 1
        return counts

    def _search(self, side: models.Prefetch, query: Query) -> list[Scored]:
        found = self._do(
            lambda client: client.query_points(
                self.name,
                query=side.query,
                using=side.using,
                query_filter=side.filter,
                search_params=side.params,
                limit=query.limit,
                offset=query.offset,
                with_payload=True,
            )
        )
        return read_hits(found.points)

    def note(self, notes: Mapping[str, Json]) -> None:
        settings = replace(self.settings, notes={**self.settings.notes, **notes})
        mark: dict[str, Any] = {MARK: settings.to_json()}
        if self._metadata:
            self._describe(mark)
        else:  # beside the lease
            body = models.SetPayload(payload=mark, points=[HIDDEN])
            self._write([models.SetPayloadOperation(set_payload=body)])
        self.settings = settings

    def _describe(self, metadata: dict[str, Any]) -> None:
        def write(client: QdrantClient) -> None:
            self._store.check_lock(self.name)
            client.update_collection(self.name, metadata=metadata)

        self._do(write)

    def _fused_there(self, searches: list[models.Prefetch], query: Query) -> list[Scored]:
        weights = [query.fusion.dense, query.fusion.sparse]
        rrf = models.RrfQuery(rrf=models.Rrf(k=query.fusion.k, weights=weights))
        found = self._do(
            lambda client: client.query_points(
                self.name,
                prefetch=searches,
                query=rrf,
                limit=query.limit,
                offset=query.offset,
                with_payload=True,
            )
        )
        return read_hits(found.points)

    def _fused_here(self, searches: list[models.Prefetch], query: Query) -> list[Scored]:
        requests = [as_request(side) for side in searches]
        dense, sparse = self._do(lambda client: client.query_batch_points(self.name, requests))
        fused = fuse(read_hits(dense.points), read_hits(sparse.points), query.fusion)
        return fused[query.offset : query.offset + query.limit]
