"""The lease on a collection of a server: the right to write, stored in the collection itself.

A server has no locks, and hosts share no files. So the payload of a collection's hidden point
says which run writes to it, beside the settings of an old server:

lease    HOLDER:BEAT, where no value ever repeats; HOLDER:free after its run has ended
host     the file locks that the holder's run holds; a run that holds the same ones knows that
         the holder is dead
who      the holder's process, for people
seconds  the life of the lease without a heartbeat

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
"""

import contextlib
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ragctl.errors import Locked, StoreError
from ragctl.stores.locks import LockWait
from ragctl.stores.server_connection import (
    Refusal,
    ServerConnection,
    collection_label,
    require_all_applied,
)
from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_points import HIDDEN, Operation, batch_body, encode_upsert, set_payload
from ragctl.text import one_line

DEFAULT_LEASE_SECONDS = 45.0
"""Life of a lease without a heartbeat."""

MAX_LEASE_SECONDS = 3600.0

WRITE = "the right to write this collection"

LEASE_KEY = "lease"
"""Payload key of the lease on the hidden point."""

BEATS_PER_LEASE = 4.5
MIN_READS_PER_LEASE = 20
"""Reads of a waiting run in the life of the lease that it waits for."""

MAX_READ_INTERVAL_SECONDS = 2.0
MAX_RELEASE_SECONDS = 5.0
_FREE = "free"
# A clock that also counts while the machine sleeps: the first on Linux, the second on macOS.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _now() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as it was read. `token` None: never taken. `point`: whether the point exists."""

    point: bool
    token: str | None = None
    host: str = ""
    who: str = "unknown"
    seconds: float = DEFAULT_LEASE_SECONDS

    @property
    def free(self) -> bool:
        """Whether no run holds the lease."""
        return self.token is None or self.token.endswith(f":{_FREE}")


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
        self._name = name
        self._what = label or collection_label(name)
        self._label = f"{self._what} at {connection.url}"
        self._host = host
        self._seconds = seconds
        self._holder = uuid.uuid4().hex
        self._beat = 0
        self._claimed = False  # this run holds the lease, or may hold it
        self._lost: str | None = None
        self._confirmed = -math.inf
        self._lock = threading.Lock()  # for one change of the lease at a time
        self._end = threading.Event()

    def read(self) -> LeaseState | None:
        """Return the lease as stored; None without such a collection. Raises StoreError."""
        found = self._read(None)
        if isinstance(found, Refusal):
            if found.status == 404:
                return None
            raise self._connection.error(self._what, found)
        return found

    def acquire(self, state: LeaseState | None, wait: LockWait) -> None:
        """Acquire the lease, given its state as read just now; do nothing with None.

        The lease of a dead run is taken: immediately if its host is this one, else after its
        whole life without a beat. Raises Locked as `wait` says, and StoreError.
        """
        since = _now()
        while state is not None:
            if state.free or state.host == self._host or _now() - since >= state.seconds:
                began = _now()
                found = self._claim(state)
                if found is not None and found.token == self._token(self._beat):
                    self._start_heartbeat(began)
                    return
                if found == state:
                    raise StoreError(f"{self._label}: its lease {state.token!r} cannot be taken")
            else:
                wait.report(
                    f"{self._label} is held by a run on another machine ({state.who}); "
                    "waiting for it to end or to time out"
                )
                time.sleep(min(MAX_READ_INTERVAL_SECONDS, state.seconds / MIN_READS_PER_LEASE))
                found = self.read()
            if found is not None and found.token != state.token:
                if not found.free:
                    wait.check(self._label, found.who)
                since = _now()
            state = found

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
                self._free([self._token(self._beat), self._token(self._beat + 1)], self._name)

    def readdress(self, name: str) -> None:
        """Read and write the lease under another name of the same collection."""
        with self._lock:
            self._name = name

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
            unconditional = set_payload(self._payload(), points=[HIDDEN])
            self._write(unconditional, None, place)
            left: str | None = place
            try:
                yield self._require_fresh
                left = source
            finally:
                if left is not None:
                    with contextlib.suppress(StoreError):
                        self._free([token], left)

    def _require_fresh(self) -> None:
        if not self._fresh():
            raise StoreError(f"{self._label}: its lease is about to end; run the switch again")

    def forget(self) -> None:
        """Forget the lease of a collection that was deleted."""
        self._end.set()
        with self._lock:
            self._claimed = False

    def _free(self, tokens: list[str], name: str) -> None:
        patience = min(MAX_RELEASE_SECONDS, self._seconds / BEATS_PER_LEASE)
        self._compare_and_set(tokens, {LEASE_KEY: f"{self._holder}:{_FREE}"}, patience, name)

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
        self._compare_and_set([self._token(self._beat)], {LEASE_KEY: following}, patience)
        found = self._read(patience)
        if isinstance(found, Refusal):
            raise self._connection.error(self._what, found)
        if found.token == self._token(self._beat):
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
        self._beat += 1  # a value that no earlier claim had
        payload = self._payload()
        self._claimed = True
        if state.point:
            self._compare_and_set([] if state.token is None else [state.token], payload, None)
        else:
            self._insert(payload)
        found = self.read()
        self._claimed = found is not None and found.token == self._token(self._beat)
        return found

    def _payload(self) -> dict[str, Any]:
        return {
            LEASE_KEY: self._token(self._beat),
            "host": self._host,
            "who": f"process {os.getpid()} on {platform.node()}",
            "seconds": self._seconds,
        }

    def _compare_and_set(
        self,
        expected: list[str],
        payload: Mapping[str, Any],
        patience: float | None,
        name: str | None = None,
    ) -> None:
        """Set the payload if the lease is one of `expected` (empty: if there is none)."""
        condition = (
            {"key": LEASE_KEY, "match": {"any": expected}}
            if expected
            else {"is_empty": {"key": LEASE_KEY}}
        )
        chosen = {"must": [{"has_id": [HIDDEN]}, condition]}
        self._write(set_payload(payload, filter=chosen), patience, name)

    def _insert(self, payload: Mapping[str, Any]) -> None:
        """Create the hidden point unless it exists; for servers with `update_filter` only."""
        mine = {"must": [{"key": LEASE_KEY, "match": {"value": payload[LEASE_KEY]}}]}
        point = {"id": HIDDEN, "vector": {}, "payload": payload}
        self._write(encode_upsert([point], update_filter=mine), None)

    def _write(self, operation: Operation, patience: float | None, name: str | None = None) -> None:
        url = collection_path(name or self._name, "points", "batch")
        body = batch_body([operation])

        def write(client: QdrantHttp) -> None:
            client.send("POST", url, body, read=require_all_applied, wait="true", ordering="strong")

        refused = self._connection.attempt(self._what, write, patience=patience)
        if isinstance(refused, Refusal):
            raise self._connection.error(self._what, refused, need=WRITE)

    def _read(self, patience: float | None) -> LeaseState | Refusal:
        body = {"ids": [HIDDEN], "with_payload": [LEASE_KEY, "host", "who", "seconds"]}
        url = collection_path(self._name, "points")
        return self._connection.attempt(
            self._what,
            lambda client: client.send("POST", url, body, read=_read_lease, consistency="majority"),
            patience=patience,
        )


def _read_lease(records: Any) -> LeaseState:
    return _lease_state(records[0]["payload"] or {}) if records else LeaseState(point=False)


def _lease_state(payload: Mapping[str, Any]) -> LeaseState:
    token, seconds = payload.get(LEASE_KEY), payload.get("seconds")
    if token is None:
        return LeaseState(point=True)
    usable = isinstance(seconds, int | float) and 0 < seconds <= MAX_LEASE_SECONDS
    return LeaseState(
        point=True,
        token=str(token),
        host=str(payload.get("host")),
        who=one_line(str(payload.get("who")), limit=100, printable_only=True),
        seconds=float(seconds) if usable else DEFAULT_LEASE_SECONDS,  # type: ignore[arg-type]
    )
