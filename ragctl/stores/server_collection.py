"""One collection on a Qdrant server: its writes as requests, and its lock."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

import orjson

from ragctl.collection.conditions import HasId, Where
from ragctl.collection.notes import Notes
from ragctl.collection.payload import Payload, Point
from ragctl.collection.server_options import FALLBACK_KEY
from ragctl.collection.settings import META_PREFIX, Settings
from ragctl.errors import StoreError
from ragctl.records import Notify, ignore
from ragctl.stores.base import Batch
from ragctl.stores.conditions import split
from ragctl.stores.lease import WRITE
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    collection_label,
    require_all_applied,
)
from ragctl.stores.server_creation import NOTES_KEY
from ragctl.stores.server_failures import TOO_LARGE
from ragctl.stores.server_graph import DeferredGraph
from ragctl.stores.server_http import QdrantHttp
from ragctl.stores.server_info import CollectionInfo
from ragctl.stores.server_limits import UNLIMITED
from ragctl.stores.server_points import HIDDEN, filter_of
from ragctl.stores.server_reader import PAGE_POINTS, ServerReader
from ragctl.stores.server_writes import (
    MAX_REQUEST_BYTES,
    Operation,
    batch_body,
    every_shard,
    set_payload,
    shard_choice,
    source_of,
    write_requests,
)
from ragctl.text import counted

MIN_REQUEST_BYTES = 1000
"""Requests are not made smaller than this."""


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


class ServerCollection(ServerReader):
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
        graph: its HNSW graph.
        verify: see ServerReader.
    """

    def __init__(
        self,
        store: CollectionOwner,
        connection: ServerConnection,
        name: str,
        address: str,
        settings: Settings,
        info: CollectionInfo,
        *,
        graph: DeferredGraph,
        verify: Callable[[], None] | None,
    ) -> None:
        super().__init__(connection, name, address, settings, info, verify=verify)
        self._store = store
        self._graph = graph
        self._max_bytes = 0  # of a request to this address; 0: not read from the notes yet

    def apply(self, batch: Batch) -> None:
        """See Collection.apply.

        A server, and a proxy before it, may take smaller requests than Qdrant does by default.
        The batch is then sent again from its start in requests of half the size, and so on; the
        size that passes is kept in the notes, by address.
        """
        prepared = replace(self._moved(batch), merges=list(self._merges(batch)))
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
            upsert_limit=self.limits.upsert,
            hidden=HIDDEN,
            max_bytes=self._max_bytes,
            max_points=self.limits.written,
            shards=self._shards,
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

    def _moved(self, batch: Batch) -> Batch:
        """Return the batch with upserts in place of overwrites of points in another shard.

        A document whose tenant has changed belongs to another shard than its stored points.
        """
        if self._shards is None or not (batch.overwrites or batch.mark_overwrites):
            return batch
        wanted: dict[str, list[str]] = {}
        for point_id, payload in (*batch.overwrites, *batch.mark_overwrites):
            wanted.setdefault(self._shards.of(payload), []).append(point_id)
        elsewhere: set[str] = set()
        for key, ids in wanted.items():
            there = self.retrieve_from(ids, shard_choice(key), vectors=False)
            elsewhere |= set(ids).difference(point.id for point in there)
        moved = {point.id: point for point in self.retrieve(sorted(elsewhere), vectors=True)}

        def split_up(
            overwrites: list[tuple[str, Payload]],
        ) -> tuple[list[Point], list[tuple[str, Payload]]]:
            upserts = [replace(moved[i], payload=p) for i, p in overwrites if i in moved]
            return upserts, [(i, p) for i, p in overwrites if i not in moved]

        upserts, overwrites = split_up(batch.overwrites)
        marks, mark_overwrites = split_up(batch.mark_overwrites)
        return replace(
            batch,
            upserts=[*batch.upserts, *upserts],
            overwrites=overwrites,
            marks=[*batch.marks, *marks],
            mark_overwrites=mark_overwrites,
        )

    def _merges(self, batch: Batch) -> Iterator[tuple[Where, Payload]]:
        """Yield the merges of a batch as the server allows them."""
        for where, payload in batch.merges:
            parts = split(self._prepared(where), self.limits.values)
            if self.limits.written == UNLIMITED:
                yield from ((part, payload) for part in parts)
                continue
            # The cost of a write by filter is the number of its points.
            ids = [point.id for point in self.scroll(where, fields=())]
            size = min(self.limits.written, self.limits.values, PAGE_POINTS)
            for first in range(0, len(ids), size):
                yield (HasId(tuple(ids[first : first + size])),), payload

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """See Collection.lock."""
        number = self.settings.generation
        return self._store.lock(self.name, generation=number, patience=patience, waiting=waiting)

    @property
    def unfinished(self) -> bool:
        """See Collection.unfinished."""
        return self._graph.is_deferred

    def finish(self, *, notify: Notify = ignore) -> None:
        """Let the server build the HNSW graph if that was deferred.

        Writes are durable when they return, and the server compacts by itself.
        """
        self._graph.build(notify)

    def close(self) -> None:
        """Do nothing: the connection belongs to the store."""

    def _write(self, operations: Sequence[Operation]) -> None:
        refused = self._try_write(operations)
        if refused is not None:
            raise self._refused(refused, WRITE)

    def _try_write(self, operations: Sequence[Operation]) -> Refusal | None:
        url, body = self._path("points", "batch"), batch_body(operations)

        def write(client: QdrantHttp) -> None:
            self._store.check_lock(self.name, self._address)
            client.send("POST", url, body, read=require_all_applied, wait="true")

        size = sum(len(operation.body) for operation in operations)
        try:
            return self._connection.attempt(collection_label(self.name), write, size=size)
        except StoreError:
            self._store.write_failed(self.name, self._address)
            raise

    def delete(self, where: Where) -> None:
        """Delete every point that matches, on each replica."""
        chosen = filter_of(self._prepared(where), HIDDEN)
        body = {"filter": chosen, **every_shard(self._shards)}
        self._write([Operation(1, orjson.dumps({"delete": body}))])

    def note(self, notes: Notes) -> None:
        """See Collection.note."""
        kept = {NOTES_KEY: {**self.notes(), **notes}}
        shard = shard_choice(None if self._shards is None else FALLBACK_KEY)
        self._write([set_payload(kept, points=[HIDDEN], **shard)])

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
