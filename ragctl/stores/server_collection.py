"""One collection on a Qdrant server: its reads and writes as requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from qdrant_client import QdrantClient, models

from ragctl.collection.conditions import Prefix, Where
from ragctl.collection.notes import Notes
from ragctl.collection.payload import FILTERABLE_FIELDS, KEYWORD_INDEXES, Point
from ragctl.collection.settings import META_PREFIX, Settings
from ragctl.records import Json, Notify, ignore
from ragctl.stores.base import Batch, Query, Scored
from ragctl.stores.conditions import settled
from ragctl.stores.searching import Side, answer
from ragctl.stores.server_points import (
    HIDDEN,
    filter_of,
    fused_request,
    read_hits,
    read_point,
    requests,
    search_params,
    write_requests,
)
from ragctl.stores.server_wire import ServerConnection, applied, what

T = TypeVar("T")

_PAGE = 1000  # points read at a time; with vectors a tenth of it
_FACETS = 10_000  # values asked for at first; the server sets aside memory for all of them
_SEARCH_WIDTH = 256  # hnsw_ef; the server's default of 100 loses recall
_WEIGHTED_RRF = (1, 17)
_PREFIXES = (1, 19)
_UNLIMITED = 2**31


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What the collection's strict mode allows in one request."""

    upsert: int = _UNLIMITED  # points
    query: int = _UNLIMITED  # results
    width: int = _UNLIMITED  # hnsw_ef
    unindexed: bool = True  # filters that no index answers

    @classmethod
    def of(cls, info: models.CollectionInfo) -> "BatchLimits":
        strict = info.config.strict_mode_config
        if strict is None or not strict.enabled:
            return cls()
        return cls(
            upsert=strict.upsert_max_batchsize or _UNLIMITED,
            query=strict.max_query_limit or _UNLIMITED,
            width=strict.search_max_hnsw_ef or _UNLIMITED,
            unindexed=strict.unindexed_filtering_retrieve is not False,
        )


class Locking(Protocol):
    """The store, as far as a collection needs it."""

    def lock(
        self, name: str, *, patience: float, waiting: Notify
    ) -> AbstractContextManager[None]: ...

    def check_lock(self, name: str) -> None: ...

    def index(self, name: str, fields: Mapping[str, str]) -> None: ...


MARK = "ragctl"  # the key of our settings in metadata, or in the hidden point's payload


class ServerCollection:
    """One collection of a ServerStore. `metadata`: its settings are there, not in the point.

    Every write asks first whether the run still has the collection, if it locked it,
    and asks again before each new try of a request.
    """

    def __init__(
        self,
        store: Locking,
        wire: ServerConnection,
        name: str,
        settings: Settings,
        limits: BatchLimits,
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
        merges = [(self._settled(where), payload) for where, payload in batch.merges]
        settled_batch = replace(batch, merges=merges)
        for operations in write_requests(
            settled_batch, upsert_limit=self._limits.upsert, hidden=HIDDEN
        ):
            self._write(operations)

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        condition = filter_of(self._settled(where), HIDDEN)
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

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
        counts = self._facet(key, exact=not of_all)
        if of_all and counts is not None and self.count() != sum(counts.values()):
            counts = self._facet(key, exact=True)
        return self._counted(key) if counts is None else counts

    def count(self, where: Where = ()) -> int:
        condition = filter_of(self._settled(where), HIDDEN)
        return self._do(
            lambda client: client.count(self.name, count_filter=condition, exact=True)
        ).count

    def query(self, query: Query) -> list[Scored]:
        return answer(replace(query, where=self._settled(query.where)), self)

    @property
    def most(self) -> int:
        """Hits that one answer may have."""
        return self._limits.query

    def sides(
        self, query: Query, sides: Sequence[Side], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """The best of each side; of both together also the page of the server's own fusion."""
        width = min(query.ef or max(_SEARCH_WIDTH, limit), self._limits.width)
        quantized = self.settings.quantization is not None
        params = search_params(query, width=width, quantized=quantized)
        asked = requests(query, sides, limit, payload=payload, params=params)
        fuses = query.fusion.kind == "dbsf" or self._wire.version >= _WEIGHTED_RRF
        if len(sides) > 1 and query.diversity is None and fuses:
            asked.append(fused_request(query, asked, self.most))
        answers = self._do(lambda client: client.query_batch_points(self.name, asked))
        return [read_hits(found.points) for found in answers]

    def _settled(self, where: Where) -> Where:
        """`where` as this server may be asked for it."""
        there = self._wire.version >= _PREFIXES
        return settled(
            where,
            {**FILTERABLE_FIELDS, **self.settings.indexed},
            None if there else self._beginning,
            held=not self._limits.unindexed,
        )

    def _beginning(self, prefix: Prefix) -> list[str]:
        key = prefix.key
        indexed = key in KEYWORD_INDEXES or self.settings.indexed.get(key) == "keyword"
        counts = self.facet(key) if indexed else self._counted(key)
        return [value for value in counts if value.startswith(prefix.text)]

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
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

    def _facet(self, key: str, *, exact: bool) -> dict[str, int] | None:
        """None where there are more values than the server tells."""
        # The hidden point has none of the indexed fields.
        limit = min(_FACETS, self._limits.query)
        while True:
            hits = self._do(partial(_hits, self.name, key, limit, exact))
            if len(hits) < limit:
                return {str(hit.value): hit.count for hit in hits}
            if limit == self._limits.query:
                return None
            limit = min(limit * 10, self._limits.query)

    def _counted(self, key: str) -> dict[str, int]:
        """A facet by reading every point: of a field without index, or past the server's limits."""
        counts: dict[str, int] = {}
        for point in self.scroll(fields=[key]):
            held = cast(Json, point.payload)
            for name in key.split("."):
                held = held.get(name) if isinstance(held, dict) else None
            listed = held if isinstance(held, list) else [held]
            for value in {text for text in listed if isinstance(text, str)}:
                counts[value] = counts.get(value, 0) + 1
        return counts

    def note(self, notes: Notes) -> None:
        self._keep(replace(self.settings, notes={**self.settings.notes, **notes}))

    def declare(self, fields: Mapping[str, str]) -> None:
        old = self.settings.fields
        new = {name: kind for name, kind in fields.items() if old.get(name) != kind}
        if not new:
            return
        self._store.check_lock(self.name)
        self._store.index(self.name, {f"{META_PREFIX}{name}": kind for name, kind in new.items()})
        self._keep(replace(self.settings, fields={**old, **new}))

    def _keep(self, settings: Settings) -> None:
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


def _hits(
    name: str, key: str, limit: int, exact: bool, client: QdrantClient
) -> list[models.FacetValueHit]:
    return client.facet(name, key, limit=limit, exact=exact).hits
