"""The server store: collections on a Qdrant server, over its REST API.

A collection's settings are stored in its metadata (servers from 1.16), or in the payload of
a hidden point without vectors. The hidden point also holds the notes and the lease of the run
that writes: whatever changes after the creation, so that a run needs no right but that on the
collection's points. No search returns the hidden point, and every read and write by filter
excludes its id. The declared fields are those that have a payload index.

Memory on the server stays low: dense vectors, sparse and payload indexes and payloads are on
disk behind the page cache. The HNSW graph stays in memory (about 0.2 KB a point), because a
search accesses it randomly.
"""

import hashlib
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from ragctl.collection.names import check_name
from ragctl.collection.payload import BM25, DENSE, FILTERABLE_FIELDS
from ragctl.collection.settings import FIELD_TYPES, META_PREFIX, Settings, read_settings
from ragctl.environment import QDRANT_API_KEY
from ragctl.errors import Locked, StoreError, UsageError
from ragctl.records import Notify, ignore
from ragctl.stores.base import Generation, Salvage
from ragctl.stores.foreign import ForeignCollection, foreign_message
from ragctl.stores.foreign_layout import Layout
from ragctl.stores.lease import DEFAULT_LEASE_SECONDS, LEASE_KEY, Lease, LeaseState
from ragctl.stores.locks import LockWait, private_folder, run_lock, shared_id
from ragctl.stores.replica_repair import repair_replicas
from ragctl.stores.replicas import ReplicaSet, read_replicas
from ragctl.stores.server_collection import NOTES_KEY, SETTINGS_KEY, ServerCollection
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    collection_label,
    require_applied,
)
from ragctl.stores.server_http import NO_TLS, QdrantHttp, Tls, collection_path
from ragctl.stores.server_info import CollectionInfo
from ragctl.stores.server_limits import BatchLimits
from ragctl.stores.server_points import HIDDEN, read_points
from ragctl.stores.server_schema import (
    check_version,
    collection_config,
    index_schema,
    needed_indexes,
)

T = TypeVar("T")

METADATA_VERSION = (1, 16)
"""First server version with collection metadata, and with `update_filter`."""

CREATION_POLL_SECONDS = 0.1
"""Interval between checks of a collection that another run is making."""


class ServerStore:
    """Collections on the server at `url`.

    The default port is 6333, for https too, as in all of Qdrant's clients: write
    https://host:443 for a server behind an ordinary proxy.

    Args:
        url: address of the server.
        api_key: sent with every request and never shown.
        key_variable: the environment variable of the key, named in errors.
        tls: certificates of an https connection.
        timeout: seconds for one request.
        patience: seconds for which a request that fails temporarily is retried.
        backoff: seconds of the first pause between two tries.
        lease: seconds without a heartbeat after which a run on another host is dead.
        state: folder for lock files; None: the platform's folder for this user.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        key_variable: str = QDRANT_API_KEY.name,
        tls: Tls = NO_TLS,
        timeout: int = 60,
        patience: float = 120.0,
        backoff: float = 0.25,
        lease: float | None = None,
        state: Path | None = None,
    ) -> None:

        def connect(timeout: int) -> ServerConnection:
            return ServerConnection(
                url,
                api_key=api_key,
                key_variable=key_variable,
                tls=tls,
                timeout=timeout,
                patience=patience,
                backoff=backoff,
            )

        self._connection = connect(timeout)
        self._connect = connect
        self._timeout = timeout
        self._lease_seconds = DEFAULT_LEASE_SECONDS if lease is None else lease
        self._leases: dict[str, Lease] = {}
        self._state = state or platformdirs.user_state_path("ragctl")
        self.location = self._connection.url

    def __repr__(self) -> str:
        return f"ServerStore({self.location!r})"

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the server, asked once. Raises StoreError."""
        return self._connection.version

    def names(self) -> list[str]:
        """See Store.names. Sends one request for each collection on the server."""
        self._connection.check()
        listed = self._connection.call(
            "", lambda client: client.send("GET", "/collections", read=_names)
        )
        return sorted(name for name in listed if self._is_ours(name))

    def open(self, name: str, *, generation: int | None = None) -> "ServerCollection | None":
        """See Store.open."""
        check_name(name)
        info = self._info(name)
        if info is None:
            return None
        stored = self._stored_settings(name, info)
        if stored is None:
            if self._is_unfinished(name, info):
                return None
            raise self._foreign(name)
        settings = replace(read_settings(stored, name, self.location), fields=_fields(info))
        self._index_missing(name, settings, info)
        return ServerCollection(self, self._connection, name, settings, info)

    def foreign(self, name: str, layout: Layout) -> ForeignCollection | None:
        """Return a collection of another program, to be read; None if there is none of that name.

        Raises UsageError if ragctl made it, or if the layout does not fit.
        """
        info = self._info(name)
        if info is None:
            return None
        if self._stored_settings(name, info) is not None:
            raise UsageError(
                f"{collection_label(name)} at {self.location} was made by ragctl, with its model "
                "and fields; search it without --model"
            )
        return ForeignCollection(self._connection, name, info, layout)

    def create(self, name: str, settings: Settings) -> "ServerCollection":
        """See Store.create."""
        check_name(name)
        self._connection.check()
        self._check_version(name, settings)
        keeps_metadata = self._connection.version >= METADATA_VERSION
        settings = replace(
            settings, creation_id=uuid.uuid4().hex, namespace=settings.namespace or name
        )
        stored = settings.to_json()
        config = collection_config(settings)
        if keeps_metadata:
            config["metadata"] = {SETTINGS_KEY: stored}
        made = self._ask(name, lambda client: client.send("PUT", collection_path(name), config))
        if isinstance(made, Refusal):
            exists = made.status == 409 or "already exists" in made.reason
            if not exists:
                raise self._connection.error(collection_label(name), made)
            if not self._is_this_creation(name, stored, settings):
                raise self._exists(name)
        payload: dict[str, Any] = {NOTES_KEY: {}}
        if not keeps_metadata:
            payload[SETTINGS_KEY] = stored
        point = {"id": HIDDEN, "vector": {}, "payload": payload}
        self._write(name, "points", {"points": [point]})
        info = self._do(name, partial(_collection_info, name))
        self._index_missing(name, settings, info)
        lease = self._leases.get(name)
        if lease is not None:
            lease.acquire(lease.read(), LockWait(0.0, ignore))
        return ServerCollection(self, self._connection, name, settings, info)

    def create_generation(self, name: str, settings: Settings) -> "ServerCollection":
        """See Store.create_generation."""
        raise NotImplementedError

    def generations(self, name: str) -> list[Generation]:
        """See Store.generations."""
        raise NotImplementedError

    def switch(self, name: str, generation: int) -> None:
        """See Store.switch."""
        raise NotImplementedError

    def drop_generation(self, name: str, generation: int) -> None:
        """See Store.drop_generation."""
        raise NotImplementedError

    def salvage(self, name: str, *, generation: int | None = None) -> Salvage | None:
        """See Store.salvage."""
        raise NotImplementedError

    def drop(self, name: str) -> None:
        """See Store.drop."""
        check_name(name)
        info = self._info(name)
        if info is None:
            return
        if self._stored_settings(name, info) is None and not self._is_unfinished(name, info):
            raise self._foreign(name)

        def delete(client: QdrantHttp) -> None:
            self.check_lock(name)
            client.send("DELETE", collection_path(name))

        self._do(name, delete)
        if name in self._leases:
            self._leases[name].forget()

    @contextmanager
    def lock(
        self,
        name: str,
        *,
        generation: int | None = None,
        patience: float = 0.0,
        waiting: Notify = ignore,
    ) -> Iterator[None]:
        """See Store.lock.

        A file lock excludes this user's processes on this machine, the collection's lease all
        others. Raises StoreError if the key may not write.
        """
        check_name(name)
        digest = hashlib.sha256(f"{self.location}\0{name}".encode()).hexdigest()[:16]
        folder = private_folder(self._state / "locks")
        wait = LockWait(patience, waiting)
        with run_lock(
            folder / f"{name}-{digest}.lock", f"{collection_label(name)} at {self.location}", wait
        ):
            # With the digest: one server may have two addresses, each with its own file lock.
            host = f"{shared_id(folder / 'host')} {platform.node()} {digest}"
            # A lost answer must not cost the lease.
            timeout = max(1, min(self._timeout, round(self._lease_seconds / 4)))
            with closing(self._connect(timeout)) as connection:
                lease = Lease(connection, name, host=host, seconds=self._lease_seconds)
                self._leases[name] = lease
                try:
                    self._connection.check()
                    if lease.acquire(self._lease_state(name, lease), wait):
                        self._repair_replicas(name, waiting)
                    yield
                finally:
                    del self._leases[name]
                    lease.release()

    def check_lock(self, name: str) -> None:
        """Raise Locked if this store locked the collection and has lost the lock since."""
        lease = self._leases.get(name)
        if lease is not None:
            lease.check()

    def write_failed(self, name: str) -> None:
        """Remember that a write to a locked collection may be on some replicas only."""
        lease = self._leases.get(name)
        if lease is not None:
            lease.write_failed()

    def _repair_replicas(self, name: str, notify: Notify) -> None:
        """Make the replicas of a collection equal, unless those left are copied anyway."""
        shards = self._ask(name, partial(_replicas, name))
        if isinstance(shards, Refusal):  # a key without that right
            return
        active = min((shard.active for shard in shards), default=0)
        if active > 1:
            self._leases[name].spread()
        collection = self.open(name) if active > 1 else None
        if collection is not None:
            repair_replicas(collection, active, notify)

    def index(self, name: str, fields: Mapping[str, str]) -> None:
        """Make payload indexes; with a key that may only read, do without them."""
        for field, kind in sorted(fields.items()):
            made = self._index_field(name, field, kind)
            if isinstance(made, Refusal) and made.status not in (401, 403):
                raise self._connection.error(collection_label(name), made)

    def close(self) -> None:
        """See Store.close."""
        self._connection.close()

    def _index_field(self, name: str, field: str, kind: str) -> Refusal | None:
        schema = index_schema(kind, self._connection.version)
        body = {"field_name": field, "field_schema": schema}
        return self._ask(name, partial(_put, collection_path(name, "index"), body))

    def _check_version(self, name: str, settings: Settings) -> None:
        lacking = check_version(settings, self._connection.version)
        if lacking is not None:
            found = ".".join(map(str, self._connection.version))
            raise StoreError(
                f"{collection_label(name)}: Qdrant {found} at {self.location} {lacking}"
            )

    def _index_missing(self, name: str, settings: Settings, info: CollectionInfo) -> None:
        """Make the payload indexes that the collection needs and does not have."""
        indexes = needed_indexes(settings)
        if not BatchLimits.of(info).unindexed:
            indexes = {**FILTERABLE_FIELDS, **indexes}
        missing = {key: kind for key, kind in indexes.items() if key not in info.payload_schema}
        self.index(name, missing)

    def _write(self, name: str, path: str, body: Mapping[str, Any]) -> None:
        self._do(name, partial(_put, collection_path(name, path), body))

    def _ask(self, name: str, request: Callable[[QdrantHttp], T]) -> T | Refusal:
        return self._connection.attempt(collection_label(name), request)

    def _do(self, name: str, request: Callable[[QdrantHttp], T]) -> T:
        return self._connection.call(collection_label(name), request)

    def _lease_state(self, name: str, lease: Lease) -> LeaseState | None:
        """Return the lease of a finished collection that ragctl made; else None."""
        state = lease.read()
        if state is None or state.token is not None:
            return state
        info = self._info(name)
        if info is None or self._stored_settings(name, info) is None:
            return None
        if LEASE_KEY not in info.payload_schema:
            self.index(name, {LEASE_KEY: "keyword"})
        return state

    def _exists(self, name: str) -> Exception:
        if name in self._leases:
            return Locked(
                f"{collection_label(name)} at {self.location} was made by another run just now; "
                "wait for it to end, then run again"
            )
        return StoreError(f"{collection_label(name)} exists already at {self.location}")

    def _foreign(self, name: str) -> StoreError:
        return StoreError(foreign_message(name, self.location))

    def _info(self, name: str) -> CollectionInfo | None:
        self._connection.check()
        info = self._ask(name, partial(_collection_info, name))
        if not isinstance(info, Refusal):
            return info
        if info.status == 404:
            return None
        raise self._connection.error(collection_label(name), info)

    def _stored_settings(self, name: str, info: CollectionInfo) -> Mapping[str, Any] | None:
        """Return the stored settings, if any."""
        stored: Mapping[str, Any] | None = info.metadata.get(SETTINGS_KEY)
        if stored is not None:
            return stored
        path, body = collection_path(name, "points"), {"ids": [HIDDEN], "with_payload": True}
        found = self._do(name, lambda client: client.send("POST", path, body, read=read_points))
        payload: Mapping[str, Any] = found[0].payload if found else {}
        return payload.get(SETTINGS_KEY)

    def _is_ours(self, name: str) -> bool:
        info = self._info(name)
        return info is not None and self._stored_settings(name, info) is not None

    def _is_unfinished(self, name: str, info: CollectionInfo) -> bool:
        """Return whether a run made this and ended before it could write the settings.

        Such a collection is empty and may be deleted.
        """
        return (
            self._connection.version < METADATA_VERSION
            and set(info.params.get("vectors") or ()) == {DENSE}
            and set(info.params.get("sparse_vectors") or ()) == {BM25}
            and not self._has_points(name)
        )

    def _has_points(self, name: str) -> bool:
        path, body = collection_path(name, "points", "scroll"), {"limit": 1, "with_payload": False}
        return self._do(
            name, lambda client: client.send("POST", path, body, read=lambda it: bool(it["points"]))
        )

    def _is_this_creation(self, name: str, stored: Mapping[str, Any], settings: Settings) -> bool:
        """Return whether a collection that exists already is the one being created.

        That is so after a lost answer, and for an unfinished one, which is taken over.
        """
        info = self._info(name)
        if info is None:
            return False
        found = self._stored_settings(name, info)
        if found is not None:
            return bool(found.get("made") == stored["made"])
        if not self._is_unfinished(name, info) or self._is_finished_soon(name):
            return False
        if info.params["vectors"][DENSE].get("size") == settings.dim:
            return True
        # Empty, and of another dimension.
        path, config = collection_path(name), collection_config(settings)
        self._do(name, lambda client: client.send("DELETE", path))
        self._do(name, lambda client: client.send("PUT", path, config))
        return True

    def _is_finished_soon(self, name: str) -> bool:
        """Wait for another run to write the settings; return whether it did in time."""
        if name not in self._leases:
            return False
        end = time.monotonic() + self._lease_seconds
        while time.monotonic() < end:
            time.sleep(CREATION_POLL_SECONDS)
            info = self._info(name)
            if info is None or self._stored_settings(name, info) is not None:
                return True
        return False


def _names(found: Any) -> list[str]:
    return [str(each["name"]) for each in found["collections"]]


def _collection_info(name: str, client: QdrantHttp) -> CollectionInfo:
    return client.send("GET", collection_path(name), read=CollectionInfo.read)


def _replicas(name: str, client: QdrantHttp) -> list[ReplicaSet]:
    return read_replicas(client, name)


def _put(path: str, body: Mapping[str, Any], client: QdrantHttp) -> None:
    client.send("PUT", path, body, read=require_applied, wait="true")


def _fields(info: CollectionInfo) -> dict[str, str]:
    """Return the declared fields: the user's fields that have an index, with its type."""
    kinds = {key: index["data_type"] for key, index in info.payload_schema.items()}
    return {
        key.removeprefix(META_PREFIX): kind
        for key, kind in sorted(kinds.items())
        if key.startswith(META_PREFIX) and kind in FIELD_TYPES
    }
