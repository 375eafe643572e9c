"""The locks of a server's collections: a file lock on this machine, and a lease on the server."""

import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ragctl.records import Notify
from ragctl.stores.lease import Lease, LeaseState
from ragctl.stores.locks import LockWait, private_folder, run_lock, shared_id
from ragctl.stores.server_connection import ServerConnection, collection_label


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
        digest = hashlib.sha256(f"{self._location}\0{address}".encode()).hexdigest()[:16]
        folder = private_folder(self._folder)
        wait = LockWait(patience, waiting)
        label = collection_label(name)
        if address != name:
            label += f" (generation {address.rpartition('@')[2]})"
        file = folder / f"{address}-{digest}.lock"
        with run_lock(file, f"{label} at {self._location}", wait):
            # With the digest: one server may have two addresses, each with its own file lock.
            host = f"{shared_id(folder / 'host')} {platform.node()} {digest}"
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

    def check(self, *addresses: str) -> None:
        """Raise Locked if a lock that this store holds on one of these has been lost."""
        for address in dict.fromkeys(addresses):
            if address in self._held:
                self._held[address].check()

    def lease(self, address: str) -> Lease | None:
        """Return the lease that this store holds on a name or a generation's place."""
        return self._held.get(address)
