"""Whether a refusal is due to a text, or the host would refuse anything."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from ragctl.catalog import BackendConfig, RequestLimits
from ragctl.embedding import DocumentStream, Embedder, Options, Patience, connect
from ragctl.errors import BackendError, DocumentError
from tests.servers import faults
from tests.servers.faults import Fault
from tests.servers.host import Job, Refusal, Text
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer

PATIENCE = Patience(total=0.2, first=0.001, longest=0.01, read=10)
BAD = "far too long " * 9
REFUSAL = faults.text(400, b'{"error": {"message": "no"}}')


class VagueServer(OpenAIServer):
    """A host that refuses a long text without giving the length as the reason."""

    def check_length(self, texts: list[Text], context: int, refusal: Refusal) -> None:
        super().check_length(texts, context, Refusal(400, "bad request"))


def connected(server: OpenAIServer, texts: int = 64) -> Embedder:
    embedder = connect(
        "text-embedding-3-small",
        dim=64,
        backends=[BackendConfig(base_url=server.url, concurrency=1)],
        environ={"OPENAI_API_KEY": "k"},
        patience=PATIENCE,
    )
    embedder.limits = RequestLimits(texts=texts)
    return embedder


def outcomes(embedder: Embedder, texts: Sequence[str]) -> dict[int, object]:
    found: dict[int, object] = {}
    with embedder.stream() as stream:
        for n, text in enumerate(texts):
            stream.add(n, text)
        drain(stream, found)
    return found


def drain(stream: DocumentStream[int], found: dict[int, object]) -> None:
    while stream.pending:
        found.update(stream.completed(block=True))


def refused_texts(found: dict[int, object]) -> set[int]:
    return {n for n, outcome in found.items() if isinstance(outcome, DocumentError)}


@pytest.mark.parametrize("bad", [0, 37, 63])
def test_text_is_blamed_only_after_a_probe_passed(bad: int) -> None:
    texts = [f"text {n}" for n in range(64)]
    texts[bad] = BAD
    with VagueServer(context=20) as server, connected(server) as embedder:
        assert refused_texts(outcomes(embedder, texts)) == {bad}
        inputs = [request.body["input"] for request in server.requests]
    plain = [n for n, texts in enumerate(inputs) if texts == ["text"]]
    alone = inputs.index([BAD])
    assert plain == [1, alone + 1]  # after the first refusal, and after that of the bad text
    assert len(inputs) == 1 + 2 * int(math.log2(64)) + len(plain)


def test_host_that_refuses_everything_is_detected_after_one_probe() -> None:
    with OpenAIServer() as server, connected(server) as embedder:
        server.faults += [REFUSAL] * 100
        with pytest.raises(BackendError, match="a plain one-word text is refused too"):
            embedder.documents([f"text {n}" for n in range(64)])
        assert len(server.requests) == 2


@pytest.mark.parametrize("texts", [1, 16])
def test_host_that_starts_to_refuse_everything_blames_no_text(texts: int) -> None:
    with OpenAIServer() as server, connected(server, texts) as embedder:
        server.faults += [Fault()] * 3 + [REFUSAL] * 100
        found: dict[int, object] = {}
        with embedder.stream() as stream:
            for n in range(4 * texts):
                stream.add(n, f"text {n}")
                if stream.pending >= 2 * texts:
                    found.update(stream.completed(block=True))
            with pytest.raises(BackendError, match="a plain one-word text is refused too"):
                drain(stream, found)
        assert sorted(found) == list(range(3 * texts))
        assert refused_texts(found) == set()
        assert len(server.requests) == 3 + 1 + int(math.log2(texts)) + 1


def test_no_probe_when_the_host_blames_the_text() -> None:
    with (
        JinaServer(context=20) as server,
        connect(
            "jina-embeddings-v3",
            dim=32,
            backends=[BackendConfig(base_url=server.url)],
            environ={"JINA_API_KEY": "k"},
        ) as embedder,
    ):
        assert refused_texts(outcomes(embedder, [BAD])) == {0}
        assert len(server.requests) == 1


def test_each_side_is_probed_separately() -> None:
    """A host may accept documents and refuse every query because of its parameters."""
    with OpenAIServer() as server, connected(server) as embedder:
        embedder.documents(["one", "two"])
        server.faults += [REFUSAL] * 2
        with pytest.raises(BackendError, match="a plain one-word text is refused too"):
            embedder.query("question")
        server.faults.clear()
        embedder.query("question")
        assert len(server.requests) == 4


def test_late_chunking_probe_uses_late_chunking() -> None:
    with (
        JinaServer() as server,
        connect(
            "jina-embeddings-v3",
            dim=32,
            backends=[BackendConfig(base_url=server.url)],
            environ={"JINA_API_KEY": "k"},
            patience=PATIENCE,
            options=Options(late_chunking=True),
        ) as embedder,
        embedder.stream() as stream,
    ):
        refusal = faults.text(400, b'{"detail": {"message": "no", "code": "INPUT_INVALID"}}')
        server.faults += [refusal]
        stream.add_together([(1, "one", 1), (2, "two", 1)])
        found: dict[int, object] = {}
        drain(stream, found)
        bodies = [(r.body["input"], r.body["late_chunking"]) for r in server.requests]
        assert bodies == [
            (["one", "two"], True),
            (["text"], True),
            (["one"], True),
            (["two"], True),
        ]
        assert refused_texts(found) == set()
        server.faults += [refusal] * 3
        stream.add_together([(3, "three", 1), (4, "four", 1)])
        with pytest.raises(BackendError, match="a plain one-word text is refused too"):
            drain(stream, found)


class SmallServer(OpenAIServer):
    """A host behind a proxy that fails with `status` on more than `limit` texts."""

    def __init__(self, limit: int, status: int, message: str = "no answer in time") -> None:
        super().__init__()
        self.limit, self.refusal = limit, Refusal(status, message)

    def parse(self, body: Any) -> Job:
        job = super().parse(body)
        if len(job.texts) > self.limit:
            raise self.refusal
        return job


def sizes(server: OpenAIServer) -> list[int]:
    return [len(request.body["input"]) for request in server.requests]


@pytest.mark.parametrize("status", [429, 500, 502, 504, 524])
def test_batch_that_always_fails_is_sent_in_parts_and_the_size_is_kept(status: int) -> None:
    texts = [f"text {n}" for n in range(96)]
    with SmallServer(9, status) as server, connected(server, 32) as embedder:
        found = outcomes(embedder, texts)
        assert sorted(found) == list(range(96))
        assert not refused_texts(found)
        assert embedder.batch_sizes == {embedder.backends[0].name: 8}
        too_large = [size for size in sizes(server) if size > 9]
        # The two batches that were full before the size was known are sent in parts at once.
        assert sorted(set(too_large)) == [16, 32]
        assert len(too_large) <= 2 * 4
        server.requests.clear()
        outcomes(embedder, [f"more {n}" for n in range(20)])
        assert sizes(server) == [8, 8, 4]


def test_outage_that_ends_before_the_probe_makes_no_batch_smaller() -> None:
    with OpenAIServer() as server, connected(server, 16) as embedder:
        server.faults += [faults.failing(502)] * 3
        found = outcomes(embedder, [f"text {n}" for n in range(16)])
        assert sorted(found) == list(range(16))
        assert not refused_texts(found)
        assert embedder.batch_sizes == {}
        assert sizes(server) == [16, 16, 16, 1, 16]


def test_outage_after_a_known_failure_makes_no_batch_smaller() -> None:
    with OpenAIServer() as server, connected(server, 16) as embedder:
        server.forbidden["POISON"] = 500
        assert refused_texts(outcomes(embedder, ["POISON", "another"])) == {0}
        server.requests.clear()
        body = b'{"error": {"message": "a text contains POISON"}}'
        server.faults += [Fault(500, body=body)]
        assert not refused_texts(outcomes(embedder, [f"text {n}" for n in range(16)]))
        assert embedder.batch_sizes == {}
        assert sizes(server) == [16, 1, 16]


def test_batch_is_not_sent_again_as_it_was_after_a_timeout() -> None:
    with OpenAIServer() as server, connected(server, 16) as embedder:
        server.faults += [faults.failing(504)]
        assert not refused_texts(outcomes(embedder, [f"text {n}" for n in range(16)]))
        assert sizes(server) == [16, 1, 8, 8]


def test_stated_limit_is_used_after_one_refusal() -> None:
    message = "batch size is invalid, it should not be larger than 10.: input.contents"
    with SmallServer(10, 400, message) as server, connected(server, 32) as embedder:
        found = outcomes(embedder, [f"text {n}" for n in range(64)])
        assert not refused_texts(found)
        assert [size for size in sizes(server) if size > 10] == [32]
        assert embedder.batch_sizes == {embedder.backends[0].name: 10}


def test_bad_text_does_not_make_later_batches_smaller() -> None:
    texts = [f"text {n}" for n in range(16)]
    texts[5] = "POISON"
    with OpenAIServer() as server, connected(server, 16) as embedder:
        server.forbidden["POISON"] = 500
        assert refused_texts(outcomes(embedder, texts)) == {5}
        assert embedder.batch_sizes == {}
        first = len(server.requests)
        server.requests.clear()
        assert refused_texts(outcomes(embedder, texts)) == {5}
        assert len(server.requests) < first  # the failure is known now


def test_text_that_is_embedded_at_last_is_not_blamed() -> None:
    """The host fails in the same way three times, and recovers."""
    with OpenAIServer() as server, connected(server) as embedder:
        server.faults += [faults.failing(500)] * 3
        assert not refused_texts(outcomes(embedder, ["one"]))
        assert embedder.batch_sizes == {}


def test_host_that_fails_on_everything_blames_no_text() -> None:
    with OpenAIServer() as server, connected(server) as embedder:
        server.faults += [faults.failing(500)] * 1000
        with pytest.raises(BackendError, match="500"):
            outcomes(embedder, ["one", "two"])


def test_unreadable_answers_are_the_failure_of_the_backend() -> None:
    for body in (b"[" * 200_000, b'{"data":[{"embedding":[1' + b"0" * 400 + b"]}]}"):
        with OpenAIServer() as server, connected(server) as embedder:
            server.faults += [faults.text(200, body)] * 100
            with pytest.raises(BackendError, match="answered"):
                embedder.documents(["one"])
