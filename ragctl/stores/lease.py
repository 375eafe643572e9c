"""The lease on a collection of a server: the right to write, stored in the collection itself.

A server has no locks, and hosts share no files. So the payload of a collection's hidden point
says which run writes to it, beside the settings of an old server:

lease    HOLDER:BEAT, where no value ever repeats; HOLDER:free after its run has ended
host     the file locks that the holder's run holds; a run that holds the same ones knows that
         the holder is dead
who      the holder's process, for people
seconds  the life of the lease without a heartbeat
unfinished  whether the last holder may have left writes that some replicas lack: true from a
         claim on; false at the end of a run all of whose writes were acknowledged

Every change is a compare-and-set: a write whose filter requires the `lease` value that was
read, followed by a read of the result. A server applies writes one after another, and no value
repeats, so a request that arrives late or twice changes nothing.

Clocks of two hosts are never compared. The holder raises BEAT regularly. A waiting run watches
it and takes the lease when there was no beat for `seconds` of its own clock. The holder counts
from before it sent a beat and the waiting run from after it read it, so when the lease may be
taken, `seconds` have passed for the holder too. The holder writes only in the first half of
them, so a write has the other half to reach the server. What remains is a write that travels
for longer than that, or a process that is suspended for as long between its check of the clock
and its write.

A cluster keeps the hidden point on several replicas (`hidden_point`). A claim or a beat counts
only when a read says that all replicas that count agree on it, and two such reads share a
replica, so two runs never hold the lease at once. A write that was refused because a node was
down may have been applied on some replicas: they then disagree. While they do, no claim and no
beat is confirmed, so a holder stops writing within half of its lease's life, unless it repeats
its beat, which makes them agree. A waiting run therefore waits for a whole life of the lease in
which they always disagreed; then nobody holds it. It writes a lease to all replicas without a
condition. Another waiting run may do the same, and its write may arrive later, by as long as one
request travels; so the lease is not taken before half a life has passed in which it stayed as it
is, and then by compare-and-set as usual. The last of several such writes wins; the others see
that theirs is gone.

What is on some replicas only is then made equal (`replica_repair`).
"""

import contextlib
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ragctl.errors import Locked, StoreError
from ragctl.stores.hidden_point import HiddenPoint
from ragctl.stores.lease_state import (
    FREE,
    KEYS,
    LEASE_KEY,
    RENEWED_KEY,
    SINCE_KEY,
    UNFINISHED_KEY,
    LeaseState,
    lease_state,
)
from ragctl.stores.locks import LockWait
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    collection_label,
)

WRITE = "the right to write this collection"

BEATS_PER_LEASE = 4.5
MIN_READS_PER_LEASE = 20
"""Reads of a waiting run in the life of the lease that it waits for."""

MAX_READ_INTERVAL_SECONDS = 2.0
MAX_RELEASE_SECONDS = 5.0
MAX_SETTLE_TRIES = 5
# A clock that also counts while the machine sleeps: the first on Linux, the second on macOS.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _now() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Lease:
    """One run's lease on one collection. Thread-safe; `release` ends it.

    `name`: a collection's name, which may be an alias, or a generation's place. `label`: how
    errors name it. `host`: the same for two runs only if one file lock, which this run holds,
    excludes the other. `connection`: one of its own, with a shorter timeout than that of writes.
    """

    def __init__(
        self,
        connection: ServerConnection,
        name: str,
        *,
        host: str,
        seconds: float,
        label: str | None = None,
    ) -> None:
        self._connection = connection
        self._what = label or collection_label(name)
        self._point = HiddenPoint(connection, name, KEYS, self._what, need=WRITE)
        self._label = f"{self._what} at {connection.url}"
        self._host = host
        self._seconds = seconds
        self._holder = uuid.uuid4().hex
        self._beat = 0
        self._renewing = (0, 0.0)  # the number of the next beat, and when it was first sent
        self._since = 0.0  # when it was claimed, by the wall clock
        self._claimed = False  # this run holds the lease, or may hold it
        self._failed = False  # a write of this run may be on some replicas only
        self._unsettled = 0  # failed attempts to make the replicas agree
        self._lost: str | None = None
        self._confirmed = -math.inf
        self._lock = threading.Lock()  # for one change of the lease at a time
        self._end = threading.Event()

    def read(self) -> LeaseState | None:
        """Return the lease as stored; None without such a collection. Raises StoreError."""
        found = self._read(None, quick=True)
        if isinstance(found, Refusal):
            if found.status == 404:
                return None
            raise self._connection.error(self._what, found)
        return found

    def acquire(self, state: LeaseState | None, wait: LockWait) -> bool:
        """Acquire the lease, given its state as read just now; do nothing with None.

        The lease of a dead run is taken: immediately if its host is this one, else after its
        whole life without a beat. Returns whether some replicas may lack writes of the last
        holder. Raises Locked as `wait` says, and StoreError.
        """
        since = _now()
        while state is not None:
            if state.disputed is not None and _now() - since >= state.seconds:
                found = self._settle(state, state.disputed)
            elif state.free or state.host == self._host or _now() - since >= state.seconds:
                began = _now()
                found = self._claim(state)
                if found is not None and found.token == self._token(self._beat):
                    self._start_heartbeat(began)
                    return state.unfinished
                if found == state:
                    raise StoreError(f"{self._label}: its lease {state.token!r} cannot be taken")
            else:
                wait.report(
                    f"{self._label}: replicas disagree on which run may write, after a node was "
                    f"lost; waiting {state.seconds:g} s, and again half as long"
                    if state.disputed is not None
                    else f"{self._label} is held by a run on another machine ({state.who}); "
                    "waiting for it to end or to time out"
                )
                _sleep(state)
                found = self.read()
            if found is not None and found.token != state.token:
                if not found.free and state.disputed is None:
                    wait.check(self._label, found.who)
                since = _now()
            state = found
        return False

    def check(self) -> None:
        """Raise Locked if another run has taken the lease; call this before each write.

        Asks the server first if the last beat was long ago, because this process was suspended
        or the server did not answer.
        """
        if not self._claimed or self._fresh():
            return
        with self._lock:
            if not self._fresh():
                self._renew(None)

    def release(self) -> None:
        """Release the lease for the next run. If that fails, the lease times out."""
        self._end.set()
        with self._lock:
            if not self._claimed or self._lost:
                return
            self._claimed = False
            with contextlib.suppress(StoreError):
                # A beat may have arrived although its answer did not.
                self._free([self._token(self._beat), self._token(self._beat + 1)], self._point)

    def readdress(self, name: str) -> None:
        """Read and write the lease under another name of the same collection."""
        with self._lock:
            self._point.name = name

    @contextlib.contextmanager
    def handed_to(self, place: str, *, source: str | None) -> Iterator[Callable[[], None]]:
        """Take the lease along to another generation, to which the block switches the name.

        It is written there before the switch, so no other run can take it in between. `source`:
        the place of the generation that the name leaves, whose lease is then freed. Yields a
        check, which raises StoreError when too little of the lease's life is left.
        """
        self.check()
        with self._lock:
            if not self._claimed:
                raise StoreError(f"{self._label}: the lease is not held")
            token = self._token(self._beat)
            self._at(place).set(self._payload(), None)
            left: str | None = place
            try:
                yield self._require_fresh
                left = source
            finally:
                if left is not None:
                    with contextlib.suppress(StoreError):
                        self._free([token], self._at(left))

    def _at(self, place: str) -> HiddenPoint:
        return HiddenPoint(self._connection, place, KEYS, self._what, need=WRITE)

    def _free(self, tokens: list[str], point: HiddenPoint) -> None:
        freed = {LEASE_KEY: f"{self._holder}:{FREE}", UNFINISHED_KEY: self._failed}
        patience = min(MAX_RELEASE_SECONDS, self._seconds / BEATS_PER_LEASE)
        point.compare_and_set(LEASE_KEY, tokens, freed, patience, quick=True)

    def _require_fresh(self) -> None:
        if not self._fresh():
            raise StoreError(f"{self._label}: its lease is about to end; run the switch again")

    def spread(self) -> None:
        """Write the lease and the rest of the hidden point to replicas that hold others.

        A claim is valid when most replicas took it.
        """
        self.check()
        with self._lock:
            self._point.overwrite({**self._point.whole(), **self._payload()}, None)

    def write_failed(self) -> None:
        """Remember that a write of this run may be on some replicas only."""
        self._failed = True

    def forget(self) -> None:
        """Forget the lease of a collection that was deleted."""
        self._end.set()
        with self._lock:
            self._claimed = False

    def _token(self, beat: int) -> str:
        return f"{self._holder}:{beat}"

    def _fresh(self) -> bool:
        if self._lost:
            raise Locked(self._lost)
        return _now() - self._confirmed < self._seconds / 2

    def _start_heartbeat(self, confirmed: float) -> None:
        self._confirmed = confirmed
        self._end.set()  # of the lease on a deleted collection
        self._end = threading.Event()
        threading.Thread(
            target=self._heartbeat, args=(self._end,), name="lease", daemon=True
        ).start()

    def _heartbeat(self, end: threading.Event) -> None:
        """Renew the lease until `end` is set; retry a failed beat soon."""
        pause = self._seconds / BEATS_PER_LEASE
        while not end.wait(pause):
            pause = self._seconds / BEATS_PER_LEASE
            try:
                with self._lock:
                    if end.is_set():
                        return
                    self._renew(0.0)
            except Locked:
                return  # the next write raises it
            except StoreError:
                pause /= 4

    def _renew(self, patience: float | None) -> None:
        began = _now()
        following = self._token(self._beat + 1)
        if self._beat + 1 != self._renewing[0]:
            # A repeated beat writes the same values: a replica may have taken the first try.
            self._renewing = (self._beat + 1, time.time())
        beat = {LEASE_KEY: following, RENEWED_KEY: self._renewing[1]}
        self._point.compare_and_set(
            LEASE_KEY, [self._token(self._beat)], beat, patience, quick=False
        )
        found = self._read(patience)
        if isinstance(found, Refusal):
            raise self._connection.error(self._what, found)
        if found.token == self._token(self._beat) or found.disputed is not None:
            raise StoreError(f"{self._label}: the server did not keep the lease's beat")
        if found.token != following:
            self._lost = (
                f"another run ({found.who}) took over {self._label} while this one was suspended; "
                "nothing further is written"
            )
            raise Locked(self._lost)
        self._beat += 1
        self._confirmed = began

    def _claim(self, state: LeaseState) -> LeaseState | None:
        """Replace the lease that was read by this run's, and return the result."""
        payload, failed = self._next(), self._failed
        self._claimed = self._failed = True  # until it is confirmed
        if state.point:
            expected = [] if state.token is None else [state.token]
            self._point.compare_and_set(LEASE_KEY, expected, payload, None, quick=True)
        else:
            self._point.insert(LEASE_KEY, payload)
        found = self.read()
        self._failed = failed
        self._claimed = found is not None and found.token == self._token(self._beat)
        return found

    def _settle(self, state: LeaseState, payload: Mapping[str, Any]) -> LeaseState | None:
        """Write one lease to all replicas, which disagree; return it, or what another run wrote.

        Nobody holds the lease: no claim or beat was confirmed for its whole life. This write
        has no condition, so another run may do the same at the same time; the lease counts only
        if it is still there half a life later, when such a write would have arrived.
        """
        try:
            self._point.overwrite({**payload, **self._next()}, 0.0)
        except StoreError:
            self._unsettled += 1
            if self._unsettled >= MAX_SETTLE_TRIES:
                raise
            _sleep(state)
            return self.read()
        end = _now() + max(state.seconds, self._seconds) / 2
        while True:
            _sleep(state)
            found = self.read()
            if found is None or found.token != self._token(self._beat) or _now() >= end:
                return found

    def _next(self) -> dict[str, Any]:
        """Return the payload of a lease of this run, with a token that it never had."""
        self._beat += 1
        self._since = time.time()
        return self._payload()

    def _payload(self) -> dict[str, Any]:
        return {
            LEASE_KEY: self._token(self._beat),
            "host": self._host,
            "who": f"process {os.getpid()} on {platform.node()}",
            "seconds": self._seconds,
            UNFINISHED_KEY: True,
            SINCE_KEY: self._since,
            RENEWED_KEY: time.time(),
        }

    def _read(self, patience: float | None, *, quick: bool = False) -> LeaseState | Refusal:
        found = self._point.read(patience, quick=quick)
        return found if isinstance(found, Refusal) else lease_state(found)


def _sleep(state: LeaseState) -> None:
    time.sleep(min(MAX_READ_INTERVAL_SECONDS, state.seconds / MIN_READS_PER_LEASE))
