"""Trying again: exponential backoff with full jitter, bounded in time."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from ragctl.errors import BackendError, Interrupted
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.service import AnswerT, RequestT, Service

Sleep = Callable[[float, threading.Event], object]
"""Waits so many seconds, or until the event is set."""


def sleep(seconds: float, stopped: threading.Event) -> None:
    stopped.wait(seconds)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    `total` is how long one request may go on failing (a second try is always
    made); `unanswered` the same for an address from which no answer ever came,
    which may be mistyped. `first` and `longest` bound the backoff between two
    tries. Of one try, `connect` bounds the connection, `read` the wait for any
    next byte, `attempt` the whole.
    """

    total: float = 120.0
    unanswered: float = 20.0
    first: float = 0.5
    longest: float = 30.0
    connect: float = 10.0
    read: float = 120.0
    attempt: float = 300.0


class Retrying(Generic[RequestT, AnswerT]):
    """A Service that tries another Service again while it fails with Transient.

    The wait before try n is uniform between 0 and first * 2**(n - 1), at most
    `longest` (full jitter); a host that names a time is given that time. Raises
    BackendError when patience ends, or would end before the host's own time;
    Interrupted when the request is stopped while waiting.
    """

    def __init__(
        self,
        service: Service[RequestT, AnswerT],
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._service = service
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._answered = False  # the host, to anything so far

    def call(self, request: RequestT) -> AnswerT:
        since: float | None = None  # the first failure: waiting for a turn is no failure
        tries = 0
        while True:
            try:
                answer = self._service.call(request)
            except Refused:
                self._answered = True
                raise
            except Transient as failure:
                self._answered |= failure.answered
                tries += 1
                now = self._clock()
                since = now if since is None else since
                wait = self._wait(tries, failure.retry_after)
                if self._exhausted(tries, wait, now - since, failure.retry_after):
                    raise self._given_up(failure, tries, now - since) from failure
                self._sleep(wait, request.stopped)
                if request.stopped.is_set():
                    raise Interrupted("stopped while waiting to try again") from failure
            else:
                self._answered = True
                return answer

    def _wait(self, tries: int, retry_after: float | None) -> float:
        if retry_after is not None:
            # A little more than asked: requests sent back together must not return together.
            return retry_after + self._uniform(0, self._patience.first)
        backoff = self._patience.first * 2.0 ** min(tries - 1, 30)
        return self._uniform(0, min(backoff, self._patience.longest))

    def _exhausted(self, tries: int, wait: float, spent: float, asked: float | None) -> bool:
        total = self._patience.total
        if asked is not None and asked > total:
            return True
        if not self._answered:
            total = min(total, self._patience.unanswered)
        return tries > 1 and spent + wait > total

    def _given_up(self, failure: Transient, tries: int, spent: float) -> BackendError:
        times = "once" if tries == 1 else f"{tries} times in {spent:.0f} s"
        if not self._answered:
            return BackendError(
                f"{failure}; tried {times}, and no answer ever came: is the address right, and "
                "the host up?"
            )
        asked = failure.retry_after
        when = "later" if asked is None else f"in {asked:.0f} s or later"
        return BackendError(f"{failure}; tried {times}; run again {when}: what is stored is kept")

    def close(self) -> None:
        self._service.close()
