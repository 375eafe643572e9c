"""Text Embeddings Inference: the use of /info, the exact requests, and what it refuses."""

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
from tests.servers.vectors import first, tokens, vector

QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
E5 = ("passage: ", "query: ")
NOMIC = ("search_document: ", "search_query: ")
V5 = ("Document: ", "Query: ")
GEMMA = ("title: none | text: ", "task: search result | query: ")
MXBAI = ("", "Represent this sentence for searching relevant passages: ")
ARCTIC = "Snowflake/snowflake-arctic-embed-l-v2.0"
NONE = ("", "")
TEXTS = ["раз два", "three"]
KEY = "secret"

# model, name on the hub, requested dimension, native dimension, prompts, sent dimension
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
        for language in ("en", "de", "es", "zh", "code")
    ),
    (
        "jina-embeddings-v5-text-small",
        "jinaai/jina-embeddings-v5-text-small-retrieval",
        256,
        1024,
        V5,
        256,
    ),
    ("embeddinggemma-300m", "google/embeddinggemma-300m", 128, 768, GEMMA, 128),
    ("gte-modernbert-base", "Alibaba-NLP/gte-modernbert-base", None, 768, NONE, None),
    ("mxbai-embed-large-v1", "mixedbread-ai/mxbai-embed-large-v1", 512, 1024, MXBAI, 512),
    ("snowflake-arctic-embed-l-v2.0", ARCTIC, None, 1024, ("", "query: "), 1024),
    ("multilingual-e5-large", "intfloat/multilingual-e5-large", None, 1024, E5, None),
    ("multilingual-e5-small", "intfloat/multilingual-e5-small", None, 384, E5, None),
    # It applies a layer norm before truncation, which the server does not do.
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


def catalog_with_prompt_names(tmp_path: Path) -> catalog.Catalog:
    """Return the catalogue with a user row that sends prompts by name."""
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
    model, model_id, dim, native, prompts, sent = row
    with (
        TeiServer(KEY, model=model_id, auto_truncate=True) as server,
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


def test_every_catalogue_row_is_tested() -> None:
    served = package_catalog().backend("tei").models
    assert {row[0]: row[1] for row in MODELS} == {name: row.id for name, row in served.items()}


def test_nomic_is_truncated_after_its_layer_norm() -> None:
    with (
        TeiServer(KEY, model="nomic-ai/nomic-embed-text-v1.5") as server,
        connected(server, "nomic-embed-text-v1.5", 128) as embedder,
    ):
        vectors = embedder.documents(["one text"])[0]
        assert "dimensions" not in bodies(server)[0]
    full = vector("one text", "document", "nomic-embed-text-v1.5", 768)
    truncated = ((full - full.mean()) / full.std())[:128]
    np.testing.assert_allclose(vectors, truncated / np.linalg.norm(truncated), atol=1e-6)


# ---- Prompts by name


def test_prompts_by_name(server: TeiServer, tmp_path: Path) -> None:
    """A side without a prompt sends no prompt name."""
    with connected(server, rows=catalog_with_prompt_names(tmp_path)) as embedder:
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


def test_prompts_by_name_for_both_sides(tmp_path: Path) -> None:
    with (
        TeiServer(KEY, model="intfloat/multilingual-e5-small") as server,
        connected(
            server, "multilingual-e5-small", None, rows=catalog_with_prompt_names(tmp_path)
        ) as embedder,
    ):
        embedder.documents(["one"])
        embedder.query("two")
        assert [body["prompt_name"] for body in bodies(server)] == ["document", "query"]
        assert [text.side for text in server.texts] == ["document", "query"]


def test_unknown_prompt_name_is_not_blamed_on_the_texts(tmp_path: Path) -> None:
    with (
        TeiServer(KEY, default_prompt_names=False) as server,
        connected(server, rows=catalog_with_prompt_names(tmp_path)) as embedder,
    ):
        with pytest.raises(BackendError, match=r'set to `query` but.* prompts = "text" in the row'):
            embedder.query("one")
        assert len(server.requests) == 1


def test_task_without_a_prompt_name_is_refused(server: TeiServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nomic-embed-text-v1.5 has no prompt_name"):
        connected(
            server,
            "nomic-embed-text-v1.5",
            task="clustering",
            rows=catalog_with_prompt_names(tmp_path),
        )


# ---- Server information


def test_info_is_read_once_by_many_threads(server: TeiServer) -> None:
    with connected(server) as embedder, ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(embedder.query, [f"text {n}" for n in range(16)]))
    assert len(vectors) == 16
    assert server.gets == ["/info"]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [32, 8]),
        ({"max_client_batch_size": 16}, [16, 16, 8]),
        ({"max_concurrent_requests": 15}, [15, 15, 10]),
        ({"max_client_batch_size": 1000}, [32, 8]),
    ],
    ids=["default", "smaller", "slots", "larger"],
)
def test_batch_size_follows_the_server_limits(options: dict[str, Any], sizes: list[int]) -> None:
    texts = [f"text number {n}" for n in range(40)]
    with TeiServer(KEY, **options) as server, connected(server) as embedder:
        vectors = embedder.documents(texts)
        sent = sorted((len(body["inputs"]) for body in bodies(server)), reverse=True)
        assert embedder.usage.texts == 40
    assert sum(sent) == 40
    assert max(sent) == max(sizes)
    for text, row in zip(texts, vectors, strict=True):
        expected = vector(text, "document", "qwen3-embedding-0.6b", 1024, 64)
        np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_server_with_another_model_is_refused(options: dict[str, Any], message: str) -> None:
    with (
        TeiServer(KEY, **options) as server,
        connected(server) as embedder,
        pytest.raises(BackendError, match=message),
    ):
        embedder.query("one")
    assert not server.requests


@pytest.mark.parametrize(
    "options",
    [
        {"folder": "/data/model"},
        {"folder": "./weights"},
        {"folder": "/repository"},
        {"folder": "mirror/qwen3-embedding-0.6b"},
        {"model": "Qwen/Qwen3-Embedding-0.6B", "folder": "own/x", "served_model_name": "alias"},
        {"folder": "own/quantised", "served_model_name": "Qwen/Qwen3-Embedding-0.6B"},
    ],
    ids=lambda options: str(options["folder"]),
)
def test_ambiguous_model_names_are_accepted(options: dict[str, Any]) -> None:
    with TeiServer(KEY, **options) as server, connected(server) as embedder:
        assert embedder.query("one").shape == (64,)


def test_server_without_a_model_type_is_refused(server: TeiServer) -> None:
    server.info = {}
    with connected(server) as embedder:
        with pytest.raises(BackendError, match="is of type None: not an embedding model"):
            embedder.query("one")
        server.info = {"model_type": {"embedding": {}}}  # /info is read again, with few fields
        assert embedder.query("one").shape == (64,)


# ---- Long texts, large requests

LONG = "far too long " * 20


def test_long_text_is_refused_and_the_rest_embedded() -> None:
    """The server truncates by default."""
    with TeiServer(KEY, context=30) as server, connected(server) as embedder:
        with pytest.raises(
            DocumentError,
            match=r"^62 tokens, and tei takes 30 tokens per text \(the model takes "
            r"32,768: see --max-batch-tokens\); use a smaller --chunk-size, or --truncate$",
        ):
            embedder.documents([LONG])
        with embedder.stream() as stream:
            for n, text in enumerate(["a", LONG, "b"]):
                stream.add(n, text)
            outcomes: dict[int, object] = {}
            while stream.pending:
                outcomes.update(stream.completed(block=True))
    bad = [n for n, outcome in outcomes.items() if isinstance(outcome, DocumentError)]
    assert bad == [1]
    assert all(LONG not in body["inputs"] for body in bodies(server))  # the server only counted it
    assert [request.path for request in server.asked] == ["/tokenize"] * 2


def test_server_that_does_not_count_refuses_long_texts() -> None:
    with (
        TeiServer(KEY, context=30, tokenizes=False) as server,
        connected(server) as embedder,
        pytest.raises(
            DocumentError,
            match=r"must have less than 30 tokens. Given: 62 \(this server takes 30 .* 32,768: see "
            "--max-batch-tokens",
        ),
    ):
        embedder.documents([LONG])


def test_long_texts_are_counted_with_their_prompt_in_requests_of_32(tmp_path: Path) -> None:
    """One request to count a batch, none to find out which text is refused."""
    texts = ["word " * (20 + n) for n in range(32)]
    for catalog_rows in (None, catalog_with_prompt_names(tmp_path)):
        with (
            TeiServer(KEY, context=40, max_client_batch_size=16) as server,
            connected(server, rows=catalog_rows) as embedder,
            embedder.stream() as stream,
        ):
            for n, text in enumerate(texts):
                stream.add(n, text)
            outcomes: dict[int, object] = {}
            while stream.pending:
                outcomes.update(stream.completed(block=True))
            failed = [
                n for n, outcome in sorted(outcomes.items()) if isinstance(outcome, Exception)
            ]
            assert failed == [n for n in range(32) if 20 + n + 2 > 40]
            assert all(len(request.body["inputs"]) <= 16 for request in server.asked)


def test_address_of_the_other_api_works(server: TeiServer) -> None:
    with connect(
        "qwen3-embedding-0.6b",
        backends=[BackendConfig("tei", f"{server.url}/v1")],
        environ={"TEI_API_KEY": KEY},
    ) as embedder:
        assert embedder.query("one").shape == (1024,)


def test_tokens_are_those_that_the_server_computed(server: TeiServer) -> None:
    with connected(server) as embedder:
        embedder.documents(TEXTS)
        assert embedder.usage.tokens == sum(tokens(text) for text in TEXTS)
        assert not embedder.usage.usages[0].estimated


def test_truncate() -> None:
    with (
        TeiServer(KEY, context=30, auto_truncate=False) as server,
        connected(server, truncate=True) as embedder,
    ):
        embedder.documents([LONG])
        assert bodies(server)[0]["truncate"] is True
        assert [text.text for text in server.texts] == [first(LONG, 30)]


def test_too_large_body_is_split() -> None:
    texts = ["some words here"] * 7 + ["others"]
    with TeiServer(KEY, payload_limit=200) as server, connected(server) as embedder:
        assert embedder.documents(texts).shape == (8, 64)
        assert len(server.texts) == 8


# ---- Errors


def test_wrong_or_missing_key_raises(server: TeiServer) -> None:
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


def test_overload_is_retried(server: TeiServer) -> None:
    server.faults += [faults.failing(429, "Overloaded")] * 2
    with connected(server) as embedder:
        assert embedder.query("one two").shape == (64,)
    assert (len(server.requests), server.gets) == (3, ["/info"])


def test_failure_of_the_model_is_not_repeated(server: TeiServer) -> None:
    """424: the model fails on these texts, or on every text, which one probe tells."""
    server.faults += [faults.failing(424, "Backend")] * 100
    with connected(server) as embedder, pytest.raises(BackendError, match="is refused too"):
        embedder.query("one two")
    assert len(server.requests) == 2


def test_vectors_are_counted_per_part() -> None:
    """An extra vector in one part does not compensate for a missing one in another."""
    with TeiServer(KEY, max_client_batch_size=2) as server, connected(server) as embedder:
        server.faults += [faults.one_item_extra(), faults.one_item_missing()]
        with pytest.raises(BackendError, match="3 vectors for 2 texts"):
            embedder.documents(["a", "b", "c", "d"])
