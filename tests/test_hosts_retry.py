"""Backoff on a clock of its own: how long, how often, and when it ends."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.errors import BackendError, Interrupted
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.retry import Patience, Retrying


class Script:
    """A wire that fails as it is told, then answers; each try takes `seconds` of its clock."""

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
    script: Script, patience: Patience, request: EmbeddingRequest | None = None
) -> Embeddings:
    """Run with the longest jitter, so that the waits are known."""
    retrying = Retrying(
        script,
        patience,
        clock=lambda: script.now,
        sleep=script.sleep,
        uniform=lambda least, most: most,
    )
    return retrying.call(request or EmbeddingRequest("document", ("text",), threading.Event()))


def test_backoff_doubles_up_to_its_cap() -> None:
    script = Script([Transient("down")] * 6)
    embed(script, Patience(total=100, first=0.5, longest=5))
    assert script.slept == [0.5, 1, 2, 4, 5, 5]


def test_jitter_spans_from_nothing_to_the_backoff() -> None:
    spans: list[tuple[float, float]] = []
    script = Script([Transient("down")] * 3)

    def uniform(least: float, most: float) -> float:
        spans.append((least, most))
        return 0.0

    Retrying(
        script, Patience(), clock=lambda: script.now, sleep=script.sleep, uniform=uniform
    ).call(EmbeddingRequest("document", ("text",), threading.Event()))
    assert spans == [(0, 0.5), (0, 1.0), (0, 2.0)]


def test_the_time_a_host_asks_for_is_given() -> None:
    script = Script([Transient("busy", retry_after=7.0), Transient("busy", retry_after=0.0)])
    embed(script, Patience(total=100, first=0.5))
    assert script.slept == [7.5, 0.5]


def test_it_ends_within_its_patience() -> None:
    script = Script([Transient("host: 503 down")] * 99)
    with pytest.raises(BackendError) as caught:
        embed(script, Patience(total=10, first=1, longest=4))
    assert script.slept == [1, 2, 4]  # another 4 would be too many
    assert str(caught.value) == (
        "host: 503 down; tried 4 times in 7 s; run again later: what is stored is kept"
    )
    assert not isinstance(caught.value, Transient)


def test_a_second_try_is_made_however_long_the_first_took() -> None:
    script = Script([Transient("no answer")], seconds=500)
    embed(script, Patience(total=120))
    assert script.tries == 2
    script = Script([Transient("no answer")] * 2, seconds=500)
    with pytest.raises(BackendError):
        embed(script, Patience(total=120))


def test_waiting_for_a_turn_is_not_counted_as_failing() -> None:
    """The first try begins late, behind a limit of rates; patience begins with its failure."""
    script = Script([Transient("down")] * 9)
    script.now = 0.0
    late = Late(script, 500)
    retrying = Retrying(
        late,
        Patience(total=10, first=1, longest=4),
        clock=lambda: script.now,
        sleep=script.sleep,
        uniform=lambda least, most: most,
    )
    with pytest.raises(BackendError, match="tried 4 times in 7 s"):
        retrying.call(EmbeddingRequest("document", ("text",), threading.Event()))


class Late:
    """A wire whose first try is held back for so many seconds of the script's clock."""

    def __init__(self, script: Script, seconds: float) -> None:
        self.script = script
        self.seconds = seconds

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.script.now += self.seconds
        self.seconds = 0.0
        return self.script.call(request)

    def close(self) -> None:
        pass


NOBODY = Transient("host: connection refused", answered=False)


def test_an_address_that_never_answered_gets_the_shorter_patience() -> None:
    script = Script([NOBODY] * 99)
    with pytest.raises(BackendError) as caught:
        embed(script, Patience(total=100, unanswered=10, first=1, longest=4))
    assert str(caught.value) == (
        "host: connection refused; tried 4 times in 7 s, and no answer ever came: is the address "
        "right, and the host up?"
    )


@pytest.mark.parametrize(
    "answer", [None, Transient("503"), Refused("too long")], ids=["vectors", "503", "refusal"]
)
def test_one_answer_of_any_kind_earns_the_whole_patience(answer: Exception | None) -> None:
    failures: list[Exception] = [] if answer is None else [answer]
    script = Script(failures)
    retrying = Retrying(
        script,
        Patience(total=20, unanswered=1, first=1, longest=4),
        clock=lambda: script.now,
        sleep=script.sleep,
        uniform=lambda least, most: most,
    )
    request = EmbeddingRequest("document", ("text",), threading.Event())
    try:
        retrying.call(request)
    except Refused:
        assert answer is not None
    script.failures = iter([NOBODY] * 99)
    with pytest.raises(BackendError, match=r"tried 7 times in 19 s; run again later"):
        retrying.call(request)


def test_too_long_a_wait_is_refused_at_once() -> None:
    script = Script([Transient("quota", retry_after=900)])
    with pytest.raises(BackendError, match="tried once; run again in 900 s or later"):
        embed(script, Patience(total=120))
    assert script.slept == []


def test_other_failures_are_not_tried_again() -> None:
    script = Script([BackendError("no credit")])
    with pytest.raises(BackendError, match="no credit"):
        embed(script, Patience())
    assert script.tries == 1


def test_a_stopped_request_is_not_tried_again() -> None:
    script = Script([Transient("down")] * 9)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        embed(script, Patience(), EmbeddingRequest("document", ("text",), stopped))
    assert script.tries == 1


def test_the_real_wait_ends_when_the_request_is_stopped() -> None:
    stopped = threading.Event()
    threading.Timer(0.02, stopped.set).start()
    with pytest.raises(Interrupted):
        Retrying(Script([Transient("down", retry_after=60)]), Patience()).call(
            EmbeddingRequest("document", ("text",), stopped)
        )
