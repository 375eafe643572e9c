"""One collection on a Qdrant server: its reads and writes as requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

import orjson

from ragctl.collection.conditions import Has, HasId, Prefix, Where
from ragctl.collection.notes import Notes
from ragctl.collection.ownership import HAS_OWN_KEY
from ragctl.collection.payload import FILTERABLE_FIELDS, KEYWORD_INDEXES, Payload, Point
from ragctl.collection.settings import META_PREFIX, Settings
from ragctl.errors import GenerationDropped, StoreError
from ragctl.records import Json, Notify, ignore
from ragctl.stores.base import Batch, Query, Scored, ServerState
from ragctl.stores.conditions import prepare, split
from ragctl.stores.lease import WRITE
from ragctl.stores.searching import VectorName, answer
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    collection_label,
    require_all_applied,
)
from ragctl.stores.server_creation import NOTES_KEY
from ragctl.stores.server_failures import TOO_LARGE
from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_info import CollectionInfo, read_shards
from ragctl.stores.server_limits import UNLIMITED, BatchLimits
from ragctl.stores.server_points import (
    HIDDEN,
    MAX_REQUEST_BYTES,
    Operation,
    batch_body,
    dense_search_params,
    filter_of,
    fused_request,
    given,
    read_hits,
    read_points,
    requests,
    server_id,
    set_payload,
    source_of,
    write_requests,
)
from ragctl.stores.server_schema import PREFIX_VERSION, restored_graph
from ragctl.text import counted

T = TypeVar("T")

PAGE_POINTS = 1000
"""Points read at a time; with vectors a tenth."""

FIRST_FACET_VALUES = 10_000
"""Values asked for at first; the server allocates memory for all that are asked for."""

DEFAULT_EF = 256
"""hnsw_ef: candidates kept while walking the graph. The server's default of 100 loses recall."""

WEIGHTED_RRF_VERSION = (1, 17)
"""First server version whose fusion has weights."""

MIN_REQUEST_BYTES = 1000
"""Requests are not made smaller than this."""

NO_INDEX = "No appropriate index for faceting"
"""Words of a refusal of a facet."""

NOT_FOUND = 404


class CollectionOwner(Protocol):
    """The methods of the store that a collection uses."""

    def lock(
        self, name: str, *, generation: int | None, patience: float, waiting: Notify
    ) -> AbstractContextManager[None]:
        """See Store.lock."""

    def check_lock(self, name: str, address: str) -> None:
        """Raise Locked if the store locked the collection and has lost the lock."""

    def write_failed(self, name: str, address: str) -> None:
        """Remember that a write of this run may be on some replicas only."""

    def index(self, name: str, address: str, fields: Mapping[str, str]) -> None:
        """Make payload indexes: type by payload key. Raises StoreError."""


class ServerCollection:
    """One generation of a collection of a ServerStore.

    If the run locked the collection, every try of a write first checks that it still holds
    the lock.

    Args:
        store: the store.
        connection: the store's connection.
        name: the collection's name, for errors.
        address: the name that requests use.
        settings: the generation's settings.
        info: what the server says about it.
        verify: called after each answer that was read; raises GenerationDropped if `address` is
            an alias that leads to another generation now. None: it cannot.
    """

    own: Where = (HAS_OWN_KEY,)

    def __init__(
        self,
        store: CollectionOwner,
        connection: ServerConnection,
        name: str,
        address: str,
        settings: Settings,
        info: CollectionInfo,
        *,
        verify: Callable[[], None] | None,
    ) -> None:
        self.name = name
        self._address = address
        self._verify = verify
        self.settings = settings
        self._store = store
        self._connection = connection
        self._limits = BatchLimits.of(info)
        self._deferred = restored_graph(info)
        self._max_bytes = 0  # of a request to this address; 0: not read from the notes yet

    def apply(self, batch: Batch) -> None:
        """See Collection.apply.

        A server, and a proxy before it, may take smaller requests than Qdrant does by default.
        The batch is then sent again from its start in requests of half the size, and so on; the
        size that passes is kept in the notes, by address.
        """
        prepared = replace(batch, merges=list(self._merges(batch)))
        before = self._max_bytes = self._max_bytes or self._noted_bytes()
        while not self._applied(prepared):
            pass
        if self._max_bytes < before:
            sizes = self.notes().get("request_bytes", {})
            self.note({"request_bytes": {**sizes, self._connection.url: self._max_bytes}})

    def _applied(self, batch: Batch) -> bool:
        """Write a batch; return False if a request was too large, after lowering the limit."""
        for operations in write_requests(
            batch,
            upsert_limit=self._limits.upsert,
            hidden=HIDDEN,
            max_bytes=self._max_bytes,
            max_points=self._limits.written,
        ):
            refused = self._try_write(operations)
            if refused is None:
                continue
            size = sum(len(operation.body) for operation in operations)
            if refused.status != TOO_LARGE or size < MIN_REQUEST_BYTES:
                raise self._refused(refused, WRITE)
            if sum(operation.points for operation in operations) == 1:
                raise StoreError(
                    f"{collection_label(self.name)} at {self._connection.url}: document "
                    f"{source_of(operations[0])!r} has a chunk of {counted(size, 'byte')}, "
                    "which the "
                    f"server, or a proxy before it, refuses ({refused.reason}); allow larger "
                    "requests there (Qdrant: service.max_request_size_mb, nginx: "
                    "client_max_body_size), or use a smaller --chunk-size or --dim"
                )
            self._max_bytes = min(self._max_bytes, size) // 2
            return False
        return True

    def _noted_bytes(self) -> int:
        """Return the largest request that passed, as an earlier run learned it."""
        noted = self.notes().get("request_bytes", {}).get(self._connection.url)
        usable = isinstance(noted, int) and MIN_REQUEST_BYTES <= noted < MAX_REQUEST_BYTES
        return noted if usable and noted is not None else MAX_REQUEST_BYTES

    def _merges(self, batch: Batch) -> Iterator[tuple[Where, Payload]]:
        """Yield the merges of a batch as the server allows them."""
        for where, payload in batch.merges:
            parts = split(self._prepared(where), self._limits.values)
            if self._limits.written == UNLIMITED:
                yield from ((part, payload) for part in parts)
                continue
            # The cost of a write by filter is the number of its points.
            ids = [point.id for point in self.scroll(where, fields=())]
            size = min(self._limits.written, self._limits.values, PAGE_POINTS)
            for first in range(0, len(ids), size):
                yield (HasId(tuple(ids[first : first + size])),), payload

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        """See Collection.scroll."""
        parts = list(split(self._prepared(where), self._limits.values))
        if len(parts) == 1:
            yield from self._scroll(parts[0], fields, vectors)
            return
        seen: set[str] = set()  # a field may hold values of two parts
        for part in parts:
            for point in self._scroll(part, fields, vectors):
                if point.id not in seen:
                    seen.add(point.id)
                    yield point

    def _scroll(
        self, prepared: Where, fields: Sequence[str] | None, vectors: bool
    ) -> Iterator[Point]:
        condition = filter_of(prepared, HIDDEN)
        offset: Any = None
        while True:
            points, offset = self._page(condition, offset, fields, vectors)
            yield from points
            if offset is None:
                return

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""
        page = PAGE_POINTS // 10 if vectors else PAGE_POINTS
        visible = [point_id for point_id in ids if point_id != HIDDEN]
        found: list[Point] = []
        for first in range(0, len(visible), page):
            found += self._retrieve(visible[first : first + page], vectors)
        return found

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
        """See Collection.facet."""
        if not self._limits.exact:
            return self._counted_by_scroll(key)
        counts = self._facet(key, exact=not of_all)
        if of_all and counts is not None:
            total = sum(counts.values())
            if total != self.count() and total != self.count((Has(key),)):
                counts = self._facet(key, exact=True)
        return self._counted_by_scroll(key) if counts is None else counts

    def count(self, where: Where = ()) -> int:
        """See Collection.count."""
        if not self._limits.exact:
            return sum(1 for _ in self.scroll(where, fields=()))
        body = {"filter": filter_of(self._prepared(where), HIDDEN), "exact": True}
        return self._post("count", body, lambda found: int(found["count"]))

    def query(self, query: Query) -> list[Scored]:
        """See Collection.query."""
        if query.exact and not self._limits.exact:
            raise StoreError(
                f"{collection_label(self.name)} at {self._connection.url}: strict mode of the "
                "collection forbids exact searches (search_allow_exact); search without --exact"
            )
        return answer(replace(query, where=self._prepared(query.where)), self)

    @property
    def max_hits(self) -> int:
        """The most hits that one answer can have."""
        return self._limits.query

    @property
    def is_shared(self) -> bool:
        """Whether the collection is known to hold points that ragctl did not write."""
        return self._limits.shared

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """Return the best hits by each of the vectors.

        With both vectors the page of the server's own fusion follows, if the server has it.
        """
        width = min(query.ef or max(DEFAULT_EF, limit), self._limits.width)
        quantized = self.settings.quantization is not None
        params = dense_search_params(
            query, width=width, quantized=quantized, oversampling=self._limits.oversampling
        )
        searches = requests(query, names, limit, payload=payload, params=params)
        can_fuse = query.fusion.kind == "dbsf" or self._connection.version >= WEIGHTED_RRF_VERSION
        if len(names) > 1 and query.diversity is None and can_fuse:
            searches.append(fused_request(query, searches, self.max_hits))
        size = self._limits.searches
        answers: list[list[Scored]] = []
        for first in range(0, len(searches), size):
            answers += self._post(
                "query/batch",
                {"searches": searches[first : first + size]},
                lambda answers: [read_hits(found["points"]) for found in answers],
            )
        return answers

    def _prepared(self, where: Where) -> Where:
        """Return `where` in a form that this server answers."""
        has_prefixes = self._connection.version >= PREFIX_VERSION
        return prepare(
            where,
            {**FILTERABLE_FIELDS, **self.settings.indexed},
            None if has_prefixes else self._values_with_prefix,
            indexed_only=not self._limits.unindexed,
        )

    def _values_with_prefix(self, prefix: Prefix) -> list[str]:
        key = prefix.key
        indexed = key in KEYWORD_INDEXES or self.settings.indexed.get(key) == "keyword"
        counts = self.facet(key) if indexed else self._counted_by_scroll(key)
        return [value for value in counts if value.startswith(prefix.text)]

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """See Collection.lock."""
        number = self.settings.generation
        return self._store.lock(self.name, generation=number, patience=patience, waiting=waiting)

    def server_state(self) -> ServerState:
        """See Collection.server_state."""
        url = collection_path(self._address)
        info = self._read(lambda client: client.send("GET", url, read=CollectionInfo.read))
        shards = self._connection.attempt(
            collection_label(self.name),
            lambda client: client.send("GET", f"{url}/cluster", read=read_shards),
        )
        return ServerState(
            optimizer=info.status,
            optimizer_error=info.optimizer_error,
            indexed_vectors=info.indexed_vectors,
            graph_deferred=restored_graph(info) is not None,
            shards=None if isinstance(shards, Refusal) else shards,
        )

    @property
    def unfinished(self) -> bool:
        """See Collection.unfinished."""
        return self._deferred is not None

    def finish(self, *, notify: Notify = ignore) -> None:
        """Let the server build the HNSW graph if that was deferred; see `restored_graph`.

        Writes are durable when they return, and the server compacts by itself.
        """
        change = self._deferred
        if change is None:
            return
        label = collection_label(self.name)
        restored = self._connection.attempt(
            label, lambda client: client.send("PATCH", collection_path(self._address), change)
        )
        if not isinstance(restored, Refusal):
            self._deferred = None
        elif restored.status in (401, 403):
            notify(
                "its HNSW graph is not built, and searches compare every vector: the key of this "
                "run may not change the collection; run once with the key that created it"
            )
        else:
            raise self._connection.error(label, restored)

    def close(self) -> None:
        """Do nothing: the connection belongs to the store."""

    def _read(self, request: Callable[[QdrantHttp], T]) -> T:
        outcome = self._connection.attempt(collection_label(self.name), request)
        if isinstance(outcome, Refusal):
            raise self._refused(outcome, "the right to read this collection")
        if self._verify is not None:
            self._verify()
        return outcome

    def _refused(self, refusal: Refusal, need: str) -> StoreError:
        label = collection_label(self.name)
        if refusal.status == NOT_FOUND and "doesn't exist" in refusal.reason:
            return GenerationDropped(
                f"{label} at {self._connection.url}: it was deleted or replaced after it was "
                "opened; run again"
            )
        return self._connection.error(label, refusal, need=need)

    def _post(self, path: str, body: object, read: Callable[[Any], T]) -> T:
        url = collection_path(self._address, "points", path)
        return self._read(lambda client: client.send("POST", url, body, read=read))

    def _write(self, operations: Sequence[Operation]) -> None:
        refused = self._try_write(operations)
        if refused is not None:
            raise self._refused(refused, WRITE)

    def _try_write(self, operations: Sequence[Operation]) -> Refusal | None:
        url, body = collection_path(self._address, "points", "batch"), batch_body(operations)

        def write(client: QdrantHttp) -> None:
            self._store.check_lock(self.name, self._address)
            client.send("POST", url, body, read=require_all_applied, wait="true")

        size = sum(len(operation.body) for operation in operations)
        try:
            return self._connection.attempt(collection_label(self.name), write, size=size)
        except StoreError:
            self._store.write_failed(self.name, self._address)
            raise

    def _page(
        self,
        condition: Mapping[str, Any] | None,
        offset: Any,
        fields: Sequence[str] | None,
        vectors: bool,
    ) -> tuple[list[Point], Any]:
        body = {
            "filter": condition,
            "limit": min(PAGE_POINTS // 10 if vectors else PAGE_POINTS, self._limits.query),
            "offset": offset,
            "with_payload": fields is None or (list(fields) or False),
            "with_vector": vectors,
        }
        return self._post(
            "scroll",
            given(body),
            lambda found: (read_points(found["points"]), found.get("next_page_offset")),
        )

    def _retrieve(self, ids: Sequence[str], vectors: bool) -> list[Point]:
        body = {"ids": [*map(server_id, ids)], "with_payload": True, "with_vector": vectors}
        url = collection_path(self._address, "points")
        return self._read(lambda client: client.send("POST", url, body, read=read_points))

    def _facet(self, key: str, *, exact: bool) -> dict[str, int] | None:
        """Return None if there are more values than the server returns, or no index yet."""
        # The hidden point has none of the indexed fields.
        limit = min(FIRST_FACET_VALUES, self._limits.query)
        while True:
            counts = self._facet_page({"key": key, "limit": limit, "exact": exact})
            if counts is None or len(counts) < limit:
                return counts
            if limit == self._limits.query:
                return None
            limit = min(limit * 10, self._limits.query)

    def _facet_page(self, body: Mapping[str, Any]) -> dict[str, int] | None:
        url = collection_path(self._address, "facet")

        def read(found: Any) -> dict[str, int]:
            return {str(hit["value"]): int(hit["count"]) for hit in found["hits"]}

        try:
            return self._read(lambda client: client.send("POST", url, body, read=read))
        except StoreError as error:
            if NO_INDEX in str(error):  # another run is making the collection
                return None
            raise

    def _counted_by_scroll(self, key: str) -> dict[str, int]:
        """Return a facet by reading every point: without an index, or beyond a limit."""
        counts: dict[str, int] = {}
        for point in self.scroll(fields=[key]):
            value = cast(Json, point.payload)
            for name in key.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            values = value if isinstance(value, list) else [value]
            for text in {text for text in values if isinstance(text, str)}:
                counts[text] = counts.get(text, 0) + 1
        return counts

    def delete(self, where: Where) -> None:
        """Delete every point that matches, on each replica."""
        body = {"delete": {"filter": filter_of(self._prepared(where), HIDDEN)}}
        self._write([Operation(1, orjson.dumps(body))])

    def agreed(self, ids: Sequence[str], replicas: int) -> set[str]:
        """Return which of these points so many replicas hold with the same payload."""
        url, found = collection_path(self._address, "points"), set[str]()
        for first in range(0, len(ids), PAGE_POINTS):
            page = [*map(server_id, ids[first : first + PAGE_POINTS])]
            body = {"ids": page, "with_payload": True}
            points = self._read(
                lambda client, body=body: client.send(  # type: ignore[misc]
                    "POST", url, body, read=read_points, consistency=str(replicas)
                )
            )
            found |= {point.id for point in points}
        return found

    def notes(self) -> Notes:
        """See Collection.notes."""
        body = {"ids": [HIDDEN], "with_payload": [NOTES_KEY]}
        url = collection_path(self._address, "points")
        found = self._read(lambda client: client.send("POST", url, body, read=read_points))
        stored = cast(Mapping[str, Any], found[0].payload).get(NOTES_KEY) if found else None
        return cast(Notes, stored or {})

    def note(self, notes: Notes) -> None:
        """See Collection.note."""
        kept = {NOTES_KEY: {**self.notes(), **notes}}
        self._write([set_payload(kept, points=[HIDDEN])])

    def declare(self, fields: Mapping[str, str]) -> None:
        """See Collection.declare."""
        old = self.settings.fields
        new = {name: kind for name, kind in fields.items() if old.get(name) != kind}
        if not new:
            return
        self._store.check_lock(self.name, self._address)
        self._store.index(
            self.name, self._address, {f"{META_PREFIX}{name}": kind for name, kind in new.items()}
        )
        self.settings = replace(self.settings, fields={**old, **new})
