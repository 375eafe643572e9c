"""Retries: one loop, and exponential backoff with full jitter for requests to backends."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ragctl.errors import BackendError, Interrupted
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.outage import OutageNotice, duration
from ragctl.hosts.service import AnswerT, RequestT, Service

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

MAX_BACKOFF_DOUBLINGS = 30

Sleep = Callable[[float, threading.Event], object]
"""Waits for a number of seconds, or until the event is set."""


def sleep(seconds: float, stopped: threading.Event) -> None:
    """Wait `seconds`, or until `stopped` is set."""
    stopped.wait(seconds)


def retry(
    attempt: Callable[[], T],
    errors: type[E] | tuple[type[E], ...],
    pause: Callable[[E, int, float], float],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call `attempt` until it raises none of `errors`, and return its result.

    After each failure `pause` gets the error, the number of tries so far, and the seconds
    since the first failure. It returns the seconds to wait before the next try, or raises
    the error that ends the retries.
    """
    tries = 0
    first_failure: float | None = None
    while True:
        try:
            return attempt()
        except errors as error:
            tries += 1
            now = clock()
            first_failure = now if first_failure is None else first_failure
            sleep(pause(error, tries, now - first_failure))


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits in seconds.

    `total` bounds how long one request may go on failing; a second try is always made.
    `unanswered` is the same limit for an address that has never answered and may be
    mistyped; None: no other limit, because a server may be loading its model. With
    `refused_ends`, a refused connection to this machine ends the retries. `first` and
    `longest` bound the backoff between two tries. Within one try `connect` bounds the
    connection, `read` the wait for the next byte, and `attempt` the whole try.
    """

    total: float = 120.0
    unanswered: float | None = None
    first: float = 0.5
    longest: float = 30.0
    connect: float = 10.0
    read: float = 120.0
    attempt: float = 300.0
    refused_ends: bool = False

    def of(self, seconds: float) -> "Patience":
        """Return these limits for requests that may keep failing for so many seconds.

        An attempt gets more time if they are more than it has.
        """
        read, attempt = max(self.read, seconds), max(self.attempt, seconds)
        return replace(self, total=seconds, read=read, attempt=attempt)


SEARCH_PATIENCE = Patience(
    total=10.0, longest=3.0, connect=5.0, read=10.0, attempt=20.0, refused_ends=True
)
"""The limits of a search: somebody waits for it."""


class Retrying(Generic[RequestT, AnswerT]):
    """A Service that repeats requests to another Service while they fail with Transient.

    The wait before try n is uniform between 0 and first * 2**(n - 1), at most `longest`
    (full jitter). If the host says how long to wait, that is the wait. Raises BackendError
    when the patience is used up, or when it is shorter than the wait that the host asks for;
    Interrupted when the request is stopped while waiting. `notice` reports outages.
    """

    def __init__(
        self,
        service: Service[RequestT, AnswerT],
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = sleep,
        uniform: Callable[[float, float], float] = random.uniform,
        notice: OutageNotice | None = None,
    ) -> None:
        self._service = service
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._notice = notice
        self._answered = False  # whether the host has answered anything yet

    def call(self, request: RequestT) -> AnswerT:
        """Answer one request, with retries."""

        def wait(seconds: float) -> None:
            self._sleep(seconds, request.stopped)
            if request.stopped.is_set():
                raise Interrupted("stopped while waiting to try again")

        failing = answered = False

        def pause(failure: Transient, tries: int, seconds: float) -> float:
            nonlocal failing
            delay, left = self._pause(failure, tries, seconds)
            if self._notice is not None:
                self._notice.failed(failure, first=not failing, patience=left)
            failing = True
            return delay

        try:
            # The time starts at the first failure: waiting for a rate limit is no failure.
            answer = retry(
                lambda: self._service.call(request),
                Transient,
                pause,
                sleep=wait,
                clock=self._clock,
            )
            answered = True
        except Refused:
            answered = True
            raise
        finally:
            self._answered |= answered
            if failing and self._notice is not None:
                self._notice.ended(answered=answered)
        return answer

    def _pause(self, failure: Transient, tries: int, seconds: float) -> tuple[float, float]:
        """Return the seconds until the next try, and until the last; raise BackendError if none."""
        self._answered |= failure.answered
        wait = self._wait(tries, failure.retry_after)
        total = self._patience.total
        if failure.retry_after is not None and failure.retry_after > total:
            raise self._give_up(failure, tries, seconds) from failure
        if failure.refused and self._patience.refused_ends:
            raise self._give_up(failure, tries, seconds) from failure
        if not self._answered and self._patience.unanswered is not None:
            total = min(total, self._patience.unanswered)
        if tries > 1 and seconds + wait > total:
            raise self._give_up(failure, tries, seconds) from failure
        return wait, max(wait, total - seconds)

    def _wait(self, tries: int, retry_after: float | None) -> float:
        if retry_after is not None:
            # A little longer than asked: requests refused together must not return together.
            return retry_after + self._uniform(0, self._patience.first)
        backoff = self._patience.first * 2.0 ** min(tries - 1, MAX_BACKOFF_DOUBLINGS)
        return self._uniform(0, min(backoff, self._patience.longest))

    def _give_up(self, failure: Transient, tries: int, seconds: float) -> BackendError:
        times = "once" if tries == 1 else f"{tries} times in {duration(seconds)}"
        if not self._answered:
            return BackendError(
                f"{failure}; tried {times}, and no answer ever came: is the address right, and "
                "the host up?"
            )
        after = failure.retry_after
        when = "later" if after is None else f"in {duration(after)} or later"
        return BackendError(f"{failure}; tried {times}; run again {when}: what is stored is kept")

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
