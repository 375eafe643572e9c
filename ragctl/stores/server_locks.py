"""The locks of a server's collections: a file lock on this machine, and a lease on the server."""

import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ragctl.records import Notify
from ragctl.stores.base import LockHolder
from ragctl.stores.lease import Lease
from ragctl.stores.lease_state import LeaseState
from ragctl.stores.locks import (
    LockWait,
    known_id,
    private_folder,
    run_lock,
    run_lock_holder,
    shared_id,
)
from ragctl.stores.server_connection import ServerConnection, collection_label

MAX_CLOCK_SKEW_SECONDS = 300.0
"""Difference between the clocks of two machines up to which a lease may still be alive."""


class ServerLocks:
    """The locks that one store holds, by address.

    The lease of a collection is read and written through its name, so it is always that of the
    current generation, also for a run that waits while the name is switched.

    Args:
        location: the server's address.
        connect: returns a new connection with this timeout in seconds.
        folder: for the lock files.
        seconds: life of a lease without a heartbeat.
        timeout: seconds for one request of the store.
        state_of: returns the state of a lease as far as it may be taken; see Lease.acquire.
        repair: called when some replicas may lack writes of the last holder.
    """

    def __init__(
        self,
        location: str,
        connect: Callable[[int], ServerConnection],
        folder: Path,
        *,
        seconds: float,
        timeout: int,
        state_of: Callable[[str, str, Lease], LeaseState | None],
        repair: Callable[[str, str, Lease, Notify], None],
    ) -> None:
        self.seconds = seconds
        self._location = location
        self._connect = connect
        self._folder = folder
        self._timeout = timeout
        self._state_of = state_of
        self._repair = repair
        self._held: dict[str, Lease] = {}

    @contextmanager
    def hold(self, name: str, address: str, *, patience: float, waiting: Notify) -> Iterator[None]:
        """Hold the lock of a collection, or of one generation; see Store.lock.

        `address`: the collection's name, or the generation's place.
        """
        digest, file = self._file(address)
        folder = private_folder(self._folder)
        wait = LockWait(patience, waiting)
        label = collection_label(name)
        if address != name:
            label += f" (generation {address.rpartition('@')[2]})"
        with run_lock(file, f"{label} at {self._location}", wait):
            host = self._host(digest, shared_id(folder / "host"))
            # A lost answer must not cost the lease.
            timeout = max(1, min(self._timeout, round(self.seconds / 4)))
            with closing(self._connect(timeout)) as connection:
                lease = Lease(connection, address, host=host, seconds=self.seconds, label=label)
                self._held[address] = lease
                try:
                    if lease.acquire(self._state_of(name, address, lease), wait):
                        self._repair(name, address, lease, waiting)
                    yield
                finally:
                    del self._held[address]
                    lease.release()

    def _file(self, address: str) -> tuple[str, Path]:
        """Return the digest of an address on this server, and the lock file of its runs."""
        digest = hashlib.sha256(f"{self._location}\0{address}".encode()).hexdigest()[:16]
        return digest, self._folder / f"{address}-{digest}.lock"

    def _host(self, digest: str, machine: str) -> str:
        """Return the name of this user on this machine in leases.

        With the digest: one server may have two addresses, each with its own file lock.
        """
        return f"{machine} {platform.node()} {digest}"

    def holder(self, address: str) -> LockHolder | None:
        """Return the run that holds a lock: of the file lock here, or of the lease."""
        digest, file = self._file(address)
        if held := run_lock_holder(file):
            return LockHolder(f"{held[0]} on {platform.node()}", held[1])
        with closing(self._connect(self._timeout)) as connection:
            lease = Lease(connection, address, host="", seconds=self.seconds)
            state = lease.read()
        if state is None or state.free or state.disputed is not None:
            return None
        if state.host == self._host(digest, known_id(self._folder / "host")):
            return None  # a run that died: its file lock is free
        ended = state.renewed is not None and (
            time.time() - state.renewed > state.seconds + MAX_CLOCK_SKEW_SECONDS
        )
        return None if ended else LockHolder(state.who, state.since)

    def check(self, *addresses: str) -> None:
        """Raise Locked if a lock that this store holds on one of these has been lost."""
        for address in dict.fromkeys(addresses):
            if address in self._held:
                self._held[address].check()

    def lease(self, address: str) -> Lease | None:
        """Return the lease that this store holds on a name or a generation's place."""
        return self._held.get(address)
