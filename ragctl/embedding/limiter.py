"""One limiter a key: requests in flight, and requests and tokens a minute.

How many requests may be in flight adapts: halved when a host says that it has
too much to do, one more after as many answers in a row as are allowed at once.
"""

import threading
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from ragctl.catalog import Rates
from ragctl.embedding.base import Answer, Request, Transient, Wire
from ragctl.embedding.usage import Usage
from ragctl.errors import Interrupted

_BURST = 0.1  # share of a minute's limit that may go at once; the rest comes evenly, so that
_STEADY = 0.9  # no minute, wherever it begins, holds more than the limit
_LOOK = 0.1  # seconds between looks at `stopped` while waiting


class Limiter:
    """Lets requests through as one key's limits allow. Threads share it."""

    def __init__(
        self,
        rates: Rates,
        concurrency: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float], object] = lambda change, seconds: change.wait(
            seconds
        ),
    ) -> None:
        self._change = threading.Condition()
        self._clock = clock
        self._wait = wait
        self._most = concurrency
        self.allowed = concurrency
        self._flying = 0
        self._good = 0  # answers since `allowed` last changed
        self._not_before = 0.0
        self._halved = 0.0
        self._requests = _Bucket(rates.requests, clock())
        self._tokens = _Bucket(rates.tokens, clock())

    def enter(self, tokens: int, stopped: threading.Event) -> float:
        """Wait for a turn, and return when it began. Raises Interrupted once `stopped` is set."""
        with self._change:
            while True:
                if stopped.is_set():
                    raise Interrupted("stopped while waiting for a turn")
                now = self._clock()
                delay = max(
                    self._not_before - now,
                    self._requests.delay(1, now),
                    self._tokens.delay(tokens, now),
                )
                if delay <= 0 and self._flying < self.allowed:
                    self._requests.take(1)
                    self._tokens.take(tokens)
                    self._flying += 1
                    return now
                self._wait(self._change, min(delay, _LOOK) if delay > 0 else _LOOK)

    def leave(self, began: float, failure: Transient | None, spent: int, tokens: int) -> None:
        """End the turn that began then. `spent` tokens were billed where `tokens` were reckoned."""
        with self._change:
            self._flying -= 1
            if failure is None:
                self._tokens.take(spent - tokens if spent else 0)
                self._good += 1
                if self._good >= self.allowed and self.allowed < self._most:
                    self.allowed, self._good = self.allowed + 1, 0
            elif failure.throttled:
                now = self._clock()
                self._good = 0
                # Requests that set out together fail together: they count once.
                if began >= self._halved:
                    self.allowed, self._halved = max(1, self.allowed // 2), now
                if failure.retry_after is not None:
                    self._not_before = max(self._not_before, now + failure.retry_after)
            self._change.notify_all()


class _Bucket:
    """What is left of a limit a minute; negative after a request larger than the rest."""

    def __init__(self, limit: int | None, now: float) -> None:
        self._limit = limit
        self._left = limit * _BURST if limit else 0.0
        self._at = now

    def delay(self, amount: int, now: float) -> float:
        """Return the seconds until `amount` may go, or as much as ever may go at once."""
        if not self._limit:
            return 0.0
        rate, most = self._limit * _STEADY / 60, self._limit * _BURST
        self._left = min(most, self._left + (now - self._at) * rate)
        self._at = now
        return max(0.0, (min(amount, most) - self._left) / rate)

    def take(self, amount: int) -> None:
        if self._limit:
            self._left -= amount


_shared: "WeakValueDictionary[tuple[str, str], Limiter]" = WeakValueDictionary()
_shared_lock = threading.Lock()


def of_key(host: str, secret: str, rates: Rates, concurrency: int) -> Limiter:
    """Return the limiter of a key at a host, the same for everyone in this process."""
    with _shared_lock:
        found = _shared.get((host, secret))
        if found is None:
            found = _shared[host, secret] = Limiter(rates, concurrency)
        return found


class Limited:
    """A Wire that takes its turn at a Limiter before each request, and counts what came back."""

    def __init__(self, wire: Wire, limiter: Limiter, usage: Usage) -> None:
        self._wire = wire
        self._limiter = limiter
        self._usage = usage

    def embed(self, request: Request) -> Answer:
        # Four bytes a token is about right for English; the rest is settled by the bill.
        tokens = request.tokens or sum(len(text.encode()) // 4 + 1 for text in request.texts)
        began = self._limiter.enter(tokens, request.stopped)
        failure: Transient | None = None
        answer: Answer | None = None
        try:
            answer = self._wire.embed(request)
        except Transient as error:
            failure = error
            raise
        finally:
            self._limiter.leave(began, failure, answer.tokens if answer else 0, tokens)
        self._usage.answered(len(request.texts), answer.tokens, request.tokens)
        return answer

    def close(self) -> None:
        self._wire.close()
