"""One line for each outage of a host: who, why, how long, and what may help."""

import threading

import numpy as np
import pytest

from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.errors import BackendError
from ragctl.hosts.errors import Transient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.outage import OutageNotice, duration, outage_advice
from ragctl.hosts.retry import Patience, Retrying

URL = "http://127.0.0.1:11434"
REFUSED = Transient("127.0.0.1:11434: [Errno 111] Connection refused", answered=False)


ANSWER = Embeddings(np.ones((1, 1), np.float32), 1)


def request() -> EmbeddingRequest:
    return EmbeddingRequest("document", ("text",), threading.Event())


class Clock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float, stopped: threading.Event) -> None:
        self.now += seconds


class Host:
    """Raises its failures one after the other, then answers."""

    def __init__(self, *failures: Transient) -> None:
        self.failures = list(failures)

    def call(self, asked: EmbeddingRequest) -> Embeddings:
        if self.failures:
            raise self.failures.pop(0)
        return ANSWER

    def close(self) -> None:
        pass


def tried(*failures: Transient, patience: Patience | None = None) -> list[str]:
    """Return the lines about a request that fails so often and is then answered."""
    lines: list[str] = []
    clock = Clock()
    advice = outage_advice("ollama", URL, (), None)
    notice = OutageNotice("ollama", lines.append, advice, clock=clock)
    service = Retrying(
        Host(*failures),
        patience or Patience(),
        clock=clock,
        sleep=clock.sleep,
        uniform=lambda low, high: high,
        notice=notice,
    )
    assert service.call(request()) is ANSWER
    return lines


def test_the_first_failure_is_reported_and_the_end() -> None:
    assert tried(*[REFUSED] * 5) == [
        "ollama fails: 127.0.0.1:11434: [Errno 111] Connection refused; trying again for up to "
        "2 min; is the server running (`ollama serve`), and on port 11434?",
        "ollama answers again after 16 s",
    ]


def test_the_end_of_a_short_outage_is_not_reported() -> None:
    assert len(tried(REFUSED, REFUSED)) == 1


def test_no_failure_no_line() -> None:
    assert tried() == []


def test_a_wait_that_the_host_asks_for_is_named() -> None:
    (line, _) = tried(Transient("host: 503 busy", retry_after=30, status=503))
    assert line == (
        "ollama fails: host: 503 busy; waiting 30 s as it asks, and trying again for up to 2 min; "
        "is it still loading the model? See its log"
    )


def test_a_host_that_is_given_up_has_no_end() -> None:
    lines: list[str] = []
    clock = Clock()
    notice = OutageNotice("ollama", lines.append, lambda failure: "advice", clock=clock)
    service = Retrying(
        Host(*[REFUSED] * 100), Patience(), clock=clock, sleep=clock.sleep, notice=notice
    )
    with pytest.raises(BackendError, match="no answer ever came"):
        service.call(request())
    assert len(lines) == 1


def test_a_wait_longer_than_the_patience_is_an_error_not_an_outage() -> None:
    lines: list[str] = []
    notice = OutageNotice("host", lines.append, lambda failure: "advice")
    failure = Transient("host: 429 slow down", retry_after=3600)
    service = Retrying(Host(failure), Patience(), notice=notice)
    with pytest.raises(BackendError, match="run again in 60 min"):
        service.call(request())
    assert lines == []


def test_requests_that_fail_together_are_one_outage() -> None:
    lines: list[str] = []
    clock = Clock()
    notice = OutageNotice("host", lines.append, lambda failure: "advice", clock=clock)
    for _ in range(3):
        notice.failed(REFUSED, first=True, patience=20)
    clock.now = 10.0
    notice.ended(answered=True)
    notice.ended(answered=True)
    assert len(lines) == 1  # one request still fails
    notice.ended(answered=True)
    assert lines[1:] == ["host answers again after 10 s"]


def test_a_host_that_fails_now_and_then_is_reported_once_a_minute() -> None:
    lines: list[str] = []
    clock = Clock()
    notice = OutageNotice("host", lines.append, lambda failure: "advice", clock=clock)
    for _ in range(120):
        notice.failed(REFUSED, first=True, patience=20)
        notice.ended(answered=True)
        clock.now += 1.0
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("name", "url", "keys", "key", "failure", "words"),
    [
        ("tei", "http://localhost", (), None, REFUSED, "`text-embeddings-router`), and on"),
        ("router", "http://localhost", (), None, REFUSED, "is the server running, and on port 80?"),
        ("jina", "https://api.jina.ai/v1", (), None, REFUSED, "https://api.jina.ai/v1 right"),
        ("router", "https://host", ("A_KEY",), None, Transient("503"), "set A_KEY"),
        ("jina", "https://host", ("A",), ApiKey("A", "x"), Transient("429", status=429), "of A?"),
        ("jina", "https://host", ("A",), ApiKey("A", "x"), Transient("", status=503), "status"),
    ],
)  # fmt: skip
def test_what_may_help(
    name: str, url: str, keys: tuple[str, ...], key: ApiKey | None, failure: Transient, words: str
) -> None:
    assert words in outage_advice(name, url, keys, key)(failure)


def test_durations() -> None:
    found = [duration(seconds) for seconds in (0.2, 20, 119, 120, 7200, float("inf"))]
    assert found == ["1 s", "20 s", "119 s", "2 min", "2 h", "ever"]
