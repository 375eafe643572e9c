"""One limiter a key: requests in flight, and requests and tokens a minute.

How many requests may be in flight adapts: halved when a host says that it has
too much to do, one more after as many answers in a row as are allowed at once.
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

_MINUTE = 60.0
_PART = 10  # a minute's limit is spread over so many parts, not spent in one burst
_AFTER = 0.001  # seconds: what began a minute ago to the instant still counts
_LOOK = 0.1  # seconds between looks at `stopped` while all turns are taken
_AGAIN = 1.0  # seconds until the rates are reckoned again: a bill may come to less than expected


@dataclass(slots=True, eq=False)
class Turn:
    """A request that was let through: when it began, and the tokens it counts for."""

    began: float
    tokens: int


class Limiter:
    """Lets requests through as one key's limits allow. Threads share it.

    In no 60 seconds does it let through more requests or tokens than `rates`
    says; a request that is larger than the limit goes alone.
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
        self._most = concurrency
        self.allowed = concurrency
        self._flying = 0
        self._good = 0  # answers since `allowed` last changed
        self._halved = -math.inf
        self._pause = -math.inf  # nothing goes before
        self._reason = ""
        self._recent: deque[Turn] = deque()  # of the last minute, oldest first

    def enter(self, tokens: int, stopped: threading.Event, longest: float = math.inf) -> Turn:
        """Wait for a turn. Raises Interrupted once `stopped` is set.

        Raises Transient, at once, when the host has asked for a pause of more
        than `longest` seconds.
        """
        while True:
            with self._change:
                if stopped.is_set():
                    raise Interrupted("stopped while waiting for a turn")
                now = self._clock()
                pause = self._pause - now
                if pause > longest:
                    raise Transient(self._reason, retry_after=pause, throttled=True)
                delay = max(pause, self._delay(tokens, now))
                if delay <= 0:
                    if self._flying < self.allowed:
                        turn = Turn(now, tokens)
                        self._recent.append(turn)
                        self._flying += 1
                        return turn
                    self._change.wait(_LOOK)
                    continue
            self._sleep(min(delay, _AGAIN), stopped)

    def leave(self, turn: Turn, failure: Transient | None = None, spent: int = 0) -> None:
        """End a turn, with the tokens that the host billed, where it says so."""
        with self._change:
            self._flying -= 1
            turn.tokens = spent or turn.tokens
            if failure is None:
                self._good += 1
                if self._good >= self.allowed and self.allowed < self._most:
                    self.allowed, self._good = self.allowed + 1, 0
            elif failure.throttled:
                turn.tokens = 0  # sent back unread
                self._throttle(turn, failure)
            self._change.notify_all()

    def tighten(self, rates: Rates, concurrency: int) -> None:
        """Keep within these limits as well."""
        with self._change:
            own = self._rates
            self._rates = Rates(
                _least(own.requests, rates.requests), _least(own.tokens, rates.tokens)
            )
            self._most = min(self._most, concurrency)
            self.allowed = min(self.allowed, self._most)

    def _throttle(self, turn: Turn, failure: Transient) -> None:
        now = self._clock()
        self._good = 0
        # Requests that set out together fail together: they count once.
        if turn.began >= self._halved:
            self.allowed, self._halved = max(1, self.allowed // 2), now
        if failure.retry_after is not None:
            self._pause = max(self._pause, now + failure.retry_after)
            self._reason = str(failure)

    def _delay(self, tokens: int, now: float) -> float:
        """Return the seconds until the rates let a request of so many tokens go."""
        recent, rates = self._recent, self._rates
        while recent and recent[0].began < now - _MINUTE:
            recent.popleft()
        delay = 0.0
        if rates.requests is not None:
            spent = [(turn.began, 1) for turn in recent]
            delay = _until(spent, 1, rates.requests, now)
        if rates.tokens is not None:
            spent = [(turn.began, turn.tokens) for turn in recent]
            delay = max(delay, _until(spent, tokens, rates.tokens, now))
        return delay


def _until(spent: list[tuple[float, int]], amount: int, limit: int, now: float) -> float:
    """Return the seconds until `amount` more is within a limit a minute.

    `spent` is how much at which time in the last minute, oldest first.
    """
    start = bisect_left(spent, (now - _MINUTE / _PART,))
    return max(
        _room(spent, limit - amount, _MINUTE, now),
        _room(spent[start:], limit / _PART - 1, _MINUTE / _PART, now),
    )


def _room(spent: list[tuple[float, int]], most: float, seconds: float, now: float) -> float:
    """Return the seconds until what was spent within so many is at most `most`, or nothing was."""
    excess = sum(amount for _, amount in spent) - most
    delay = 0.0
    for began, amount in spent:
        if excess <= 0:
            break
        excess -= amount
        delay = began + seconds - now + _AFTER
    return delay


def _least(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


_shared: "WeakValueDictionary[tuple[str, str], Limiter]" = WeakValueDictionary()
_shared_lock = threading.Lock()


def shared_limiter(host: str, key: ApiKey | None, rates: Rates, concurrency: int) -> Limiter:
    """Return the limiter of a key at a host, the same for everyone in this process.

    Those who state different limits share the tightest.
    """
    whose = (host, key.digest if key else "")
    with _shared_lock:
        found = _shared.get(whose)
        if found is None:
            found = _shared[whose] = Limiter(rates, concurrency)
        else:
            found.tighten(rates, concurrency)
        return found


class Limited(Generic[RequestT, AnswerT]):
    """A Service that takes its turn at a Limiter before each request, and counts what came back.

    `longest` is how many seconds a pause that the host asks for may last.
    """

    def __init__(
        self,
        service: Service[RequestT, AnswerT],
        limiter: Limiter,
        usage: Usage,
        longest: float = math.inf,
    ) -> None:
        self._service = service
        self._limiter = limiter
        self._usage = usage
        self._longest = longest

    def call(self, request: RequestT) -> AnswerT:
        # Four bytes a token is about right for English; the rest is settled by the bill.
        tokens = request.tokens or sum(len(text.encode()) // 4 + 1 for text in request.texts)
        turn = self._limiter.enter(tokens, request.stopped, self._longest)
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
        self._service.close()
