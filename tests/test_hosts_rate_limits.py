"""One limiter per key: rates tested on a fake clock, the rest on real threads and sockets."""

import gc
import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.catalog import BackendConfig, Rates
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.errors import BackendError, Interrupted
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.rate_limits import Limited, Limiter, Turn, shared_limiter
from ragctl.hosts.usage import Usage
from tests.servers import faults
from tests.servers.jina import JinaServer
from tests.waiting import until

NEVER = threading.Event()


class Clock:
    """A fake clock that advances only during sleep()."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        assert seconds > 0
        self.now += seconds


def limiter(clock: Clock, rates: Rates, concurrency: int = 1) -> Limiter:
    return Limiter(rates, concurrency, clock=clock, sleep=clock.sleep)


def send_all(
    clock: Clock, rates: Rates, requests: list[tuple[float, int]]
) -> list[tuple[float, int]]:
    """Send requests in sequence, each `gap` seconds after the previous; return the start times."""
    limits = limiter(clock, rates)
    began = []
    for gap, tokens in requests:
        clock.now += gap
        turn = limits.enter(tokens, NEVER)
        began.append((turn.began, tokens))
        limits.leave(turn)
    return began


@settings(max_examples=60)
@given(
    st.builds(
        Rates,
        st.none() | st.integers(1, 40),
        st.none() | st.integers(1, 2_000),
    ),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 1_500)), max_size=40),
)
def test_no_minute_exceeds_the_limit(rates: Rates, requests: list[tuple[float, int]]) -> None:
    began = send_all(Clock(), rates, requests)
    for start, _ in began:
        minute = [tokens for when, tokens in began if start <= when <= start + 60]
        assert rates.requests is None or len(minute) <= rates.requests
        # A request larger than the limit may be sent, but alone.
        assert rates.tokens is None or sum(minute) <= rates.tokens or len(minute) == 1


@settings(max_examples=30)
@given(st.integers(200, 20_000), st.integers(5, 100))
def test_limit_is_used_fully_and_evenly(limit: int, share: int) -> None:
    tokens = max(1, limit * share // 1_000)  # up to a tenth of the limit per minute
    clock = Clock()
    count = 3 * limit // tokens
    began = send_all(clock, Rates(tokens=limit), [(0.0, tokens)] * count)
    spent = count * tokens
    assert began[-1][0] - began[0][0] <= 60 * spent / limit * 1.15 + 6
    for start, _ in began:
        window = sum(amount for when, amount in began if start <= when <= start + 6)
        assert window < limit / 10 + tokens


def test_no_wait_without_rates() -> None:
    clock = Clock()
    before = clock.now
    send_all(clock, Rates(), [(0.0, 10**9)] * 1_000)
    assert clock.now == before


def test_billed_tokens_count_instead_of_the_estimate() -> None:
    clock = Clock()
    limits = limiter(clock, Rates(tokens=1_000))
    limits.leave(limits.enter(10, NEVER), spent=990)
    before = clock.now
    limits.enter(11, NEVER)
    assert 60 < clock.now - before < 61.1


def test_throttled_request_does_not_count() -> None:
    clock = Clock()
    limits = limiter(clock, Rates(tokens=1_000))
    limits.leave(limits.enter(900, NEVER), Transient("busy", throttled=True))
    before = clock.now
    limits.enter(900, NEVER)
    assert clock.now == before


def turns(limits: Limiter, count: int) -> list[Turn]:
    return [limits.enter(1, NEVER) for _ in range(count)]


def test_concurrency_halves_once_per_burst_of_429_and_recovers() -> None:
    clock = Clock()
    limits = limiter(clock, Rates(), concurrency=8)
    burst = turns(limits, 8)
    clock.now += 1
    for turn in burst:
        limits.leave(turn, Transient("busy", throttled=True))
    assert limits.allowed == 4
    [late] = turns(limits, 1)
    clock.now += 1
    limits.leave(late, Transient("busy", throttled=True))
    assert limits.allowed == 2
    allowed = []
    for _ in range(40):
        limits.leave(limits.enter(1, NEVER))
        allowed.append(limits.allowed)
    assert [len(list(group)) for _, group in itertools.groupby(allowed)][:4] == [1, 3, 4, 5]
    assert allowed[-1] == 8


def test_concurrency_stays_above_zero_and_ignores_other_failures() -> None:
    clock = Clock()
    limits = limiter(clock, Rates(), concurrency=4)
    limits.leave(limits.enter(1, NEVER), Transient("cut off"))
    assert limits.allowed == 4
    for _ in range(9):
        clock.now += 1
        limits.leave(limits.enter(1, NEVER), Transient("busy", throttled=True))
    assert limits.allowed == 1
    limits.enter(1, NEVER)


def test_pause_beyond_the_longest_wait_raises_at_once() -> None:
    """Otherwise all threads of a key with an exhausted daily quota would wait for the next day."""
    clock = Clock()
    limits = limiter(clock, Rates(), concurrency=4)
    limits.leave(limits.enter(1, NEVER), Transient("host: 429 quota", 3_600, throttled=True))
    before = clock.now
    with pytest.raises(Transient, match="host: 429 quota") as caught:
        limits.enter(1, NEVER, max_pause=120)
    assert (caught.value.retry_after, clock.now) == (3_600, before)
    limits.enter(1, NEVER, max_pause=3_600)
    assert clock.now >= before + 3_600


class Failing:
    """A wire that raises the given errors first, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def call(self, request: EmbeddingRequest) -> Embeddings:
        if self.failures:
            raise self.failures.pop(0)
        return Embeddings(np.ones((len(request.texts), 1), np.float32), tokens=7)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "failure", [Refused("too long"), BackendError("no credit"), Transient("down"), Interrupted()]
)
def test_failed_request_releases_its_slot(failure: Exception) -> None:
    usage = Usage()
    wire = Limited(Failing(failure), Limiter(Rates(), 1), usage)
    request = EmbeddingRequest("document", ("a", "b"), threading.Event())
    with pytest.raises(type(failure)):
        wire.call(request)
    wire.call(request)
    assert (usage.texts, usage.tokens, usage.estimated) == (2, 7, False)


def stopped_while(limits: Limiter) -> float:
    """Return how many seconds a waiting thread takes to notice that it is stopped."""
    stopped = threading.Event()
    ended: list[float] = []

    def wait() -> None:
        try:
            limits.enter(1, stopped)
        except Interrupted:
            ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    began = time.monotonic()
    stopped.set()
    thread.join(10)
    return ended[0] - began


def test_stop_ends_every_kind_of_wait() -> None:
    paused = Limiter(Rates(), 1)
    paused.leave(paused.enter(1, NEVER), Transient("busy", 60, throttled=True))
    spent = Limiter(Rates(requests=1), 1)
    spent.leave(spent.enter(1, NEVER))
    full = Limiter(Rates(), 1)
    full.enter(1, NEVER)
    for limits in (paused, spent, full):
        assert stopped_while(limits) < 0.6


def test_one_limiter_per_key_and_host() -> None:
    key, same, other = ApiKey("A", "secret"), ApiKey("B", "secret"), ApiKey("A", "another")
    first = shared_limiter("host", key, Rates(10, None), 8)
    assert shared_limiter("host", same, Rates(20, 500), 4) is first
    assert first.allowed == 4
    assert shared_limiter("host", other, Rates(), 8) is not first
    assert shared_limiter("elsewhere", key, Rates(), 8) is not first
    assert shared_limiter("host", None, Rates(), 8) is not first
    del first
    gc.collect()
    assert shared_limiter("host", key, Rates(), 8).allowed == 8


def connected(
    server: JinaServer, key: str = "k", rates: Rates | None = None, patience: float = 5.0
) -> Embedder:
    return connect(
        "jina-embeddings-v3",
        dim=32,
        backends=[BackendConfig("jina", server.url, concurrency=2, rates=rates)],
        environ={"JINA_API_KEY": key},
        patience=Patience(total=patience, first=0.001, read=10),
    )


def test_embedders_with_the_same_key_share_the_concurrency() -> None:
    with (
        JinaServer() as server,
        connected(server) as one,
        connected(server) as two,
        connected(server, "other") as other,
    ):
        server.gate.clear()
        threads = [
            threading.Thread(target=embedder.query, args=(f"text {n}",))
            for n, embedder in enumerate([one, two, one, two, other])
        ]
        for thread in threads:
            thread.start()
        until(lambda: server.in_flight == 3)  # two of the shared key, one of the other key
        threads[0].join(0.05)
        assert server.in_flight == 3
        server.gate.set()
        for thread in threads:
            thread.join(10)
        assert len(server.requests) == 5
        assert server.peak == 3


def test_retry_after_delays_every_request_of_the_key() -> None:
    with (
        JinaServer() as server,
        connected(server, patience=0.1) as impatient,
        connected(server) as patient,
        connected(server, "other") as other,
    ):
        server.faults.append(faults.busy("0.4"))
        with pytest.raises(BackendError, match="tried once; run again in"):
            impatient.query("first")
        began = time.monotonic()
        patient.query("second")
        assert time.monotonic() - began >= 0.3
        server.faults.append(faults.busy("30"))
        with pytest.raises(BackendError, match="tried once; run again in 30 s"):
            patient.query("third")
        with pytest.raises(BackendError, match=r"429 .* tried once; run again in 30 s or later"):
            patient.query("fourth")
        assert len(server.requests) == 3  # the fourth was not sent
        other.query("fifth")


def test_requests_per_minute_over_a_real_wire() -> None:
    """Two requests per minute: the second waits six seconds and is stopped while it waits."""
    with (
        JinaServer() as server,
        connected(server, rates=Rates(requests=2)) as embedder,
        embedder.stream() as stream,
    ):
        stream.add("a", "text a")
        assert [key for key, _ in stream.completed(block=True)] == ["a"]
        stream.add("b", "text b")
        stream.flush()
        until(lambda: stream.pending == 1)
        stream.stop()
        began = time.monotonic()
        while stream.pending:
            assert stream.completed(block=True) == []
        assert time.monotonic() - began < 3
        assert [text.text for text in server.texts] == ["text a"]
