"""Texts longer than a model's context: refused by name, cut on request, never cut in silence."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl import chunking
from ragctl.catalog import Backend, BackendConfig, Model
from ragctl.embedding import Embedder, Options, Patience, connect
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.context_guard import TOKEN_RATIO, ContextGuard
from ragctl.errors import DocumentError, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage
from tests.servers.host import EmbeddingServer
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


def test_a_host_that_would_cut_is_not_sent_what_is_too_long() -> None:
    with OpenAIServer(like="infinity") as server, connected(server, "infinity") as embedder:
        found = outcomes(embedder)
        assert [text.text for text in server.texts] == ["short", "also short"]
        assert isinstance(found[1], DocumentError)
        tokens = chunking.count(LONG)
        assert str(found[1]) == (
            f"about {tokens:,} tokens may be more than the 512 that {E5} takes, and infinity would "
            "truncate the text without a message; use a smaller --chunk-size, or --truncate"
        )
        assert not any(isinstance(found[n], DocumentError) for n in (0, 2))
        with pytest.raises(UsageError, match=r"the query: about [\d,]+ tokens may be more than"):
            embedder.query(LONG)


@pytest.mark.parametrize(("backend", "like"), [("infinity", "infinity"), ("vllm", "vllm")])
def test_on_request_it_is_cut_here(backend: str, like: str) -> None:
    """Also for a host that would refuse, when it cannot be told to cut."""
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


def test_a_host_that_refuses_is_left_to_count() -> None:
    """It knows its own tokens: what we would think too long may well fit."""
    with OpenAIServer(like="vllm") as server, connected(server, "vllm") as embedder:
        assert chunking.count(LONG) > 512 > len(LONG.split())
        embedder.documents(TEXTS)
        assert [text.text for text in server.texts] == TEXTS


def test_a_host_that_cuts_when_told_is_told() -> None:
    text = "слово " * 9_000
    with (
        JinaServer() as server,
        connected(server, "jina", "jina-embeddings-v3") as strict,
        connected(server, "jina", "jina-embeddings-v3", truncate=True) as embedder,
    ):
        with pytest.raises(DocumentError, match="refused by 127"):
            strict.documents([text])
        server.context = 10_000  # as if it cut
        embedder.documents([text])
        assert [request.body["truncate"] for request in server.requests] == [False, True]
        assert server.texts[-1].text == text
        assert embedder.usage.usages[0].cut == 0


class Seen:
    """A wire that keeps what reaches it."""

    def __init__(self) -> None:
        self.requests: list[EmbeddingRequest] = []

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.requests.append(request)
        return Embeddings(np.ones((len(request.texts), 1), np.float32), tokens=1)

    def close(self) -> None:
        pass


MODEL = replace(package_catalog().model(E5), context=64)
CUTS = package_catalog().backend("infinity")


def guarded(
    model: Model = MODEL, backend: Backend = CUTS, *, truncate: bool = False
) -> tuple[ContextGuard, Seen]:
    seen = Seen()
    return ContextGuard(seen, model, backend, Usage(), truncate=truncate, native=False), seen


def request(*texts: str, together: bool = False) -> EmbeddingRequest:
    return EmbeddingRequest("document", texts, threading.Event(), tokens=9, together=together)


ROOM = int((64 - 8) / TOKEN_RATIO) - chunking.count("passage: ")


def test_the_room_is_what_the_prompt_leaves() -> None:
    wire, seen = guarded()
    fits = " ".join(["word"] * ROOM)
    assert chunking.count(fits) == ROOM
    wire.call(request(fits))
    with pytest.raises(Refused, match=f"about {ROOM + 1} tokens") as caught:
        wire.call(request("a", fits + " word"))
    assert caught.value.certain
    assert [r.texts for r in seen.requests] == [(fits,)]


def test_a_context_of_the_host_s_own_counts() -> None:
    row = CUTS.models[E5]
    short = replace(CUTS, models={E5: replace(row, context=40)})
    wire, _ = guarded(backend=short)
    wire.call(request("passt " * 5))
    with pytest.raises(Refused, match="more than the 40 that"):
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
def test_no_character_is_ever_split_and_no_text_changes_but_at_its_end(texts: list[str]) -> None:
    wire, seen = guarded(truncate=True)
    wire.call(request(*texts))
    [sent] = seen.requests
    assert (sent.side, sent.tokens, len(sent.texts)) == ("document", 9, len(texts))
    for text, cut in zip(texts, sent.texts, strict=True):
        assert text.startswith(cut)
        assert cut == text or chunking.count(cut) <= ROOM
        if chunking.count(text) <= ROOM:
            assert cut == text


def test_what_belongs_together_is_one_text_to_the_model() -> None:
    wire, seen = guarded()
    most = int(64 / TOKEN_RATIO)
    half = " ".join(["word"] * (most // 2))
    wire.call(request(half, half, together=True))
    assert len(seen.requests) == 1
    with pytest.raises(Refused, match=r"about 50 tokens together may be more than the 64"):
        wire.call(request(half, " ".join(["word"] * (50 - most // 2)), together=True))
    wire.call(request(half, half, half))
    assert len(seen.requests) == 2
