"""The server store: collections on a Qdrant server, over REST or gRPC.

A collection's settings live with it: in its `metadata` where the server has that
(1.16), before that in the payload of one point without vectors. The same point holds
the lease of the run that writes. No search can return it; every read and every write
by filter excludes its id.

Memory on the server stays flat: dense vectors, sparse and payload indexes and
payloads are on disk behind the page cache. The HNSW graph stays in memory (about
0.2 KB a point), since a search walks it at random.
"""

import hashlib
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from qdrant_client import QdrantClient, models

from ragctl.collection.names import check_name
from ragctl.collection.payload import BM25, DENSE, FILTERABLE_FIELDS, KEYWORD_INDEXES
from ragctl.collection.settings import Settings, read_settings
from ragctl.environment import QDRANT_API_KEY
from ragctl.errors import Locked, StoreError
from ragctl.records import Notify, ignore
from ragctl.stores.lease import LEASE, SECONDS, Lease, Seen
from ragctl.stores.locks import Wait, own_mark, private_folder, run_lock
from ragctl.stores.server_collection import MARK, BatchLimits, ServerCollection
from ragctl.stores.server_points import HIDDEN
from ragctl.stores.server_schema import collection_config, index_schema, needed
from ragctl.stores.server_wire import Refusal, ServerConnection, applied, what

T = TypeVar("T")

_METADATA = (1, 16)  # first version to keep collection metadata, and to know update_filter
# Strict mode wants an index to filter by.
_INDEXED = {**dict.fromkeys((*KEYWORD_INDEXES, LEASE), "keyword"), **FILTERABLE_FIELDS}
_GLANCE = 0.1  # seconds between looks at a collection that another run is making


class ServerStore:
    """Collections on the server at `url`.

    A URL without a port means 6333, for https too, as in all of Qdrant's clients:
    write https://host:443 for a server behind an ordinary proxy.

    api_key: sent with every request, shown nowhere. key_variable: the environment variable
    it came from, named in errors. grpc_port: speak gRPC on this
    port instead of REST. timeout: seconds for one request. patience: seconds to go
    on repeating one that fails for a passing reason. backoff: the first pause.
    lease: seconds after which a run that gives no sign is dead. state: folder for lock
    files, else the platform's for this user.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        key_variable: str = QDRANT_API_KEY.name,
        grpc_port: int | None = None,
        timeout: int = 60,
        patience: float = 120.0,
        backoff: float = 0.25,
        lease: float | None = None,
        state: Path | None = None,
    ) -> None:

        def wire(timeout: int) -> ServerConnection:
            return ServerConnection(
                url,
                api_key=api_key,
                key_variable=key_variable,
                grpc_port=grpc_port,
                timeout=timeout,
                patience=patience,
                backoff=backoff,
            )

        self._wire = wire(timeout)
        self._new_wire = wire
        self._timeout = timeout
        self._lease_seconds = SECONDS if lease is None else lease
        self._leases: dict[str, Lease] = {}
        self._state = state or platformdirs.user_state_path("ragctl")
        self.location = self._wire.url

    def __repr__(self) -> str:
        return f"ServerStore({self.location!r})"

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the server, asked once. Raises StoreError."""
        return self._wire.version

    def names(self) -> list[str]:
        """As the protocol says; one request per collection on the server."""
        self._wire.check()
        listed = self._wire.call("", lambda client: client.get_collections())
        return sorted(c.name for c in listed.collections if self._is_ours(c.name))

    def open(self, name: str) -> "ServerCollection | None":
        check_name(name)
        info = self._info(name)
        if info is None:
            return None
        mark, in_metadata = self._mark(name, info)
        if mark is None:
            if self._is_unfinished(name, info):
                return None
            raise self._foreign(name)
        settings = read_settings(mark, name, self.location)
        wanted = {**_INDEXED, **settings.indexed}
        self.index(name, {k: kind for k, kind in wanted.items() if k not in info.payload_schema})
        return ServerCollection(
            self, self._wire, name, settings, BatchLimits.of(info), metadata=in_metadata
        )

    def create(self, name: str, settings: Settings) -> "ServerCollection":
        check_name(name)
        self._wire.check()
        self._check_quantization(name, settings)
        keeps_metadata = self._wire.version >= _METADATA
        settings = replace(settings, made=uuid.uuid4().hex)
        mark = settings.to_json()
        metadata = {MARK: mark} if keeps_metadata else None
        config = collection_config(settings)
        made = self._ask(
            name, lambda client: client.create_collection(name, metadata=metadata, **config)
        )
        if isinstance(made, Refusal):
            exists = made.status == 409 or "already exists" in made.reason
            if not exists:
                raise self._wire.error(what(name), made)
            if not self._is_this_creation(name, mark, settings):
                raise self._exists(name)
        if not keeps_metadata:
            point = models.PointStruct(id=HIDDEN, vector={}, payload={MARK: mark})
            self._do(name, lambda client: applied(client.upsert(name, [point], wait=True)))
        self.index(name, {**_INDEXED, **settings.indexed})
        lease = self._leases.get(name)
        if lease is not None:
            lease.take(lease.look(), Wait(0.0, ignore))
        info = self._do(name, lambda client: client.get_collection(name))
        return ServerCollection(
            self, self._wire, name, settings, BatchLimits.of(info), metadata=keeps_metadata
        )

    def drop(self, name: str) -> None:
        """As the protocol says; a collection that ragctl did not make is refused."""
        check_name(name)
        info = self._info(name)
        if info is None:
            return
        if self._mark(name, info)[0] is None and not self._is_unfinished(name, info):
            raise self._foreign(name)

        def delete(client: QdrantClient) -> None:
            self.check_lock(name)
            client.delete_collection(name)

        self._do(name, delete)
        if name in self._leases:
            self._leases[name].forget()

    @contextmanager
    def lock(self, name: str, *, patience: float = 0.0, waiting: Notify = ignore) -> Iterator[None]:
        """As the protocol says: a file lock among the processes of this user here, and
        among all others the collection's lease, from its first moment on.

        Raises StoreError where the key may not write.
        """
        check_name(name)
        digest = hashlib.sha256(f"{self.location}\0{name}".encode()).hexdigest()[:16]
        folder = private_folder(self._state / "locks")
        wait = Wait(patience, waiting)
        with run_lock(folder / f"{name}-{digest}.lock", f"{what(name)} at {self.location}", wait):
            # The digest too: one server may go by two names, with a file lock for each.
            host = f"{own_mark(folder / 'host')} {platform.node()} {digest}"
            # An answer that does not come must not cost the lease.
            timeout = max(1, min(self._timeout, round(self._lease_seconds / 4)))
            with closing(self._new_wire(timeout)) as wire:
                lease = Lease(wire, name, host=host, seconds=self._lease_seconds)
                self._leases[name] = lease
                try:
                    self._wire.check()
                    lease.take(self._seen(name, lease), wait)
                    yield
                finally:
                    del self._leases[name]
                    lease.release()

    def check_lock(self, name: str) -> None:
        """Raises Locked where this store locked the collection and has lost it since."""
        lease = self._leases.get(name)
        if lease is not None:
            lease.check()

    def index(self, name: str, fields: Mapping[str, str]) -> None:
        """Make the indexes of fields by their types; a key that may only read does without."""
        for field, kind in sorted(fields.items()):
            made = self._index_field(name, field, kind)
            if isinstance(made, Refusal) and made.status not in (401, 403):
                raise self._wire.error(what(name), made)

    def close(self) -> None:
        self._wire.close()

    def _index_field(self, name: str, field: str, kind: str) -> Refusal | None:
        schema = index_schema(kind, self._wire.version)
        return self._ask(
            name,
            lambda client: applied(client.create_payload_index(name, field, schema, wait=True)),
        )

    def _check_quantization(self, name: str, settings: Settings) -> None:
        least = needed(settings.quantization)
        if self._wire.version < least:
            found, wants = (".".join(map(str, version)) for version in (self._wire.version, least))
            raise StoreError(
                f"{what(name)}: Qdrant {found} at {self.location} has no quantization "
                f"{settings.quantization!r}; it needs {wants} or newer, scalar and binary need none"
            )

    def _ask(self, name: str, request: Callable[[QdrantClient], T]) -> T | Refusal:
        return self._wire.attempt(what(name), request)

    def _do(self, name: str, request: Callable[[QdrantClient], T]) -> T:
        return self._wire.call(what(name), request)

    def _seen(self, name: str, lease: Lease) -> Seen | None:
        """The lease as it is, of a collection that is whole and ours; else None."""
        seen = lease.look()
        if seen is None or seen.token is not None:
            return seen
        info = self._info(name)
        if info is None or self._mark(name, info)[0] is None:
            return None
        if LEASE not in info.payload_schema:
            self.index(name, {LEASE: "keyword"})
        return seen

    def _exists(self, name: str) -> Exception:
        if name in self._leases:
            return Locked(
                f"{what(name)} at {self.location} was made by another run just now; "
                "wait for it to end, then run again"
            )
        return StoreError(f"{what(name)} exists already at {self.location}")

    def _foreign(self, name: str) -> StoreError:
        return StoreError(
            f"{what(name)} at {self.location} was not made by ragctl; choose another name"
        )

    def _info(self, name: str) -> models.CollectionInfo | None:
        self._wire.check()
        info = self._ask(name, lambda client: client.get_collection(name))
        if not isinstance(info, Refusal):
            return info
        if info.status == 404:
            return None
        raise self._wire.error(what(name), info)

    def _mark(
        self, name: str, info: models.CollectionInfo
    ) -> tuple[Mapping[str, Any] | None, bool]:
        """Our settings in a collection, if it has any, and whether they are in its metadata."""
        mark = (info.config.metadata or {}).get(MARK)
        if mark is not None:
            return mark, True
        found = self._do(name, lambda client: client.retrieve(name, [HIDDEN]))
        return (found[0].payload or {}).get(MARK) if found else None, False

    def _is_ours(self, name: str) -> bool:
        info = self._info(name)
        return info is not None and self._mark(name, info)[0] is not None

    def _is_unfinished(self, name: str, info: models.CollectionInfo) -> bool:
        """Whether a run made this and ended before it could write the settings point.

        True only for one that is empty: it may be removed.
        """
        params = info.config.params
        return (
            self._wire.version < _METADATA
            and isinstance(params.vectors, dict)
            and set(params.vectors) == {DENSE}
            and set(params.sparse_vectors or {}) == {BM25}
            and not self._do(name, lambda client: client.count(name, exact=True)).count
        )

    def _is_this_creation(self, name: str, mark: Mapping[str, Any], settings: Settings) -> bool:
        """Whether the collection in the way is ours: a lost answer, or an unfinished one."""
        info = self._info(name)
        if info is None:
            return False
        found, _ = self._mark(name, info)
        if found is not None:
            return bool(found.get("made") == mark["made"])
        if not self._is_unfinished(name, info) or self._is_finished_soon(name):
            return False
        vectors = info.config.params.vectors
        if isinstance(vectors, dict) and vectors[DENSE].size == settings.dim:
            return True
        self._do(name, lambda client: client.delete_collection(name))  # empty, and of no use
        self._do(name, lambda client: client.create_collection(name, **collection_config(settings)))
        return True

    def _is_finished_soon(self, name: str) -> bool:
        """Whether another run is about to write the settings: not, if it takes too long."""
        if name not in self._leases:
            return False
        end = time.monotonic() + self._lease_seconds
        while time.monotonic() < end:
            time.sleep(_GLANCE)
            info = self._info(name)
            if info is None or self._mark(name, info)[0] is not None:
                return True
        return False
