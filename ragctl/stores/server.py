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

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import platformdirs

from ragctl.collection.names import check_name
from ragctl.collection.settings import Settings, how_to_recover
from ragctl.environment import QDRANT_API_KEY
from ragctl.errors import GenerationDropped, Locked, StoreError, UnreadableCollection, UsageError
from ragctl.records import Notify, ignore
from ragctl.stores.base import Generation, LockHolder, Salvage
from ragctl.stores.foreign import ForeignCollection
from ragctl.stores.foreign_layout import Layout
from ragctl.stores.lease import Lease
from ragctl.stores.lease_state import DEFAULT_LEASE_SECONDS, LEASE_KEY, LeaseState
from ragctl.stores.locks import LockWait
from ragctl.stores.replica_repair import repair_replicas
from ragctl.stores.replicas import read_replicas
from ragctl.stores.server_collection import ServerCollection
from ragctl.stores.server_connection import Refusal, ServerConnection, collection_label
from ragctl.stores.server_creation import ServerCreation
from ragctl.stores.server_directory import (
    MANAGE,
    Found,
    ServerDirectory,
    generation_place,
    split_place,
)
from ragctl.stores.server_graph import DeferredGraph
from ragctl.stores.server_http import NO_TLS, Tls
from ragctl.stores.server_listing import ServerListing
from ragctl.stores.server_locks import ServerLocks
from ragctl.stores.server_salvage import PATIENCE_SECONDS, ServerSalvage
from ragctl.stores.server_schema import restored_graph

DELETION_SECONDS = 0.5
"""Pause after which a collection that is just being deleted is looked for again."""


GRAPH_PATIENCE_SECONDS = 5.0
"""Time for which the end of a deferral is retried when a run has not finished."""


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
        self._directory = ServerDirectory(self._connection)
        self._listing = ServerListing(self._connection, self._directory)
        self._locks = ServerLocks(
            self._connection.url,
            connect,
            (state or platformdirs.user_state_path("ragctl")) / "locks",
            seconds=DEFAULT_LEASE_SECONDS if lease is None else lease,
            timeout=timeout,
            state_of=self._lease_state,
            repair=self._repair_replicas,
        )
        self._creation = ServerCreation(self._connection, self._directory, self._locks)
        self._graphs: dict[str, DeferredGraph] = {}  # by address
        self.location = self._connection.url

    def __repr__(self) -> str:
        return f"ServerStore({self.location!r})"

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the server, asked once. Raises StoreError."""
        return self._connection.version

    def names(self) -> list[str]:
        """See Store.names. Sends two requests, and one for each name."""
        return self._listing.names()

    def open(self, name: str, *, generation: int | None = None) -> ServerCollection | None:
        """See Store.open."""
        check_name(name)
        found = self._directory.find(name, generation)
        if found is None and generation is None and self._listing.unreached(name):
            # While a collection is deleted, its alias goes before its generations do.
            time.sleep(DELETION_SECONDS)
            found = self._directory.find(name, generation)
            if found is None and (numbers := self._listing.unreached(name)):
                raise self._unreached(name, numbers)
        if found is None:
            return None
        if found.stored is None:
            if self._directory.is_unfinished(found):
                return None
            raise self._listing.foreign(name)
        settings = self._listing.settings(found)
        self._creation.index_missing(found, settings)
        return self._collection(found, settings)

    def foreign(self, name: str, layout: Layout) -> ForeignCollection | None:
        """Return a collection of another program, to be read; None if there is none of that name.

        Raises UsageError if ragctl made it, or if the layout does not fit.
        """
        found = self._directory.at(name, name)
        if found is None:
            return None
        if found.stored is not None:
            raise UsageError(
                f"{self._label(name)} was made by ragctl, with its model and fields; "
                "search it without --model"
            )
        return ForeignCollection(self._connection, name, found.info, layout)

    def create(self, name: str, settings: Settings) -> ServerCollection:
        """See Store.create."""
        check_name(name)
        found = self._directory.find(name)
        unfinished = found is not None and self._directory.is_unfinished(found)
        if found is not None and not unfinished:
            raise self._creation.taken(name)
        if found is None and (numbers := self._listing.unreached(name)):
            raise self._unreached(name, numbers)
        made = self._creation.create(name, _completed(settings, name, 1), plain=unfinished)
        return self._collection(made, self._listing.settings(made))

    def create_generation(self, name: str, settings: Settings) -> ServerCollection:
        """See Store.create_generation."""
        check_name(name)
        number = self._listing.next_number(name)
        made = self._creation.create_generation(name, _completed(settings, name, number))
        return self._collection(made, self._listing.settings(made))

    def generations(self, name: str) -> list[Generation]:
        """See Store.generations."""
        check_name(name)
        return self._listing.generations(name)

    def switch(self, name: str, generation: int) -> None:
        """See Store.switch. The lease that this store holds is taken along."""
        check_name(name)
        listing = self._directory.listing()
        self._listing.require_generations(name, listing)
        place, source = generation_place(name, generation), listing.current(name)
        if place not in listing.places:
            raise StoreError(f"{self._label(name)} has no generation {generation}")
        if place == source:
            return
        lease, filling = self._locks.lease(name), self._locks.lease(place)
        if filling is not None:
            filling.forget()
        if lease is None:
            self._point(name, place)
        elif source is None:  # the name leads to nothing, so the lock has no lease yet
            lease.readdress(place)
            lease.acquire(lease.read(), LockWait(0.0, ignore))
            self._point(name, place, lease.check)
            lease.readdress(name)
        else:
            with lease.handed_to(place, source=source) as check:
                self._point(name, place, check)

    def _point(self, name: str, place: str, check: Callable[[], None] = lambda: None) -> None:
        refused = self._directory.point(name, place, check)
        if refused is not None:
            raise self._connection.error(collection_label(name), refused, need=MANAGE)

    def drop_generation(self, name: str, generation: int) -> None:
        """See Store.drop_generation."""
        check_name(name)
        listing, place = self._directory.listing(), generation_place(name, generation)
        if listing.current(name) in (place, name):
            raise StoreError(
                f"generation {generation} of {self._label(name)} is the current one; "
                "it cannot be dropped"
            )
        self._graphs.pop(place, None)
        if place in listing.places:
            self._directory.delete(name, place, partial(self._locks.check, name, place))

    def salvage(
        self, name: str, *, generation: int | None = None, otherwise: Settings | None = None
    ) -> Salvage | None:
        """See Store.salvage."""
        check_name(name)
        address = self._listing.salvageable(name, generation)
        if address is None:
            return None
        directory = ServerDirectory(self._connection, patience=PATIENCE_SECONDS)
        settings = None
        with suppress(StoreError):
            found = directory.at(name, address)
            settings = None if found is None else self._listing.settings(found)
        lost: list[str] = []
        points = ServerSalvage(directory, name, address, lost).points()
        return Salvage(settings, points, lost)

    def drop(self, name: str) -> None:
        """See Store.drop.

        The current generation goes last, with its alias: until then its lease keeps other runs
        out, and an interrupted deletion leaves a collection that can be deleted again.
        """
        check_name(name)
        self._graphs = {a: graph for a, graph in self._graphs.items() if graph.name != name}
        for place in self._listing.droppable(name):
            self._directory.delete(name, place, partial(self._locks.check, name))
        lease = self._locks.lease(name)
        if lease is not None:
            lease.forget()

    def lock(
        self,
        name: str,
        *,
        generation: int | None = None,
        patience: float = 0.0,
        waiting: Notify = ignore,
    ) -> AbstractContextManager[None]:
        """See Store.lock.

        A file lock excludes this user's processes on this machine, the collection's lease all
        others. Raises StoreError if the key may not write.
        """
        address = self._lock_address(name, generation)
        return self._hold(name, address, patience, waiting)

    @contextmanager
    def _hold(self, name: str, address: str, patience: float, waiting: Notify) -> Iterator[None]:
        with self._locks.hold(name, address, patience=patience, waiting=waiting):
            try:
                yield
            finally:
                self._build_graphs(name, address, waiting)

    def _build_graphs(self, name: str, address: str, notify: Notify) -> None:
        """Let the server build the graphs that are still deferred when a lock is released.

        A run that finished has none. One that failed or was interrupted has its own, or found
        the one that a killed run left.
        """
        for graph in list(self._graphs.values()):
            filled = self._locks.lease(graph.address) is not None and graph.address != address
            if graph.refused or filled or address not in (graph.name, graph.address):
                continue
            with suppress(StoreError, Locked):
                self.check_lock(name, address)
                graph.build(notify, patience=GRAPH_PATIENCE_SECONDS)

    def lock_holder(self, name: str, *, generation: int | None = None) -> LockHolder | None:
        """See Store.lock_holder."""
        return self._locks.holder(self._lock_address(name, generation))

    def _lock_address(self, name: str, generation: int | None) -> str:
        check_name(name)
        if generation is None or self._directory.is_current(name, generation):
            return name
        return generation_place(name, generation)

    def check_lock(self, name: str, address: str) -> None:
        """Raise Locked if this store locked the collection and has lost the lock since."""
        self._locks.check(name, address)

    def write_failed(self, name: str, address: str) -> None:
        """Remember that a write to a locked collection may be on some replicas only."""
        for lease in map(self._locks.lease, {name, address}):
            if lease is not None:
                lease.write_failed()

    def _repair_replicas(self, name: str, address: str, lease: Lease, notify: Notify) -> None:
        """Make the replicas of a collection equal, unless those left are copied anyway."""
        shards = self._directory.ask(name, lambda client: read_replicas(client, address))
        if isinstance(shards, Refusal):  # a key without that right
            return
        active = min((shard.active for shard in shards), default=0)
        if active <= 1:
            return
        lease.spread()
        split = split_place(address) if address != name else None
        collection = self.open(name, generation=None if split is None else split[1])
        if collection is not None:
            repair_replicas(collection, active, notify)

    def index(self, name: str, address: str, fields: Mapping[str, str]) -> None:
        """Make payload indexes. Raises StoreError."""
        refused = self._creation.index(name, address, fields)
        if refused is not None:
            need = "the right to write this collection and its payload indexes"
            raise self._connection.error(collection_label(name), refused, need=need)

    def close(self) -> None:
        """See Store.close."""
        self._connection.close()

    def _collection(self, found: Found, settings: Settings) -> ServerCollection:
        graph = DeferredGraph(
            self._connection, found.name, found.address, restored_graph(found.info)
        )
        if graph.is_deferred:
            self._graphs[found.address] = graph
        return ServerCollection(
            self,
            self._connection,
            found.name,
            found.address,
            settings,
            found.info,
            graph=graph,
            verify=None if found.pinned else partial(self._verify, found.name, settings),
        )

    def _verify(self, name: str, settings: Settings) -> None:
        """Raise GenerationDropped unless the name still leads to the generation that was opened.

        A run that holds the lock need not ask: only its holder switches the name.
        """
        if self._locks.lease(name) is not None:
            return
        found = self._directory.at(name, name)
        if found is None or (found.stored or {}).get("made") != settings.creation_id:
            raise GenerationDropped(
                f"{self._label(name)} was switched to another generation while it was read; "
                "run again"
            )

    def _lease_state(self, name: str, address: str, lease: Lease) -> LeaseState | None:
        """Return the lease of a finished collection that ragctl made; else None."""
        self._connection.check()
        state = lease.read()
        if state is None or state.token is not None:
            return state
        found = self._directory.at(name, address)
        if found is None or found.stored is None:
            return None
        if LEASE_KEY not in found.info.payload_schema:
            self._creation.index(name, address, {LEASE_KEY: "keyword"})
        return state

    def _label(self, name: str) -> str:
        return f"{collection_label(name)} at {self.location}"

    def _unreached(self, name: str, numbers: list[int]) -> UnreadableCollection:
        listed = ", ".join(map(str, numbers))
        return UnreadableCollection(
            f"{self._label(name)} is damaged: its alias is missing (generations: {listed}); "
            f"{how_to_recover(name)}"
        )


def _completed(settings: Settings, name: str, number: int) -> Settings:
    return replace(
        settings,
        creation_id=uuid.uuid4().hex,
        namespace=settings.namespace or name,
        generation=number,
    )
