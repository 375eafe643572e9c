"""Rate limits, one limiter per API key: requests in flight, and requests and tokens per minute.

The number of requests in flight adapts: it is halved when the host throttles, and raised
by one after as many successes in a row as are allowed at once.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic
from weakref import WeakValueDictionary

from ragctl.catalog import Rates
from ragctl.errors import Interrupted
from ragctl.hosts.errors import Transient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.retry import Sleep, sleep
from ragctl.hosts.service import AnswerT, RequestT, Service
from ragctl.hosts.usage import Usage

WINDOW_SECONDS = 60.0
BURST_PARTS = 10  # each tenth of a minute gets a tenth of the limit: no burst uses up a minute
WINDOW_MARGIN_SECONDS = 0.001  # a request that began exactly a minute ago still counts
STOP_POLL_SECONDS = 0.1  # between checks of `stopped` while all turns are taken
MAX_SLEEP_SECONDS = 1.0  # then the wait is computed anew: a bill may be lower than estimated


@dataclass(slots=True, eq=False)
class Turn:
    """A request that was admitted: when it began, and how many tokens it counts for."""

    began: float
    tokens: int


class Limiter:
    """Admits requests within the limits of one key. Threads share it.

    In any 60 seconds it admits no more requests and tokens than `rates`; a request larger
    than the limit is admitted alone. `allowed` is how many may be in flight now.
    """

    def __init__(
        self,
        rates: Rates,
        concurrency: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = sleep,
    ) -> None:
        self._change = threading.Condition()
        self._clock = clock
        self._sleep = sleep
        self._rates = rates
        self._concurrency = concurrency
        self.allowed = concurrency
        self._in_flight = 0
        self._successes = 0  # since `allowed` last changed
        self._halved_at = -math.inf
        self._paused_until = -math.inf
        self._pause_reason = ""
        self._recent: deque[Turn] = deque()  # of the last minute, oldest first

    def enter(self, tokens: int, stopped: threading.Event, max_pause: float = math.inf) -> Turn:
        """Wait until a request of `tokens` tokens is admitted.

        Raises Interrupted once `stopped` is set, and Transient at once if the host has asked
        for a pause longer than `max_pause` seconds.
        """
        while True:
            with self._change:
                if stopped.is_set():
                    raise Interrupted("stopped while waiting for a turn")
                now = self._clock()
                pause = self._paused_until - now
                if pause > max_pause:
                    raise Transient(self._pause_reason, retry_after=pause, throttled=True)
                delay = max(pause, self._delay(tokens, now))
                if delay <= 0:
                    if self._in_flight < self.allowed:
                        turn = Turn(now, tokens)
                        self._recent.append(turn)
                        self._in_flight += 1
                        return turn
                    self._change.wait(STOP_POLL_SECONDS)
                    continue
            self._sleep(min(delay, MAX_SLEEP_SECONDS), stopped)

    def leave(self, turn: Turn, failure: Transient | None = None, spent: int = 0) -> None:
        """End a turn. `spent`: tokens billed; 0: the host does not say."""
        with self._change:
            self._in_flight -= 1
            turn.tokens = spent or turn.tokens
            if failure is None:
                self._successes += 1
                if self._successes >= self.allowed and self.allowed < self._concurrency:
                    self.allowed, self._successes = self.allowed + 1, 0
            elif failure.throttled:
                turn.tokens = 0  # refused without being read
                self._throttle(turn, failure)
            self._change.notify_all()

    def tighten(self, rates: Rates, concurrency: int) -> None:
        """Lower the limits to these where they are lower."""
        with self._change:
            own = self._rates
            self._rates = Rates(
                _lower(own.requests, rates.requests), _lower(own.tokens, rates.tokens)
            )
            self._concurrency = min(self._concurrency, concurrency)
            self.allowed = min(self.allowed, self._concurrency)

    def _throttle(self, turn: Turn, failure: Transient) -> None:
        now = self._clock()
        self._successes = 0
        # Requests sent together fail together, and count once.
        if turn.began >= self._halved_at:
            self.allowed, self._halved_at = max(1, self.allowed // 2), now
        if failure.retry_after is not None:
            self._paused_until = max(self._paused_until, now + failure.retry_after)
            self._pause_reason = str(failure)

    def _delay(self, tokens: int, now: float) -> float:
        """Return the seconds until the rates admit a request of `tokens` tokens."""
        recent, rates = self._recent, self._rates
        while recent and recent[0].began < now - WINDOW_SECONDS:
            recent.popleft()
        delay = 0.0
        if rates.requests is not None:
            spent = [(turn.began, 1) for turn in recent]
            delay = _seconds_until_allowed(spent, 1, rates.requests, now)
        if rates.tokens is not None:
            spent = [(turn.began, turn.tokens) for turn in recent]
            delay = max(delay, _seconds_until_allowed(spent, tokens, rates.tokens, now))
        return delay


def _seconds_until_allowed(
    spent: list[tuple[float, int]], amount: int, limit: int, now: float
) -> float:
    """Return the seconds until `amount` more is within `limit` per minute.

    `spent` has the time and the amount of each request of the last minute, oldest first.
    """
    start = bisect_left(spent, (now - WINDOW_SECONDS / BURST_PARTS,))
    return max(
        _seconds_until_at_most(spent, limit - amount, WINDOW_SECONDS, now),
        _seconds_until_at_most(
            spent[start:], limit / BURST_PARTS - 1, WINDOW_SECONDS / BURST_PARTS, now
        ),
    )


def _seconds_until_at_most(
    spent: list[tuple[float, int]], limit: float, window: float, now: float
) -> float:
    """Return the seconds until at most `limit`, or nothing, was spent in the last `window`."""
    excess = sum(amount for _, amount in spent) - limit
    delay = 0.0
    for began, amount in spent:
        if excess <= 0:
            break
        excess -= amount
        delay = began + window - now + WINDOW_MARGIN_SECONDS
    return delay


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


_shared: "WeakValueDictionary[tuple[str, str], Limiter]" = WeakValueDictionary()
_shared_lock = threading.Lock()


def shared_limiter(host: str, key: ApiKey | None, rates: Rates, concurrency: int) -> Limiter:
    """Return the limiter of `key` at `host`, one for all callers in this process.

    If callers give different limits, the lowest apply.
    """
    owner = (host, key.digest if key else "")
    with _shared_lock:
        limiter = _shared.get(owner)
        if limiter is None:
            limiter = _shared[owner] = Limiter(rates, concurrency)
        else:
            limiter.tighten(rates, concurrency)
        return limiter


class Limited(Generic[RequestT, AnswerT]):
    """A Service that waits for a Limiter before each request, and counts the answers.

    `max_pause`: the longest pause, in seconds, that a host may ask for.
    """

    def __init__(
        self,
        service: Service[RequestT, AnswerT],
        limiter: Limiter,
        usage: Usage,
        max_pause: float = math.inf,
    ) -> None:
        self._service = service
        self._limiter = limiter
        self._usage = usage
        self._max_pause = max_pause

    def call(self, request: RequestT) -> AnswerT:
        """Answer one request when its turn comes."""
        # Four bytes per token is about right for English; the bill corrects it.
        tokens = request.tokens or sum(len(text.encode()) // 4 + 1 for text in request.texts)
        turn = self._limiter.enter(tokens, request.stopped, self._max_pause)
        failure: Transient | None = None
        spent = 0
        try:
            answer = self._service.call(request)
            spent = answer.tokens
        except Transient as error:
            failure = error
            raise
        finally:
            self._limiter.leave(turn, failure, spent)
        self._usage.answered(len(request.texts), answer.tokens, request.tokens)
        return answer

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
