"""Ollama: the exact requests of each model, its silent truncation, and its errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragctl import catalog
from ragctl.catalog import BackendConfig, Layer
from ragctl.embedding import Embedder, Options, Patience, connect
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import BackendError, DocumentError, UsageError
from ragctl.records import Json
from tests.servers import faults
from tests.servers.faults import Fault
from tests.servers.ollama import OllamaLegacyServer, OllamaServer
from tests.servers.vectors import first, tokens, vector

QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
GEMMA = ("title: none | text: ", "task: search result | query: ")
MXBAI = ("", "Represent this sentence for searching relevant passages: ")
GRANITE = ("granite-embedding-278m-multilingual", "granite-embedding:278m")
ARCTIC = ("snowflake-arctic-embed-l-v2.0", "snowflake-arctic-embed2")
NOMIC = ("search_document: ", "search_query: ")
JINA = "hf.co/jinaai/jina-embeddings-v5-text-small-retrieval-GGUF:Q4_K_M"
TEXTS = ["раз два", "three"]
PATIENCE = Patience(total=0.2, first=0.001, longest=0.01, read=5)

# model, Ollama's name, requested dimension, native dimension, context, prompts, sent dimension
MODELS: list[tuple[str, str, int | None, int, int, tuple[str, str], int | None]] = [
    ("all-minilm-l6-v2", "all-minilm", None, 384, 256, ("", ""), None),
    ("bge-m3", "bge-m3", None, 1024, 8192, ("", ""), None),
    ("jina-embeddings-v5-text-small", JINA, 256, 1024, 8192, ("Document: ", "Query: "), 256),
    ("embeddinggemma-300m", "embeddinggemma", 128, 768, 2048, GEMMA, 128),
    (*GRANITE, None, 768, 512, ("", ""), None),
    ("mxbai-embed-large-v1", "mxbai-embed-large", 512, 1024, 512, MXBAI, 512),
    (*ARCTIC, 256, 1024, 8192, ("", "query: "), 256),
    ("nomic-embed-text-v1.5", "nomic-embed-text", None, 768, 2048, NOMIC, None),
    ("nomic-embed-text-v2-moe", "nomic-embed-text-v2-moe", 256, 768, 512, NOMIC, 256),
    ("qwen3-embedding-0.6b", "qwen3-embedding:0.6b", 512, 1024, 8192, ("", QWEN), 512),
    ("qwen3-embedding-4b", "qwen3-embedding:4b", None, 2560, 8192, ("", QWEN), 2560),
    ("qwen3-embedding-8b", "qwen3-embedding:8b", 1024, 4096, 8192, ("", QWEN), 1024),
]


def connected(
    server: OllamaServer,
    model: str,
    dim: int | None = None,
    *,
    truncate: bool = False,
    rows: catalog.Catalog | None = None,
) -> Embedder:
    return connect(
        model,
        dim=dim,
        backends=[
            BackendConfig(
                "ollama-legacy" if isinstance(server, OllamaLegacyServer) else "ollama", server.url
            )
        ],
        catalog=rows,
        environ={},
        patience=PATIENCE,
        options=Options(truncate=truncate),
    )


def rows(tmp_path: Path, models: dict[str, Any], backend: dict[str, Any]) -> catalog.Catalog:
    """Return the catalogue with user rows merged in."""
    layer = Layer("models", models, "backends", {"ollama": backend})
    return user_catalog({"RAGCTL_CONFIG": str(tmp_path)}, layer)


def bodies(server: OllamaServer) -> list[Any]:
    return [request.body for request in server.requests]


@pytest.mark.parametrize("row", MODELS, ids=[row[0] for row in MODELS])
def test_request(
    row: tuple[str, str, int | None, int, int, tuple[str, str], int | None],
) -> None:
    model, model_id, dim, native, context, prompts, sent = row
    with OllamaServer() as server, connected(server, model, dim) as embedder:
        documents = embedder.documents(TEXTS)
        query = embedder.query("three")
    common: dict[str, Json] = {
        "model": model_id,
        "truncate": False,
        "options": {"num_ctx": min(context, 2048)},
    }
    common |= {"dimensions": sent} if sent else {}
    assert bodies(server) == [
        common | {"input": [prompts[0] + text for text in TEXTS]},
        common | {"input": [prompts[1] + "three"]},
    ]
    assert server.requests[0].path == "/api/embed"
    assert "Authorization" not in server.requests[0].headers
    sides = ("document", "query") if any(prompts) else (None, None)
    expected = vector(TEXTS[0], sides[0], model, native, dim)
    np.testing.assert_allclose(documents[0], expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", sides[1], model, native, dim), atol=1e-6)


@pytest.mark.parametrize("row", MODELS, ids=[row[0] for row in MODELS])
def test_legacy_request(
    row: tuple[str, str, int | None, int, int, tuple[str, str], int | None],
) -> None:
    """One text per request; vectors are normalised and truncated by ragctl."""
    model, model_id, _, native, context, prompts, _ = row
    dims = package_catalog().model(model).dims
    dim = 256 if len(dims) > 1 and 256 in dims and "v1.5" not in model else None
    with OllamaLegacyServer() as server, connected(server, model, dim) as embedder:
        documents = embedder.documents(TEXTS)
        query = embedder.query("three")
    common: dict[str, Json] = {
        "model": model_id,
        "options": {"num_ctx": min(context, 2048)},
    }
    assert bodies(server) == [
        common | {"prompt": prompts[0] + TEXTS[0]},
        common | {"prompt": prompts[0] + TEXTS[1]},
        common | {"prompt": prompts[1] + "three"},
    ]
    assert server.requests[0].path == "/api/embeddings"
    sides = ("document", "query") if any(prompts) else (None, None)
    for text, embedded in zip(TEXTS, documents, strict=True):
        expected = vector(text, sides[0], model, native, dim)
        np.testing.assert_allclose(embedded, expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", sides[1], model, native, dim), atol=1e-6)


def test_every_catalogue_row_is_tested() -> None:
    for backend in ("ollama", "ollama-legacy"):
        served = package_catalog().backend(backend).models
        assert {row[0]: row[1] for row in MODELS} == {name: row.id for name, row in served.items()}


def layer_normed(text: str, dim: int) -> NDArray[np.float64]:
    full = vector(text, "document", "nomic-embed-text-v1.5", 768)
    truncated: NDArray[np.float64] = ((full - full.mean()) / full.std())[:dim]
    return truncated / np.linalg.norm(truncated)


@pytest.mark.parametrize("kind", [OllamaServer, OllamaLegacyServer])
def test_nomic_is_truncated_after_its_layer_norm(kind: type[OllamaServer]) -> None:
    with kind() as server, connected(server, "nomic-embed-text-v1.5", 128) as embedder:
        embedded = embedder.documents(["one text"])[0]
    assert "dimensions" not in bodies(server)[0]
    np.testing.assert_allclose(embedded, layer_normed("one text", 128), atol=1e-6)
    plain = vector("one text", "document", "nomic-embed-text-v1.5", 768, 128)
    assert float(embedded @ plain) < 0.9999


def test_layer_norm_is_applied_with_a_user_row(tmp_path: Path) -> None:
    model = "nomic-embed-text-v1.5"
    user_rows = rows(tmp_path, {}, {"models": {model: "nomic-embed-text"}})
    with OllamaServer() as server, connected(server, model, 128, rows=user_rows) as embedder:
        embedded = embedder.documents(["one text"])[0]
    np.testing.assert_allclose(embedded, layer_normed("one text", 128), atol=1e-6)


# ---- Long texts

LONG = "far too long " * 1700  # 5,100 tokens


def test_long_text_is_not_truncated_silently() -> None:
    """By default the server holds 4,096 tokens."""
    with OllamaServer() as server, connected(server, "qwen3-embedding-0.6b", 64) as embedder:
        embedded = embedder.documents([LONG])[0]
        assert [text.text for text in server.texts] == [LONG]
    expected = vector(LONG, "document", "qwen3-embedding-0.6b", 1024, 64)
    np.testing.assert_allclose(embedded, expected, atol=1e-6)


def test_num_ctx_is_a_power_of_two_that_holds_the_texts() -> None:
    """Memory grows with it, and the model is loaded again when it changes."""
    with OllamaServer(memory_ctx=4096) as server:
        with connected(server, "qwen3-embedding-0.6b", 64) as embedder:
            for words in (10, 400, 1_000, 2_500, 10, 1_000):
                embedder.documents(["word " * words])
            embedder.query("short")
            with pytest.raises(BackendError, match=r"num_ctx, which is 8,192 here: use a smaller"):
                embedder.documents(["word " * 6_000])
        assert server.loads == [2048, 4096]
        assert all("num_batch" not in body["options"] for body in bodies(server))


@pytest.mark.parametrize("kind", [OllamaServer, OllamaLegacyServer])
def test_num_ctx_grows_if_the_estimate_was_too_low(kind: type[OllamaServer]) -> None:
    text = "數" * 2_500  # one token each at the test server, 0.8 by o200k_base
    with kind() as server, connected(server, "bge-m3") as embedder:
        embedder.documents([text + " x" * 3_000])
        assert server.loads[-1] == 8192
        assert len(server.texts[0].text) == len(text) + 6_000


def test_num_ctx_is_large_enough_before_a_text_is_truncated() -> None:
    with OllamaServer() as server, connected(server, "bge-m3", truncate=True) as embedder:
        embedder.documents(["a b " * 2_000])
        assert server.texts[0].text == "a b " * 2_000
        assert [body["truncate"] for body in bodies(server)][-1] is (server.loads[-1] == 8192)


def test_one_request_at_a_time_with_few_texts() -> None:
    """Texts are computed one by one, and nothing is answered before the last."""
    texts = [f"text {n}" for n in range(50)]
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        embedder.documents(texts)
        assert server.peak == 1
        assert [len(body["input"]) for body in bodies(server)] == [16, 16, 16, 2]


def test_text_over_the_context_is_refused() -> None:
    with OllamaServer() as server, connected(server, "nomic-embed-text-v1.5") as embedder:
        with pytest.raises(DocumentError, match="400 the input length exceeds the context length"):
            embedder.documents([LONG])
        assert len(server.requests) == 1
        assert embedder.documents(["short"]).shape == (1, 768)


def test_legacy_500_for_a_long_text_is_a_refused_text() -> None:
    """The legacy method answers 500, which would be retried otherwise."""
    with (
        OllamaLegacyServer(context=30) as server,
        connected(server, "bge-m3") as embedder,
    ):
        with pytest.raises(DocumentError, match="500 the input length exceeds the context length"):
            embedder.documents(["far too long " * 20])
        assert len(server.requests) == 1
        with pytest.raises(UsageError, match="the query: refused by 127"):
            embedder.query("far too long " * 20)


def test_long_text_is_not_sent_to_the_legacy_method() -> None:
    with OllamaLegacyServer() as server, connected(server, "nomic-embed-text-v1.5") as embedder:
        with pytest.raises(DocumentError, match=r"more than the 2,048 .*--truncate"):
            embedder.documents([LONG])
        assert not server.requests


@pytest.mark.parametrize("kind", [OllamaServer, OllamaLegacyServer])
def test_truncate(kind: type[OllamaServer]) -> None:
    """The newer method truncates on request; for the older one ragctl truncates."""
    with kind() as server, connected(server, "bge-m3", truncate=True) as embedder:
        text = " ".join(["word"] * 10_000)
        assert embedder.documents([text]).shape == (1, 1024)
        (received,) = server.texts
    if kind is OllamaServer:
        assert bodies(server)[0]["truncate"] is True
        assert received.text == first(text, 8192)
    else:
        assert "truncate" not in bodies(server)[0]
        assert text.startswith(received.text)
        assert 4096 < tokens(received.text) <= 8192


# ---- A user's own row


def test_options_of_a_row_are_merged(tmp_path: Path) -> None:
    extra = {"keep_alive": "1h", "options": {"num_ctx": 1024, "num_gpu": 0}}
    user_rows = rows(tmp_path, {}, {"extra": extra})
    with OllamaServer() as server, connected(server, "bge-m3", rows=user_rows) as embedder:
        embedder.documents(["text"])
        with pytest.raises(DocumentError, match="exceeds the context length"):
            embedder.documents(["word " * 1100])
    assert bodies(server)[0] == {
        "model": "bge-m3",
        "input": ["text"],
        "truncate": False,
        "keep_alive": "1h",
        "options": {"num_ctx": 1024, "num_gpu": 0},
    }


@pytest.mark.parametrize(
    ("models", "backend", "message"),
    [
        (
            {"own": {"backend": "ollama", "dim": 4}},
            {"models": {"own": "own"}},
            "the context of own is not known, and Ollama would truncate",
        ),
        ({}, {"extra": {"options": 4096}}, "extra.options must be a table"),
    ],
    ids=["context", "options"],
)
def test_invalid_rows_are_refused(
    tmp_path: Path, models: dict[str, Any], backend: dict[str, Any], message: str
) -> None:
    facts: dict[str, Any] = {"normalized": True, "distance": "cosine", "licence": "MIT"}
    facts |= {"languages": "en", "document": {"prompt": ""}, "query": {"prompt": ""}}
    user_rows = rows(tmp_path, {name: facts | row for name, row in models.items()}, backend)
    with OllamaServer() as server, pytest.raises(UsageError, match=message):
        connected(server, next(iter(models), "bge-m3"), rows=user_rows)


def test_missing_model_names_the_pull_command(tmp_path: Path) -> None:
    user_rows = rows(tmp_path, {}, {"models": {"bge-m3": "bge-m3:567m-fp16"}})
    with OllamaServer() as server, connected(server, "bge-m3", rows=user_rows) as embedder:
        with pytest.raises(BackendError, match=r"127.* has no model bge-m3:567m-fp16; on that"):
            embedder.query("text")
        with pytest.raises(BackendError, match=r"ollama pull bge-m3:567m-fp16$"):
            embedder.query("text")
        assert len(server.requests) == 2


# ---- Errors


@pytest.fixture(params=[OllamaServer, OllamaLegacyServer], ids=["embed", "legacy"])
def server(request: pytest.FixtureRequest) -> Iterator[OllamaServer]:
    with request.param() as server:
        yield server


def test_tokens_are_the_counted_ones() -> None:
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        embedder.documents(TEXTS)
        assert embedder.usage.tokens == sum(tokens(text) for text in TEXTS)
        assert not embedder.usage.usages[0].estimated


@pytest.mark.parametrize(
    "fault",
    [
        faults.text(503, b'{"error":"server busy, please try again.  maximum pending requests"}'),
        faults.failing(499),
    ],
    ids=["queue", "cancelled"],
)
def test_transient_faults_are_retried(server: OllamaServer, fault: Fault) -> None:
    server.faults += [fault, fault]
    with connected(server, "bge-m3") as embedder:
        assert embedder.query("one two").shape == (1024,)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (OllamaServer, b'{"model":"bge-m3","embeddings":[]}', "answered 0 vectors for 1 text"),
        (OllamaServer, b'{"embedding":[1.0]}', "answered no list of embeddings"),
        (OllamaLegacyServer, b'{"embedding":[]}', "vectors of 0 dimensions, not 1024"),
        (OllamaLegacyServer, b'{"embeddings":[[1.0]]}', "an item without an embedding"),
    ],
    ids=["empty", "legacy", "legacy-empty", "newer"],
)
def test_malformed_answers_raise(kind: type[OllamaServer], body: bytes, message: str) -> None:
    with kind() as server, connected(server, "bge-m3") as embedder:
        server.faults.append(faults.text(200, body))
        with pytest.raises(BackendError, match=message):
            embedder.documents(["one"])
        assert len(server.requests) == 1


NAN = faults.text(400, json.dumps({"error": "embedding contains NaN or Inf values"}).encode())


def test_text_with_a_nan_vector_is_found() -> None:
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        server.faults += [NAN, Fault(), NAN]  # the batch, the probe, and the first half
        with pytest.raises(DocumentError, match="400 embedding contains NaN"):
            embedder.documents(TEXTS)
        assert [request.body["input"] for request in server.requests][:3] == [
            TEXTS,
            ["text"],
            [TEXTS[0]],
        ]


def test_nan_for_every_text_raises() -> None:
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        server.faults += [NAN, NAN]
        with pytest.raises(BackendError, match=r"NaN .*\(a plain one-word text is refused too\)"):
            embedder.documents(TEXTS)


def test_optional_key_for_a_proxy(tmp_path: Path) -> None:
    user_rows = rows(tmp_path, {}, {"keys": ["OLLAMA_API_KEY"], "key_required": False})
    with OllamaServer("secret") as server:
        with (
            connected(server, "bge-m3", rows=user_rows) as embedder,
            pytest.raises(BackendError, match=r"without a key \(set OLLAMA_API_KEY\): 401"),
        ):
            embedder.query("text")
        with connect(
            "bge-m3",
            backends=[BackendConfig("ollama", server.url)],
            catalog=user_rows,
            environ={"OLLAMA_API_KEY": "secret"},
        ) as embedder:
            assert embedder.query("text").shape == (1024,)


def test_nan_of_one_text_is_found_without_waits() -> None:
    """Ollama answers 500 for the whole batch when its runner makes NaN of one text."""
    body = json.dumps({"error": "failed to encode response: json: unsupported value: NaN"})
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        server.faults += [
            faults.text(500, body.encode()),
            Fault(),
            faults.text(500, body.encode()),
        ]
        with pytest.raises(DocumentError, match="unsupported value: NaN"):
            embedder.documents(TEXTS)


def test_dead_runner_is_the_failure_of_the_backend() -> None:
    message = 'do embedding request: Post "http://127.0.0.1:1/embedding": EOF'
    dead = faults.text(400, json.dumps({"error": message}).encode())
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        server.faults += [dead]
        assert len(embedder.documents(TEXTS)) == len(TEXTS)  # it was started again
        server.faults += [dead] * 100
        with pytest.raises(BackendError, match="do embedding request"):
            embedder.documents(TEXTS)


def test_too_little_memory_ends_the_run_at_once() -> None:
    message = "model requires more system memory (32.4 GiB) than is available (21.7 GiB)"
    with OllamaServer() as server, connected(server, "bge-m3") as embedder:
        server.faults += [faults.text(500, json.dumps({"error": message}).encode())] * 9
        with pytest.raises(BackendError, match=r"options\.num_ctx"):
            embedder.documents(TEXTS)
        assert len(server.requests) == 1


def test_a_model_of_another_size_is_refused_before_a_text_is_sent() -> None:
    """Somebody gave another model this name."""
    with OllamaServer() as server:
        server.impostor = "bge-m3"
        with (
            connected(server, "all-minilm-l6-v2") as embedder,
            pytest.raises(BackendError, match="runs a model of 1,024 dimensions as all-minilm"),
        ):
            embedder.documents(TEXTS)
        assert not server.requests
        assert len(server.asked) == 1


def test_the_context_of_the_pulled_model_is_used() -> None:
    with OllamaServer(context=100) as server, connected(server, "all-minilm-l6-v2") as embedder:
        embedder.documents(TEXTS)
        embedder.documents(TEXTS)
        assert {request.body["options"]["num_ctx"] for request in server.requests} == {100}
        assert len(server.asked) == 1  # /api/show
