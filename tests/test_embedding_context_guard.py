"""Texts longer than a model's context: refused with a message, or truncated on request."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl import chunking
from ragctl.catalog import Backend, BackendConfig, Model
from ragctl.embedding import Embedder, Options, Patience, connect
from ragctl.embedding.backend_wire import BackendWire, Connection
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.context_guard import ContextGuard
from ragctl.embedding.token_bounds import TOKEN_RATIO
from ragctl.errors import DocumentError, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage
from tests.servers.host import EmbeddingServer, Refusal
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer

E5 = "multilingual-e5-large"  # 512 tokens, "passage: " before each document
LONG = "Срок хранения договоров — пять лет 📚👩‍🚀. " * 60
TEXTS = ["short", LONG, "also short"]


def connected(
    server: EmbeddingServer, backend: str, model: str = E5, *, truncate: bool = False
) -> Embedder:
    return connect(
        model,
        backends=[BackendConfig(backend, server.url)],
        environ={"JINA_API_KEY": "k"},
        patience=Patience(total=0.5, first=0.001, read=10),
        options=Options(truncate=truncate),
    )


def outcomes(embedder: Embedder) -> dict[int, object]:
    found: dict[int, object] = {}
    with embedder.stream() as stream:
        for n, text in enumerate(TEXTS):
            stream.add(n, text)
        while stream.pending:
            found.update(stream.completed(block=True))
    return found


def test_long_text_is_not_sent_to_a_host_that_truncates_silently() -> None:
    with OpenAIServer(like="infinity") as server, connected(server, "infinity") as embedder:
        found = outcomes(embedder)
        assert [text.text for text in server.texts] == ["short", "also short"]
        assert isinstance(found[1], DocumentError)
        tokens = round(TOKEN_RATIO * chunking.count("passage: " + LONG))
        assert str(found[1]) == (
            f"about {tokens:,} tokens may be more than the 512 tokens that {E5} takes, and "
            "infinity would truncate the text without a message; use a smaller --chunk-size, or "
            "--truncate"
        )
        assert not any(isinstance(found[n], DocumentError) for n in (0, 2))
        with pytest.raises(UsageError, match=r"the query: about [\d,]+ tokens may be more than"):
            embedder.query(LONG)


@pytest.mark.parametrize(("backend", "like"), [("infinity", "infinity"), ("router", "router")])
def test_truncate_option_truncates_before_sending(backend: str, like: str) -> None:
    """For hosts that have no option to truncate them."""
    with (
        OpenAIServer(like=like) as server,
        connected(server, backend, truncate=True) as embedder,
    ):
        found = outcomes(embedder)
        assert not any(isinstance(outcome, DocumentError) for outcome in found.values())
        [(_, first), (side, cut), (_, last)] = server.texts
        assert embedder.usage.usages[0].cut == 1
        assert embedder.usage.usages[0].to_json()["cut"] == 1
    assert (first, last, side) == ("short", "also short", "document")
    assert LONG.startswith(cut)
    assert 300 < chunking.count(cut) <= 512 / TOKEN_RATIO


def test_long_text_is_sent_to_a_host_that_refuses() -> None:
    """The host counts its own tokens; a text that we estimate as too long may still fit."""
    with OpenAIServer(like="vllm") as server, connected(server, "vllm") as embedder:
        assert chunking.count(LONG) > 512 > len(LONG.split())
        embedder.documents(TEXTS)
        assert [text.text for text in server.texts] == TEXTS


def test_truncate_option_is_passed_to_a_host_that_supports_it() -> None:
    text = "слово " * 9_000
    with (
        JinaServer() as server,
        connected(server, "jina", "jina-embeddings-v3") as strict,
        connected(server, "jina", "jina-embeddings-v3", truncate=True) as embedder,
    ):
        with pytest.raises(DocumentError, match="refused by 127"):
            strict.documents([text])
        server.context = 10_000  # as if the host truncated the text
        embedder.documents([text])
        assert [request.body["truncate"] for request in server.requests] == [False, True]
        assert server.texts[-1].text == text
        assert embedder.usage.usages[0].cut == 0


# ---- Servers that count


@pytest.mark.parametrize("like", ["vllm", "llama.cpp"])
def test_texts_that_fit_by_the_servers_own_count_are_not_truncated(like: str) -> None:
    text = LONG[:1500]
    with (
        OpenAIServer(like=like) as server,
        connected(server, "router", truncate=True) as embedder,
    ):
        embedder.documents([text, LONG * 4, "short"])
        assert [request.path for request in server.asked] == ["/tokenize"] * 2
        assert server.texts[0].text == text
        assert (LONG * 4).startswith(server.texts[1].text)
        assert embedder.usage.usages[0].cut == 1


def test_text_embeddings_inference_is_asked_for_its_limits_and_counts() -> None:
    """Text Embeddings Inference truncates silently through OpenAI's protocol by default."""
    texts = ["a", "слово " * 300, "слово " * 250, "слово " * 253, "b"]
    with (
        OpenAIServer(like="tei-openai", runs=f"intfloat/{E5}", context=256) as server,
        connected(server, "tei-openai") as embedder,
        embedder.stream() as stream,
    ):
        for n, text in enumerate(texts):
            stream.add(n, text)
        found: dict[int, object] = {}
        while stream.pending:
            found.update(stream.completed(block=True))
        failed = {n: str(value) for n, value in found.items() if isinstance(value, DocumentError)}
        assert failed == {
            1: "303 tokens, and tei-openai takes 256 tokens per text (the model "
            "takes 512: see --max-batch-tokens); use a smaller --chunk-size, or --truncate"
        }
        assert server.gets == ["/v1/models", "/info"]
        assert len(server.asked) == 1


@pytest.mark.parametrize("auto_truncate", [True, False])
def test_truncate_option_at_text_embeddings_inference(auto_truncate: bool) -> None:
    """The server truncates exactly, if it was started so; otherwise ragctl truncates."""
    with (
        OpenAIServer(
            like="tei-openai",
            runs=f"intfloat/{E5}",
            context=256,
            auto_truncate=auto_truncate,
        ) as server,
        connected(server, "tei-openai", truncate=True) as embedder,
    ):
        embedder.documents([LONG])
        assert LONG.startswith(server.texts[0].text)
        assert embedder.usage.usages[0].cut == (not auto_truncate)


@pytest.mark.parametrize(
    "answer", [[[]], [[], []], {"tokens": 1}, [1], "x", [], {}, None], ids=repr
)
def test_server_that_does_not_count_right_is_not_believed(answer: object) -> None:
    class Rubbish(OpenAIServer):
        def ask(self, path: str, body: object) -> object | None:
            return answer if path == "/tokenize" else None

    with (
        Rubbish(like="tei-openai", runs=f"intfloat/{E5}") as server,
        connected(server, "tei-openai") as embedder,
        pytest.raises(DocumentError, match="about 1,253 tokens may be more than the 512"),
    ):
        embedder.documents([LONG])


@pytest.mark.parametrize("status", [404, 500, 503, 401])
def test_failing_count_is_no_failure_of_the_texts(status: int) -> None:
    class Failing(OpenAIServer):
        def ask(self, path: str, body: object) -> object | None:
            if path == "/tokenize":
                raise Refusal(status, "no")
            return None

    text = LONG[: len(LONG) // 3]
    with (
        Failing(like="tei-openai", runs=f"intfloat/{E5}") as server,
        connected(server, "tei-openai") as embedder,
    ):
        assert embedder.documents([text, "short"]).shape == (2, 1024)


# ---- Estimates


class RecordingWire(BackendWire):
    """A wire that records its requests."""

    def __init__(self) -> None:
        self.requests: list[EmbeddingRequest] = []

    @classmethod
    def connect(cls, connection: Connection) -> "RecordingWire":
        return cls()

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.requests.append(request)
        return Embeddings(np.ones((len(request.texts), 1), np.float32), tokens=1)

    def close(self) -> None:
        pass


MODEL = replace(package_catalog().model(E5), context=64)
TRUNCATING_BACKEND = package_catalog().backend("infinity")


def guarded(
    model: Model = MODEL, backend: Backend = TRUNCATING_BACKEND, *, truncate: bool = False
) -> tuple[ContextGuard, RecordingWire]:
    recorder = RecordingWire()
    return ContextGuard(recorder, recorder, model, backend, Usage(), truncate=truncate), recorder


def request(*texts: str, together: bool = False) -> EmbeddingRequest:
    return EmbeddingRequest("document", texts, threading.Event(), tokens=9, together=together)


MAX_TEXT_TOKENS = 40  # of "word": with the prompt's 3 and the ratio 56, which are 64 less 8


def test_limit_excludes_the_prompt() -> None:
    wire, recorder = guarded()
    fits = " ".join(["word"] * MAX_TEXT_TOKENS)
    assert chunking.count(fits) == MAX_TEXT_TOKENS
    wire.call(request(fits))
    with pytest.raises(Refused, match="about 57 tokens") as caught:
        wire.call(request(fits + " word"))
    assert caught.value.certain
    assert [r.texts for r in recorder.requests] == [(fits,)]


def test_long_text_fails_alone() -> None:
    wire, recorder = guarded()
    answer = wire.call(request("a", "word " * 90, "b"))
    assert [r.texts for r in recorder.requests] == [("a", "b")]
    assert answer.vectors.tolist() == [[1], [0], [1]]
    assert [*answer.failed] == [1]
    assert "--chunk-size, or --truncate" in answer.failed[1]


def test_context_of_the_host_takes_precedence() -> None:
    row = TRUNCATING_BACKEND.models[E5]
    short = replace(TRUNCATING_BACKEND, models={E5: replace(row, context=40)})
    wire, _ = guarded(backend=short)
    wire.call(request("passt " * 5))
    with pytest.raises(Refused, match="more than the 40 tokens that"):
        wire.call(request("word " * 30))


@settings(max_examples=200)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
        | st.sampled_from(["👩‍🚀" * 60, "é" * 90, "数" * 200, "𓀀" * 50, "\n" * 400]),
        min_size=1,
        max_size=4,
    )
)
def test_truncation_only_shortens_and_splits_no_character(texts: list[str]) -> None:
    wire, recorder = guarded(truncate=True)
    wire.call(request(*texts))
    [sent] = recorder.requests
    assert (sent.side, sent.tokens, len(sent.texts)) == ("document", 9, len(texts))
    for text, cut in zip(texts, sent.texts, strict=True):
        assert text.startswith(cut)
        assert cut == text or chunking.count(cut) <= MAX_TEXT_TOKENS
        if chunking.count(text) <= MAX_TEXT_TOKENS:
            assert cut == text


def test_texts_embedded_together_share_the_context() -> None:
    wire, recorder = guarded()
    max_tokens = int(64 / TOKEN_RATIO)
    half = " ".join(["word"] * (max_tokens // 2))
    wire.call(request(half, half, together=True))
    assert len(recorder.requests) == 1
    with pytest.raises(Refused, match=r"about 50 tokens together may be more than the 64 tokens"):
        wire.call(request(half, " ".join(["word"] * (50 - max_tokens // 2)), together=True))
    wire.call(request(half, half, half))
    assert len(recorder.requests) == 2
