"""The stream: batches, requests in flight, back-pressure, and results after stop or failure."""

import json
import math
import signal
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, RequestLimits
from ragctl.embedding import DocumentStream, Embedder, Options, Patience, connect
from ragctl.errors import BackendError, DocumentError, Interrupted
from tests.servers import faults
from tests.servers.jina import JinaServer
from tests.waiting import until


def connected(
    server: JinaServer, limits: RequestLimits, concurrency: int = 1, total: float = 0.05
) -> Embedder:
    embedder = connect(
        "jina-embeddings-v3",
        dim=32,
        backends=[BackendConfig(base_url=server.url, concurrency=concurrency)],
        environ={"JINA_API_KEY": "k"},
        patience=Patience(total=total, first=0.001, read=10),
    )
    embedder.limits = limits
    return embedder


def drain(stream: DocumentStream[int], results: dict[int, object]) -> None:
    while stream.pending:
        results.update(stream.completed(block=True))


def drained(stream: DocumentStream[int]) -> dict[int, object]:
    results: dict[int, object] = {}
    drain(stream, results)
    return results


def fill(stream: DocumentStream[int], count: int) -> None:
    for n in range(count):
        stream.add(n, f"text {n}")


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 24, 25])
def test_one_request_per_batch(count: int) -> None:
    texts = [f"text {n}" for n in range(count)]
    with JinaServer() as server, connected(server, RequestLimits(texts=8), 3) as embedder:
        vectors = embedder.documents(texts)
        assert len(server.requests) == math.ceil(count / 8)
        assert vectors.shape == (count, 32)
        assert embedder.usage.texts == count
        for text, vector in zip(texts, vectors, strict=True):
            np.testing.assert_array_equal(embedder.documents([text])[0], vector)


@pytest.mark.parametrize(
    "limits",
    [
        RequestLimits(100, tokens=400),
        RequestLimits(100, bytes=900),
        RequestLimits(3, tokens=150, bytes=700),
    ],
)
def test_requests_stay_within_the_limits(limits: RequestLimits) -> None:
    texts = [("слово " * (n % 7) + 'a"b\n' * (n % 5) + str(n)).strip() for n in range(60)]
    with JinaServer() as server, connected(server, limits) as embedder:
        embedder.documents(texts)
        bodies = [request.body for request in server.requests]
    assert [text for body in bodies for text in body["input"]] == texts
    for body in bodies:
        sent = body["input"]
        assert len(sent) <= limits.texts
        assert sum(len(text.encode()) for text in sent) <= (limits.tokens or math.inf)
        whole = json.dumps(body, ensure_ascii=False).encode()
        assert len(whole) <= (limits.bytes or math.inf)
    if limits.bytes is None:  # and requests are filled as far as the limits allow
        for body, following in pairwise(bodies):
            more = [*body["input"], following["input"][0]]
            assert sum(len(text.encode()) + 60 for text in more) > (limits.tokens or 0)


def test_text_over_every_limit_is_sent_alone() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(9, tokens=50, bytes=600)) as embedder,
    ):
        embedder.documents(["a", "b" * 500, "c"])
        assert [len(request.body["input"]) for request in server.requests] == [1, 1, 1]


def test_add_blocks_while_the_queue_is_full() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(texts=1), concurrency=2) as embedder,
        embedder.stream() as stream,
    ):
        server.gate.clear()
        added: list[int] = []

        def add() -> None:
            for n in range(20):
                stream.add(n, f"text {n}")
                added.append(n)

        adder = threading.Thread(target=add)
        adder.start()
        until(lambda: server.in_flight == 2 and len(added) == 4)
        adder.join(0.05)
        assert len(added) == 4  # two in flight, two queued; the fifth call of add() blocks
        assert stream.completed(block=False) == []
        server.gate.set()
        adder.join(10)
        assert sorted(drained(stream)) == list(range(20))
        assert server.peak == 2


def test_blocking_completed_sends_a_partial_batch() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(texts=8)) as embedder,
        embedder.stream() as stream,
    ):
        stream.add("key", "text")
        assert stream.completed(block=False) == []
        assert (stream.pending, len(server.requests)) == (1, 0)
        [(key, vector)] = stream.completed(block=True)
        assert key == "key"
        assert isinstance(vector, np.ndarray)
        assert vector.shape == (32,)
        assert stream.pending == 0
        assert stream.completed(block=True) == []


def test_invalid_texts_are_not_sent() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(texts=8)) as embedder,
        embedder.stream() as stream,
    ):
        stream.add(1, " \n")
        stream.add(2, "a\ud800")
        results = drained(stream)
        assert server.requests == []
    assert {key: str(value) for key, value in results.items()} == {
        1: "the text is empty",
        2: "the text is not valid Unicode (a lone surrogate)",
    }
    assert all(isinstance(value, DocumentError) for value in results.values())


def test_finished_batches_are_returned_when_another_fails() -> None:
    """Two of three batches in flight succeed; the third finds the account empty."""
    with (
        JinaServer(credit=8) as server,
        connected(server, RequestLimits(texts=4), concurrency=3) as embedder,
        embedder.stream() as stream,
    ):
        server.gate.clear()
        fill(stream, 12)
        until(lambda: server.in_flight == 3)
        server.gate.set()
        results: dict[int, object] = {}
        with pytest.raises(BackendError, match="balance"):
            drain(stream, results)
        paid = {text.text for text in server.texts}
        assert {f"text {n}" for n in results} == paid
        assert len(paid) == 8
        with pytest.raises(BackendError):
            stream.add(99, "more")


def test_failed_stream_sends_nothing_more() -> None:
    with (
        JinaServer(credit=2) as server,
        connected(server, RequestLimits(texts=2)) as embedder,
        embedder.stream() as stream,
    ):
        results: dict[int, object] = {}

        def ingest() -> None:
            for n in range(100):
                stream.add(n, f"text {n}")
                results.update(stream.completed(block=False))

        with pytest.raises(BackendError, match="balance"):
            ingest()
        assert sorted(results) == [0, 1]
        assert len(server.requests) == 2


def test_unretrieved_failure_is_raised_on_exit() -> None:
    with JinaServer(credit=0) as server, connected(server, RequestLimits(texts=1)) as embedder:

        def ingest() -> None:
            with embedder.stream() as stream:
                stream.add(1, "text")
                until(lambda: len(server.requests) == 1 and server.in_flight == 0)
                until(lambda: not any(t.name == "embedding" for t in threading.enumerate()))

        with pytest.raises(BackendError, match="balance"):
            ingest()


def test_finished_halves_of_a_refused_batch_are_returned_before_a_failure() -> None:
    """The batch is refused because of one text; its first half succeeds, then the credit ends."""
    texts = ["a", "b", "c", "far too long " * 9]
    with (
        JinaServer(credit=2, context=20) as server,
        connected(server, RequestLimits(texts=4)) as embedder,
        embedder.stream() as stream,
    ):
        for n, text in enumerate(texts):
            stream.add(n, text)
        results: dict[int, object] = {}
        with pytest.raises(BackendError, match="balance"):
            drain(stream, results)
        assert sorted(results) == [0, 1]


@pytest.mark.parametrize("bad", [0, 31, 63])
def test_bad_text_is_found_by_bisection(bad: int) -> None:
    """Bisection takes twice the logarithm of the batch, and sends no good text twice."""
    texts = [f"text {n}" for n in range(64)]
    texts[bad] = "far too long " * 9
    with (
        JinaServer(context=20) as server,
        connected(server, RequestLimits(texts=64)) as embedder,
        embedder.stream() as stream,
    ):
        for n, text in enumerate(texts):
            stream.add(n, text)
        results = drained(stream)
        embedded = [text.text for text in server.texts]
    assert {n for n, r in results.items() if isinstance(r, DocumentError)} == {bad}
    assert sorted(embedded) == sorted(set(texts) - {texts[bad]})
    assert len(server.requests) == 1 + 2 * int(math.log2(64))


def late_chunking_embedder(
    server: JinaServer, limits: RequestLimits, concurrency: int = 1
) -> Embedder:
    embedder = connect(
        "jina-embeddings-v3",
        dim=32,
        backends=[BackendConfig(base_url=server.url, concurrency=concurrency)],
        environ={"JINA_API_KEY": "k"},
        patience=Patience(total=0.05, first=0.001, read=10),
        options=Options(late_chunking=True),
    )
    embedder.limits = limits
    return embedder


def test_texts_embedded_together_share_one_request() -> None:
    with (
        JinaServer() as server,
        late_chunking_embedder(server, RequestLimits(texts=4)) as embedder,
        embedder.stream() as stream,
    ):
        stream.add("a", "before")
        stream.add_together([("b", "one", 1), ("c", "two", 1), ("d", "three", 1)])
        stream.add_together([("e", "four", 1)])
        stream.add("f", "after")
        results: dict[str, object] = {}
        while stream.pending:
            results.update(stream.completed(block=True))
        bodies = [(r.body["input"], r.body.get("late_chunking")) for r in server.requests]
    assert bodies == [
        (["before"], None),
        (["one", "two", "three"], True),
        (["four"], True),
        (["after"], None),
    ]
    assert sorted(results) == list("abcdef")
    assert not any(isinstance(result, DocumentError) for result in results.values())


def test_texts_embedded_together_over_the_context_are_split_in_halves() -> None:
    """The host counts tokens differently; half a context is better than no vector."""
    with (
        JinaServer(context=20) as server,
        late_chunking_embedder(server, RequestLimits(texts=4)) as embedder,
        embedder.stream() as stream,
    ):
        stream.add_together([(1, "one", 1), (2, "far too long " * 9, 30), (3, "three", 1)])
        results = drained(stream)
        sent = [request.body["input"] for request in server.requests]
        assert [len(texts) for texts in sent] == [3, 2, 1, 1, 1]
        assert all(request.body["late_chunking"] for request in server.requests)
        server.requests.clear()
        stream.add_together([(4, "four", 1), (5, " ", 0)])
        stream.add_together([(n, f"text {n}", 1) for n in range(6, 11)])
        results |= drained(stream)
        assert len(server.requests) == 0
    assert sorted(results) == list(range(1, 11))
    messages = {n: str(result) for n, result in results.items() if n not in (1, 3)}
    assert "context" in messages[2]
    assert messages[4] == messages[5] == "the text is empty"
    assert messages[6] == "its 5 chunks are more than the 4 of one request: make them larger"
    assert {n for n, r in results.items() if not isinstance(r, DocumentError)} == {1, 3}


def test_failed_or_stopped_stream_refuses_more_texts() -> None:
    with (
        JinaServer(credit=0) as server,
        late_chunking_embedder(server, RequestLimits(texts=4)) as embedder,
        embedder.stream() as stream,
    ):
        stream.add_together([(1, "one", 1), (2, "two", 1)])
        with pytest.raises(BackendError, match="balance"):
            drain(stream, {})
        with pytest.raises(BackendError, match="balance"):
            stream.add_together([(3, "three", 1)])
        stream.stop()
        with pytest.raises(Interrupted):
            stream.add_together([(4, "four", 1)])
        assert len(server.requests) == 1


def test_stop_finishes_requests_in_flight() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(texts=1), concurrency=2) as embedder,
        embedder.stream() as stream,
    ):
        server.gate.clear()
        fill(stream, 4)
        until(lambda: server.in_flight == 2)
        stream.stop()
        server.gate.set()
        results = drained(stream)
        assert {f"text {n}" for n in results} == {text.text for text in server.texts}
        assert len(results) == 2
        with pytest.raises(Interrupted):
            stream.add(9, "more")


def test_stop_from_a_signal_handler_ends_a_waiting_add() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(texts=1)) as embedder,
        embedder.stream() as stream,
    ):
        server.gate.clear()
        fill(stream, 1)
        until(lambda: server.in_flight == 1)
        before = signal.signal(signal.SIGALRM, lambda *_: stream.stop())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                fill(stream, 100)
        finally:
            signal.signal(signal.SIGALRM, before)
        server.gate.set()
        assert sorted(drained(stream)) == [0]


def test_stop_ends_a_wait_between_retries() -> None:
    with (
        JinaServer() as server,
        connected(server, RequestLimits(texts=1), total=60) as embedder,
        embedder.stream() as stream,
    ):
        server.faults.append(faults.busy(30))
        stream.add(1, "text")
        until(lambda: len(server.requests) == 1 and server.in_flight == 0)
        began = time.monotonic()
        stream.stop()
        assert drained(stream) == {}
        assert time.monotonic() - began < 5
        assert server.texts == []


def test_stream_of_an_in_process_model() -> None:
    with connect("builtin", dim=64, environ={}) as embedder:
        embedder.limits = RequestLimits(texts=3)
        with embedder.stream() as stream:
            for n in range(10):
                stream.add(n, f"word{n} text")
            results = drained(stream)
        assert sorted(results) == list(range(10))
        assert (embedder.usage.requests, embedder.usage.texts) == (0, 10)
        np.testing.assert_array_equal(results[4], embedder.query("word4 text"))
