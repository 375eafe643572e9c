"""The right to write to a collection on a server, kept in the collection itself.

A server has no locks, and hosts do not share files. So the hidden point of a
collection says who writes to it. Its payload, beside the settings of an old server:

lease    HOLDER:BEAT, no two ever equal; HOLDER:free when its run has ended
host     the lock files that HOLDER's run holds; whoever holds the same knows it dead
who      for people
seconds  how long the lease lives without a beat

Everything is compare-and-set: a write whose filter wants the `lease` that was read,
and a read of what came of it. A server applies one write after another, and no
`lease` comes twice, so that a request which arrives late, or twice, changes nothing.

Clocks of two hosts are never compared. The holder raises BEAT again and again; who
wants the lease watches, and takes it when no beat came for `seconds` of its own
clock. The holder counts from before it sent a beat, the watcher from after it read
it: when one may take, `seconds` have passed for the other. So the holder writes only
within half of them, and what a server gets is late by at most the other half. Left
open is a write that is on its way for longer than that, or a process that stands
still for so long just between its look at the clock and its write.
"""

import contextlib
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import QdrantClient, models

from ragctl.errors import Locked, StoreError
from ragctl.stores.locks import Wait
from ragctl.stores.server_points import HIDDEN
from ragctl.stores.server_wire import Refusal, ServerConnection, applied, what
from ragctl.text import one_line

SECONDS = 45.0  # that a lease lives without a beat
LONGEST = 3600.0
LEASE = "lease"
_BEATS = 4.5  # in the life of a lease
_LOOKS = 20  # of a watcher in that time, at least
_LOOK = 2.0  # seconds between two of them, at most
_FAREWELL = 5.0  # seconds for the last request
_FREE = "free"
# One that goes on while the machine sleeps: on Linux the first, on macOS the second.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _now() -> float:
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class Seen:
    """The lease as it was read. `token` None: never taken; `point`: whether its point is there."""

    point: bool
    token: str | None = None
    host: str = ""
    who: str = "unknown"
    seconds: float = SECONDS

    @property
    def free(self) -> bool:
        return self.token is None or self.token.endswith(f":{_FREE}")


class Lease:
    """One run's lease on one collection. Thread-safe; `release` ends it.

    host: the same for two runs only if one file lock keeps them apart; we hold it.
    wire: its own, as a request must not wait for an answer as long as a write may.
    """

    def __init__(self, wire: ServerConnection, name: str, *, host: str, seconds: float) -> None:
        self._wire = wire
        self._name = name
        self._what = f"{what(name)} at {wire.url}"
        self._host = host
        self._seconds = seconds
        self._holder = uuid.uuid4().hex
        self._beat = 0
        self._claimed = False  # the lease is ours, or may be
        self._lost: str | None = None
        self._confirmed = -math.inf
        self._turn = threading.Lock()  # one request changes the lease at a time
        self._end = threading.Event()

    def look(self) -> Seen | None:
        """Who has the lease; None where there is no such collection. Raises StoreError."""
        found = self._read(None)
        if isinstance(found, Refusal):
            if found.status == 404:
                return None
            raise self._wire.error(what(self._name), found)
        return found

    def take(self, seen: Seen | None, wait: Wait) -> None:
        """Have the lease, last `seen` just now; raises Locked as `wait` says, and StoreError.

        A lease of a run that is dead is taken: at once where its host is ours, else
        when it did not beat for its whole life. Does nothing where there is no
        collection.
        """
        since = _now()
        while seen is not None:
            if seen.free or seen.host == self._host or _now() - since >= seen.seconds:
                began = _now()
                found = self._claim(seen)
                if found is not None and found.token == self._token(self._beat):
                    self._begin(began)
                    return
                if found == seen:
                    raise StoreError(f"{self._what}: its lease {seen.token!r} cannot be taken")
            else:
                wait.tell(
                    f"{self._what} is held by a run elsewhere ({seen.who}); "
                    "waiting for it to end, or to be found dead"
                )
                time.sleep(min(_LOOK, seen.seconds / _LOOKS))
                found = self.look()
            if found is not None and found.token != seen.token:
                if not found.free:
                    wait.check(self._what, found.who)
                since = _now()
            seen = found

    def check(self) -> None:
        """To be called before each write. Raises Locked when another run has the lease.

        When the last beat was long ago, because this process stood still or the server
        did not answer, asks first.
        """
        if not self._claimed or self._fresh():
            return
        with self._turn:
            if not self._fresh():
                self._renew(None)

    def release(self) -> None:
        """Let the next run begin. What fails here, the lease's end makes good."""
        self._end.set()
        with self._turn:
            if not self._claimed or self._lost:
                return
            self._claimed = False
            with contextlib.suppress(StoreError):
                # A beat may have arrived though its answer did not.
                ours = [self._token(self._beat), self._token(self._beat + 1)]
                freed = {LEASE: f"{self._holder}:{_FREE}"}
                self._swap(ours, freed, min(_FAREWELL, self._seconds / _BEATS))

    def forget(self) -> None:
        """The collection is gone, and the lease with it."""
        self._end.set()
        with self._turn:
            self._claimed = False

    def _token(self, beat: int) -> str:
        return f"{self._holder}:{beat}"

    def _fresh(self) -> bool:
        if self._lost:
            raise Locked(self._lost)
        return _now() - self._confirmed < self._seconds / 2

    def _begin(self, confirmed: float) -> None:
        self._confirmed = confirmed
        self._end.set()  # of the lease on a collection that is gone
        self._end = threading.Event()
        threading.Thread(target=self._go_on, args=(self._end,), name="lease", daemon=True).start()

    def _go_on(self, end: threading.Event) -> None:
        """Beat until the end; a beat that failed is tried again soon."""
        pause = self._seconds / _BEATS
        while not end.wait(pause):
            pause = self._seconds / _BEATS
            try:
                with self._turn:
                    if end.is_set():
                        return
                    self._renew(0.0)
            except Locked:
                return  # the next write says so
            except StoreError:
                pause /= 4

    def _renew(self, patience: float | None) -> None:
        began = _now()
        following = self._token(self._beat + 1)
        self._swap([self._token(self._beat)], {LEASE: following}, patience)
        found = self._read(patience)
        if isinstance(found, Refusal):
            raise self._wire.error(what(self._name), found)
        if found.token == self._token(self._beat):
            raise StoreError(f"{self._what}: the server did not keep the lease's beat")
        if found.token != following:
            self._lost = (
                f"another run ({found.who}) took over {self._what} while this one stood still; "
                "nothing further is written"
            )
            raise Locked(self._lost)
        self._beat += 1
        self._confirmed = began

    def _claim(self, seen: Seen) -> Seen | None:
        """Put ourselves in place of what was seen, and read what came of it."""
        self._beat += 1  # a token that no earlier claim had
        payload = {
            LEASE: self._token(self._beat),
            "host": self._host,
            "who": f"process {os.getpid()} on {platform.node()}",
            "seconds": self._seconds,
        }
        self._claimed = True
        if seen.point:
            self._swap([] if seen.token is None else [seen.token], payload, None)
        else:
            self._insert(payload)
        found = self.look()
        self._claimed = found is not None and found.token == self._token(self._beat)
        return found

    def _swap(self, wanted: list[str], payload: Mapping[str, Any], patience: float | None) -> None:
        """Write where the lease is one of `wanted` (empty: where there is none)."""
        condition = (
            models.FieldCondition(key=LEASE, match=models.MatchAny(any=wanted))
            if wanted
            else models.IsEmptyCondition(is_empty=models.PayloadField(key=LEASE))
        )
        chosen = models.Filter(must=[models.HasIdCondition(has_id=[HIDDEN]), condition])
        body = models.SetPayload(payload=dict(payload), filter=chosen)
        self._write(models.SetPayloadOperation(set_payload=body), patience)

    def _insert(self, payload: dict[str, Any]) -> None:
        """Make the point unless it is there; to be asked only of servers that know the filter."""
        mine = models.MatchValue(value=payload[LEASE])
        points = models.PointsList(
            points=[models.PointStruct(id=HIDDEN, vector={}, payload=payload)],
            update_filter=models.Filter(must=[models.FieldCondition(key=LEASE, match=mine)]),
        )
        self._write(models.UpsertOperation(upsert=points), None)

    def _write(self, operation: models.UpdateOperation, patience: float | None) -> None:
        def write(client: QdrantClient) -> None:
            results = client.batch_update_points(
                self._name, [operation], wait=True, ordering=models.WriteOrdering.STRONG
            )
            for result in results:
                applied(result)

        refused = self._wire.attempt(what(self._name), write, patience=patience)
        if isinstance(refused, Refusal):
            raise self._wire.error(what(self._name), refused)

    def _read(self, patience: float | None) -> Seen | Refusal:
        found = self._wire.attempt(
            what(self._name),
            lambda client: client.retrieve(
                self._name,
                [HIDDEN],
                with_payload=[LEASE, "host", "who", "seconds"],
                consistency=models.ReadConsistencyType.MAJORITY,
            ),
            patience=patience,
        )
        if isinstance(found, Refusal):
            return found
        return _seen(found[0].payload or {}) if found else Seen(point=False)


def _seen(payload: Mapping[str, Any]) -> Seen:
    token, seconds = payload.get(LEASE), payload.get("seconds")
    if token is None:
        return Seen(point=True)
    usable = isinstance(seconds, int | float) and 0 < seconds <= LONGEST
    return Seen(
        point=True,
        token=str(token),
        host=str(payload.get("host")),
        who=one_line(str(payload.get("who")), limit=100, printable_only=True),
        seconds=float(seconds) if usable else SECONDS,  # type: ignore[arg-type]
    )
