"""Text Embeddings Inference: what /info decides, the exact requests, and what it refuses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl import catalog
from ragctl.catalog import BackendConfig, Layer
from ragctl.embedding import Embedder, Options, Patience, connect
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import BackendError, DocumentError, UsageError
from ragctl.records import Json
from tests.servers import faults
from tests.servers.tei import TeiServer
from tests.servers.vectors import first, vector

QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
E5 = ("passage: ", "query: ")
NOMIC = ("search_document: ", "search_query: ")
V5 = ("Document: ", "Query: ")
NONE = ("", "")
TEXTS = ["раз два", "three"]
KEY = "secret"

# model, its name on the hub, size asked for, native size, prompts, size sent
MODELS: list[tuple[str, str, int | None, int, tuple[str, str], int | None]] = [
    ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", None, 384, NONE, None),
    ("bge-m3", "BAAI/bge-m3", None, 1024, NONE, None),
    *(
        (
            f"jina-embeddings-v2-base-{language}",
            f"jinaai/jina-embeddings-v2-base-{language}",
            None,
            768,
            NONE,
            None,
        )
        for language in ("en", "de", "es", "zh")
    ),
    (
        "jina-embeddings-v5-text-small",
        "jinaai/jina-embeddings-v5-text-small-retrieval",
        256,
        1024,
        V5,
        256,
    ),
    ("multilingual-e5-large", "intfloat/multilingual-e5-large", None, 1024, E5, None),
    ("multilingual-e5-small", "intfloat/multilingual-e5-small", None, 384, E5, None),
    # A layer norm comes before its cut, which the server leaves out.
    ("nomic-embed-text-v1.5", "nomic-ai/nomic-embed-text-v1.5", None, 768, NOMIC, None),
    ("nomic-embed-text-v2-moe", "nomic-ai/nomic-embed-text-v2-moe", 256, 768, NOMIC, 256),
    ("qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B", 512, 1024, ("", QWEN), 512),
    ("qwen3-embedding-4b", "Qwen/Qwen3-Embedding-4B", None, 2560, ("", QWEN), 2560),
    ("qwen3-embedding-8b", "Qwen/Qwen3-Embedding-8B", 1024, 4096, ("", QWEN), 1024),
]


def connected(
    server: TeiServer,
    model: str = "qwen3-embedding-0.6b",
    dim: int | None = 64,
    *,
    truncate: bool = False,
    task: str | None = None,
    key: str | None = KEY,
    rows: catalog.Catalog | None = None,
) -> Embedder:
    return connect(
        model,
        dim=dim,
        task=task,
        backends=[BackendConfig("tei", server.url)],
        catalog=rows,
        environ={"TEI_API_KEY": key} if key else {},
        patience=Patience(total=0.2, first=0.001, longest=0.01, read=5),
        options=Options(truncate=truncate),
    )


def named(tmp_path: Path) -> catalog.Catalog:
    """The catalogue with a user's own row, which has prompts sent by name."""
    layer = Layer("models", {}, "backends", {"tei": {"prompts": "name"}})
    return user_catalog({"RAGCTL_CONFIG": str(tmp_path)}, layer)


@pytest.fixture
def server() -> Iterator[TeiServer]:
    with TeiServer(KEY) as server:
        yield server


def bodies(server: TeiServer) -> list[Any]:
    return [request.body for request in server.requests]


@pytest.mark.parametrize("row", MODELS, ids=[row[0] for row in MODELS])
def test_request(row: tuple[str, str, int | None, int, tuple[str, str], int | None]) -> None:
    model, there, dim, native, prompts, sent = row
    with (
        TeiServer(KEY, model=there, auto_truncate=True) as server,
        connected(server, model, dim) as embedder,
    ):
        documents = embedder.documents(TEXTS)
        query = embedder.query("three")
    common: dict[str, Json] = {"normalize": True, "truncate": False}
    common |= {"dimensions": sent} if sent else {}
    assert bodies(server) == [
        common | {"inputs": [prompts[0] + text for text in TEXTS]},
        common | {"inputs": [prompts[1] + "three"]},
    ]
    assert server.gets == ["/info"]
    assert [request.path for request in server.requests] == ["/embed", "/embed"]
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    sides = ("document", "query") if any(prompts) else (None, None)
    expected = vector(TEXTS[0], sides[0], model, native, dim)
    np.testing.assert_allclose(documents[0], expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", sides[1], model, native, dim), atol=1e-6)


def test_every_row_of_the_catalogue_is_tested_above() -> None:
    served = package_catalog().backend("tei").models
    assert {row[0]: row[1] for row in MODELS} == {name: row.id for name, row in served.items()}


def test_nomic_is_cut_here_behind_its_layer_norm() -> None:
    with (
        TeiServer(KEY, model="nomic-ai/nomic-embed-text-v1.5") as server,
        connected(server, "nomic-embed-text-v1.5", 128) as embedder,
    ):
        found = embedder.documents(["one text"])[0]
        assert "dimensions" not in bodies(server)[0]
    whole = vector("one text", "document", "nomic-embed-text-v1.5", 768)
    cut = ((whole - whole.mean()) / whole.std())[:128]
    np.testing.assert_allclose(found, cut / np.linalg.norm(cut), atol=1e-6)


# ---- Prompts by name


def test_prompts_by_name(server: TeiServer, tmp_path: Path) -> None:
    """A side without a prompt has no name that a server must know."""
    with connected(server, rows=named(tmp_path)) as embedder:
        documents = embedder.documents(TEXTS)
        query = embedder.query("three")
    common: dict[str, Json] = {"normalize": True, "truncate": False, "dimensions": 64}
    assert bodies(server) == [
        common | {"inputs": TEXTS},
        common | {"inputs": ["three"], "prompt_name": "query"},
    ]
    expected = vector("three", "query", "qwen3-embedding-0.6b", 1024, 64)
    np.testing.assert_allclose(query, expected, atol=1e-6)
    expected = vector("three", "document", "qwen3-embedding-0.6b", 1024, 64)
    np.testing.assert_allclose(documents[1], expected, atol=1e-6)


def test_both_sides_by_name(tmp_path: Path) -> None:
    with (
        TeiServer(KEY, model="intfloat/multilingual-e5-small") as server,
        connected(server, "multilingual-e5-small", None, rows=named(tmp_path)) as embedder,
    ):
        embedder.documents(["one"])
        embedder.query("two")
        assert [body["prompt_name"] for body in bodies(server)] == ["document", "query"]
        assert [text.side for text in server.texts] == ["document", "query"]


def test_a_name_that_the_server_does_not_know_is_not_blamed_on_the_texts(tmp_path: Path) -> None:
    with (
        TeiServer(KEY, default_prompt_names=False) as server,
        connected(server, rows=named(tmp_path)) as embedder,
    ):
        with pytest.raises(BackendError, match=r'set to `query` but.* prompts = "text" in the row'):
            embedder.query("one")
        assert len(server.requests) == 1


def test_another_task_has_no_prompt_of_that_name(server: TeiServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nomic-embed-text-v1.5 has no prompt_name"):
        connected(server, "nomic-embed-text-v1.5", task="clustering", rows=named(tmp_path))


# ---- What the server is


def test_it_is_asked_once_by_many_threads(server: TeiServer) -> None:
    with connected(server) as embedder, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(embedder.query, [f"text {n}" for n in range(16)]))
    assert len(found) == 16
    assert server.gets == ["/info"]


@pytest.mark.parametrize(
    ("started", "sizes"),
    [
        ({}, [32, 8]),
        ({"max_client_batch_size": 16}, [16, 16, 8]),
        ({"max_concurrent_requests": 15}, [15, 15, 10]),
        ({"max_client_batch_size": 1000}, [32, 8]),
    ],
    ids=["as it is", "smaller", "places", "larger"],
)
def test_a_request_has_as_many_texts_as_the_server_takes(
    started: dict[str, Any], sizes: list[int]
) -> None:
    texts = [f"text number {n}" for n in range(40)]
    with TeiServer(KEY, **started) as server, connected(server) as embedder:
        found = embedder.documents(texts)
        sent = sorted((len(body["inputs"]) for body in bodies(server)), reverse=True)
        assert embedder.usage.texts == 40
    assert sum(sent) == 40
    assert max(sent) == max(sizes)
    for text, row in zip(texts, found, strict=True):
        expected = vector(text, "document", "qwen3-embedding-0.6b", 1024, 64)
        np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("started", "said"),
    [
        (
            {"model": "BAAI/bge-m3"},
            r"127.* runs BAAI/bge-m3, not Qwen/Qwen3-Embedding-0.6B; .*--served-model-name Qwen/Qw",
        ),
        ({"model": "Qwen/Qwen3-Embedding-4B"}, "runs Qwen/Qwen3-Embedding-4B, not Qwen/Qwen3-Emb"),
        ({"kind": "reranker"}, "is of type reranker: not an embedding model"),
        ({"kind": "classifier"}, "is of type classifier: not an embedding model"),
        ({"pooling": "mean"}, "pools by mean, and .* trained with last_token: .*--pooling last-to"),
    ],
    ids=["model", "size", "reranker", "classifier", "pooling"],
)
def test_another_model_is_refused(started: dict[str, Any], said: str) -> None:
    with (
        TeiServer(KEY, **started) as server,
        connected(server) as embedder,
        pytest.raises(BackendError, match=said),
    ):
        embedder.query("one")
    assert not server.requests


@pytest.mark.parametrize(
    "started",
    [
        {"folder": "/data/model"},
        {"folder": "./weights"},
        {"folder": "/repository"},
        {"folder": "mirror/qwen3-embedding-0.6b"},
        {"model": "Qwen/Qwen3-Embedding-0.6B", "folder": "own/x", "served_model_name": "alias"},
        {"folder": "own/quantised", "served_model_name": "Qwen/Qwen3-Embedding-0.6B"},
    ],
    ids=lambda started: str(started["folder"]),
)
def test_names_that_do_not_tell_are_taken(started: dict[str, Any]) -> None:
    with TeiServer(KEY, **started) as server, connected(server) as embedder:
        assert embedder.query("one").shape == (64,)


def test_what_is_no_such_server(server: TeiServer) -> None:
    server.info = {}
    with connected(server) as embedder:
        with pytest.raises(BackendError, match="is of type None: not an embedding model"):
            embedder.query("one")
        server.info = {"model_type": {"embedding": {}}}  # it is asked again, and says little
        assert embedder.query("one").shape == (64,)


# ---- Long texts, large requests

LONG = "far too long " * 20


def test_a_text_too_long_is_refused_and_the_rest_goes_through() -> None:
    """The server would cut by default."""
    with TeiServer(KEY, context=30) as server, connected(server) as embedder:
        with pytest.raises(
            DocumentError,
            match=r"must have less than 30 tokens. Given: 62 \(this server takes 30 .* 32,768: see "
            "--max-batch-tokens",
        ):
            embedder.documents([LONG])
        assert len(server.requests) == 1
        with embedder.stream() as stream:
            for n, text in enumerate(["a", LONG, "b"]):
                stream.add(n, text)
            outcomes: dict[int, object] = {}
            while stream.pending:
                outcomes.update(stream.completed(block=True))
    bad = [n for n, outcome in outcomes.items() if isinstance(outcome, DocumentError)]
    assert bad == [1]


def test_truncate() -> None:
    with (
        TeiServer(KEY, context=30, auto_truncate=False) as server,
        connected(server, truncate=True) as embedder,
    ):
        embedder.documents([LONG])
        assert bodies(server)[0]["truncate"] is True
        assert [text.text for text in server.texts] == [first(LONG, 30)]


def test_a_body_too_large_is_halved() -> None:
    texts = ["some words here"] * 7 + ["others"]
    with TeiServer(KEY, payload_limit=200) as server, connected(server) as embedder:
        assert embedder.documents(texts).shape == (8, 64)
        assert len(server.texts) == 8


# ---- What may go wrong


def test_a_key_that_is_wrong_or_missing(server: TeiServer) -> None:
    with (
        connected(server, key="wrong") as embedder,
        pytest.raises(BackendError, match="refused the key in TEI_API_KEY: 401"),
    ):
        embedder.query("one")
    with (
        connected(server, key=None) as embedder,
        pytest.raises(BackendError, match=r"without a key \(set TEI_API_KEY\): 401"),
    ):
        embedder.query("one")


@pytest.mark.parametrize(("status", "kind"), [(424, "Backend"), (429, "Overloaded")])
def test_passing_failures_are_tried_again(server: TeiServer, status: int, kind: str) -> None:
    server.faults += [faults.failing(status, kind)] * 2
    with connected(server) as embedder:
        assert embedder.query("one two").shape == (64,)
    assert (len(server.requests), server.gets) == (3, ["/info"])


def test_vectors_are_checked_part_by_part() -> None:
    """One vector too many in one part does not make up for one too few in another."""
    with TeiServer(KEY, max_client_batch_size=2) as server, connected(server) as embedder:
        server.faults += [faults.one_more(), faults.one_less()]
        with pytest.raises(BackendError, match="3 vectors for 2 texts"):
            embedder.documents(["a", "b", "c", "d"])
