"""Backoff on a fake clock: duration, number of attempts, and when it ends."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.errors import BackendError, Interrupted
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.retry import Patience, Retrying


class ScriptedWire:
    """A wire that raises the given errors, then answers; each attempt takes `seconds`."""

    def __init__(self, failures: list[Exception], seconds: float = 0.0) -> None:
        self.failures: Iterator[Exception] = iter(failures)
        self.seconds = seconds
        self.now = 0.0
        self.tries = 0
        self.slept: list[float] = []

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.tries += 1
        self.now += self.seconds
        for failure in self.failures:
            raise failure
        return Embeddings(np.ones((1, 1), np.float32), 1)

    def close(self) -> None:
        pass

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        self.slept.append(seconds)
        self.now += seconds


def embed(
    script: ScriptedWire, patience: Patience, request: EmbeddingRequest | None = None
) -> Embeddings:
    """Run with the maximum jitter, so that the waits are known."""
    retrying = Retrying(
        script,
        patience,
        clock=lambda: script.now,
        sleep=script.sleep,
        uniform=lambda low, high: high,
    )
    return retrying.call(request or EmbeddingRequest("document", ("text",), threading.Event()))


def test_backoff_doubles_up_to_its_cap() -> None:
    script = ScriptedWire([Transient("down")] * 6)
    embed(script, Patience(total=100, first=0.5, longest=5))
    assert script.slept == [0.5, 1, 2, 4, 5, 5]


def test_jitter_ranges_from_zero_to_the_backoff() -> None:
    spans: list[tuple[float, float]] = []
    script = ScriptedWire([Transient("down")] * 3)

    def uniform(low: float, high: float) -> float:
        spans.append((low, high))
        return 0.0

    Retrying(
        script, Patience(), clock=lambda: script.now, sleep=script.sleep, uniform=uniform
    ).call(EmbeddingRequest("document", ("text",), threading.Event()))
    assert spans == [(0, 0.5), (0, 1.0), (0, 2.0)]


def test_retry_after_is_respected() -> None:
    script = ScriptedWire([Transient("busy", retry_after=7.0), Transient("busy", retry_after=0.0)])
    embed(script, Patience(total=100, first=0.5))
    assert script.slept == [7.5, 0.5]


def test_retries_end_within_the_patience() -> None:
    script = ScriptedWire([Transient("host: 503 down")] * 99)
    with pytest.raises(BackendError) as caught:
        embed(script, Patience(total=10, first=1, longest=4))
    assert script.slept == [1, 2, 4]  # another 4 s would exceed the patience
    assert str(caught.value) == (
        "host: 503 down; tried 4 times in 7 s; run again later: what is stored is kept"
    )
    assert not isinstance(caught.value, Transient)


def test_second_attempt_is_made_however_long_the_first_took() -> None:
    script = ScriptedWire([Transient("no answer")], seconds=500)
    embed(script, Patience(total=120))
    assert script.tries == 2
    script = ScriptedWire([Transient("no answer")] * 2, seconds=500)
    with pytest.raises(BackendError):
        embed(script, Patience(total=120))


def test_waiting_for_the_rate_limit_does_not_count_as_failing() -> None:
    """A rate limit delays the first attempt; patience counts from the first failure."""
    script = ScriptedWire([Transient("down")] * 9)
    script.now = 0.0
    delayed = DelayedWire(script, 500)
    retrying = Retrying(
        delayed,
        Patience(total=10, first=1, longest=4),
        clock=lambda: script.now,
        sleep=script.sleep,
        uniform=lambda low, high: high,
    )
    with pytest.raises(BackendError, match="tried 4 times in 7 s"):
        retrying.call(EmbeddingRequest("document", ("text",), threading.Event()))


class DelayedWire:
    """A wire that delays its first attempt by `seconds` of the script's clock."""

    def __init__(self, script: ScriptedWire, seconds: float) -> None:
        self.script = script
        self.seconds = seconds

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.script.now += self.seconds
        self.seconds = 0.0
        return self.script.call(request)

    def close(self) -> None:
        pass


UNREACHABLE = Transient("host: connection refused", answered=False)


def test_address_that_never_answered_gets_the_shorter_patience() -> None:
    script = ScriptedWire([UNREACHABLE] * 99)
    with pytest.raises(BackendError) as caught:
        embed(script, Patience(total=100, unanswered=10, first=1, longest=4))
    assert str(caught.value) == (
        "host: connection refused; tried 4 times in 7 s, and no answer ever came: is the address "
        "right, and the host up?"
    )


@pytest.mark.parametrize(
    "answer", [None, Transient("503"), Refused("too long")], ids=["vectors", "503", "refusal"]
)
def test_any_answer_gives_the_full_patience(answer: Exception | None) -> None:
    failures: list[Exception] = [] if answer is None else [answer]
    script = ScriptedWire(failures)
    retrying = Retrying(
        script,
        Patience(total=20, unanswered=1, first=1, longest=4),
        clock=lambda: script.now,
        sleep=script.sleep,
        uniform=lambda low, high: high,
    )
    request = EmbeddingRequest("document", ("text",), threading.Event())
    try:
        retrying.call(request)
    except Refused:
        assert answer is not None
    script.failures = iter([UNREACHABLE] * 99)
    with pytest.raises(BackendError, match=r"tried 7 times in 19 s; run again later"):
        retrying.call(request)


def test_wait_longer_than_the_patience_raises_at_once() -> None:
    script = ScriptedWire([Transient("quota", retry_after=900)])
    with pytest.raises(BackendError, match="tried once; run again in 15 min or later"):
        embed(script, Patience(total=120))
    assert script.slept == []


def test_other_failures_are_not_retried() -> None:
    script = ScriptedWire([BackendError("no credit")])
    with pytest.raises(BackendError, match="no credit"):
        embed(script, Patience())
    assert script.tries == 1


def test_stopped_request_is_not_retried() -> None:
    script = ScriptedWire([Transient("down")] * 9)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        embed(script, Patience(), EmbeddingRequest("document", ("text",), stopped))
    assert script.tries == 1


def test_stop_ends_a_real_wait() -> None:
    stopped = threading.Event()
    threading.Timer(0.02, stopped.set).start()
    with pytest.raises(Interrupted):
        Retrying(ScriptedWire([Transient("down", retry_after=60)]), Patience()).call(
            EmbeddingRequest("document", ("text",), stopped)
        )
