"""Each model on each wire: the exact request for a document and for a query, and what comes of it.

Backends are reached through `connect` and a real socket; the servers hold the
facts of the hosts on their own account.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ragctl import catalog
from ragctl.embedding import Embedder, Patience, connect
from ragctl.records import Json
from tests.servers.host import EmbeddingServer
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer
from tests.servers.vectors import vector

QWEN = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
V2: dict[str, Json] = {"embedding_type": "base64", "truncate": False, "normalized": True}
FLOAT: dict[str, Json] = {"encoding_format": "float"}
NOTHING: dict[str, Json] = {}
V5 = ("Document: ", "Query: ")
E5 = ("passage: ", "query: ")
RETRIEVAL = ("retrieval.passage", "retrieval.query")

JINA: list[tuple[str, int | None, tuple[str, str] | None, dict[str, Json]]] = [
    ("jina-embeddings-v2-base-en", None, None, V2),
    ("jina-embeddings-v2-base-de", None, None, V2),
    ("jina-embeddings-v2-base-es", None, None, V2),
    ("jina-embeddings-v2-base-zh", None, None, V2),
    ("jina-embeddings-v3", 256, RETRIEVAL, V2 | {"dimensions": 256}),
    (
        "jina-embeddings-v4",
        None,
        RETRIEVAL,
        {"embedding_type": "base64", "truncate": False, "dimensions": 2048},
    ),
    ("jina-embeddings-v5-text-small", 512, RETRIEVAL, V2 | {"dimensions": 512}),
    ("jina-embeddings-v5-text-nano", None, RETRIEVAL, V2 | {"dimensions": 768}),
    (
        "jina-code-embeddings-0.5b",
        None,
        ("nl2code.passage", "nl2code.query"),
        {"embedding_type": "base64", "truncate": False, "dimensions": 896},
    ),
    (
        "jina-code-embeddings-1.5b",
        128,
        ("nl2code.passage", "nl2code.query"),
        {"embedding_type": "base64", "truncate": False, "dimensions": 128},
    ),
]

# backend, model, its name there, dim, prompts, further fields
OPENAI: list[tuple[str, str, str, int | None, tuple[str, str], dict[str, Json]]] = [
    (
        "openai",
        "text-embedding-3-small",
        "text-embedding-3-small",
        None,
        ("", ""),
        {"encoding_format": "base64", "dimensions": 1536},
    ),
    (
        "openai",
        "text-embedding-3-large",
        "text-embedding-3-large",
        256,
        ("", ""),
        {"encoding_format": "base64", "dimensions": 256},
    ),
    (
        "siliconflow",
        "qwen3-embedding-8b",
        "Qwen/Qwen3-Embedding-8B",
        1024,
        ("", QWEN),
        {"encoding_format": "float", "dimensions": 1024},
    ),
    (  # 1536 is not in the host's list: the whole vector is fetched and cut here
        "siliconflow",
        "qwen3-embedding-8b",
        "Qwen/Qwen3-Embedding-8B",
        1536,
        ("", QWEN),
        {"encoding_format": "float"},
    ),
    (
        "siliconflow",
        "qwen3-embedding-4b",
        "Qwen/Qwen3-Embedding-4B",
        None,
        ("", QWEN),
        {"encoding_format": "float"},
    ),
    ("siliconflow", "bge-m3", "BAAI/bge-m3", None, ("", ""), {"encoding_format": "float"}),
    (
        "siliconflow-cn",
        "qwen3-embedding-8b",
        "Qwen/Qwen3-Embedding-8B",
        1536,
        ("", QWEN),
        {"encoding_format": "float", "dimensions": 1536},
    ),
    (
        "siliconflow-cn",
        "qwen3-embedding-4b",
        "Qwen/Qwen3-Embedding-4B",
        None,
        ("", QWEN),
        {"encoding_format": "float", "dimensions": 2560},
    ),
    ("siliconflow-cn", "bge-m3", "BAAI/bge-m3", None, ("", ""), {"encoding_format": "float"}),
    *(
        (
            "deepinfra",
            f"qwen3-embedding-{size.lower()}",
            f"Qwen/Qwen3-Embedding-{size}",
            512,
            ("", QWEN),
            FLOAT | {"dimensions": 512},
        )
        for size in ("0.6B", "4B", "8B")
    ),
    (
        "deepinfra",
        "multilingual-e5-large",
        "intfloat/multilingual-e5-large",
        None,
        E5,
        {"encoding_format": "float"},
    ),
    (
        "fireworks",
        "qwen3-embedding-8b",
        "fireworks/qwen3-embedding-8b",
        1024,
        ("", QWEN),
        {"dimensions": 1024},
    ),
    ("scaleway", "qwen3-embedding-8b", "qwen3-embedding-8b", 1024, ("", QWEN), {}),
    (
        "openrouter",
        "qwen3-embedding-8b",
        "qwen/qwen3-embedding-8b",
        1024,
        ("", QWEN),
        {"encoding_format": "float"},
    ),
    *(
        ("router", name, name, dim, prompts, NOTHING)
        for name, dim, prompts in (
            ("bge-m3", None, ("", "")),
            ("multilingual-e5-large", None, E5),
            ("qwen3-embedding-0.6b", None, ("", QWEN)),
            ("qwen3-embedding-4b", 64, ("", QWEN)),
            ("qwen3-embedding-8b", 1024, ("", QWEN)),
            ("text-embedding-3-small", 512, ("", "")),
            ("text-embedding-3-large", None, ("", "")),
        )
    ),
    *(
        ("vllm", name, there, dim, prompts, FLOAT)
        for name, there, dim, prompts in (
            ("bge-m3", "BAAI/bge-m3", None, ("", "")),
            (
                "jina-embeddings-v5-text-small",
                "jinaai/jina-embeddings-v5-text-small-retrieval",
                256,
                V5,
            ),
            (
                "multilingual-e5-large",
                "intfloat/multilingual-e5-large",
                None,
                E5,
            ),
            (
                "multilingual-e5-small",
                "intfloat/multilingual-e5-small",
                None,
                E5,
            ),
            ("qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B", 128, ("", QWEN)),
            ("qwen3-embedding-4b", "Qwen/Qwen3-Embedding-4B", None, ("", QWEN)),
            ("qwen3-embedding-8b", "Qwen/Qwen3-Embedding-8B", None, ("", QWEN)),
        )
    ),
    *(
        ("infinity", name, there, None, prompts, FLOAT)
        for name, there, prompts in (
            ("bge-m3", "BAAI/bge-m3", ("", "")),
            ("multilingual-e5-large", "intfloat/multilingual-e5-large", E5),
            ("multilingual-e5-small", "intfloat/multilingual-e5-small", E5),
        )
    ),
    *(
        ("llama.cpp", name, there, dim, prompts, NOTHING)
        for name, there, dim, prompts in (
            (
                "jina-embeddings-v4",
                "jina-embeddings-v4-text-retrieval",
                512,
                ("Passage: ", "Query: "),
            ),
            (
                "jina-embeddings-v5-text-small",
                "jina-embeddings-v5-text-small-retrieval",
                None,
                V5,
            ),
            ("qwen3-embedding-0.6b", "qwen3-embedding-0.6b", 256, ("", QWEN)),
            ("qwen3-embedding-4b", "qwen3-embedding-4b", None, ("", QWEN)),
            ("qwen3-embedding-8b", "qwen3-embedding-8b", 1024, ("", QWEN)),
        )
    ),
]


def connected(
    server: EmbeddingServer, model: str, backend: str | None = None, dim: int | None = None
) -> Embedder:
    row = catalog.builtin().provider(backend or catalog.builtin().model(model).backend)
    environ: Mapping[str, str] = {row.keys[0]: "secret"}
    return connect(
        model,
        dim=dim,
        backend=backend,
        base_url=server.url,
        environ=environ,
        patience=Patience(total=0.2, first=0.001, read=5),
    )


def bodies(server: EmbeddingServer) -> list[Any]:
    return [request.body for request in server.requests]


@pytest.mark.parametrize(("model", "dim", "tasks", "fields"), JINA, ids=[row[0] for row in JINA])
def test_jina_request(
    model: str, dim: int | None, tasks: tuple[str, str] | None, fields: dict[str, Json]
) -> None:
    with JinaServer(key="secret") as server, connected(server, model, dim=dim) as embedder:
        documents = embedder.documents(["раз два", "three"])
        query = embedder.query("three")
    named = [{"task": task} for task in tasks] if tasks else [{}, {}]
    common = {"model": model} | fields
    assert bodies(server) == [
        common | {"input": ["раз два", "three"]} | named[0],
        common | {"input": ["three"]} | named[1],
    ]
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    sides = ("document", "query") if tasks else (None, None)
    native = catalog.builtin().model(model).dim
    size = dim or native
    expected = vector("раз два", sides[0], model, native, size)
    np.testing.assert_allclose(documents[0], expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", sides[1], model, native, size), atol=1e-6)
    assert documents.dtype == np.float32
    assert embedder.identity["dimension"] == size


@pytest.mark.parametrize(
    ("backend", "model", "there", "dim", "prompts", "fields"),
    OPENAI,
    ids=[f"{row[0]}-{row[1]}-{row[3]}" for row in OPENAI],
)
def test_openai_request(
    backend: str,
    model: str,
    there: str,
    dim: int | None,
    prompts: tuple[str, str],
    fields: dict[str, Json],
) -> None:
    with (
        OpenAIServer(key="secret", like=backend) as server,
        connected(server, model, backend, dim) as embedder,
    ):
        documents = embedder.documents(["раз два", "three"])
        query = embedder.query("three")
    common = {"model": there} | fields
    assert bodies(server) == [
        common | {"input": [prompts[0] + "раз два", prompts[0] + "three"]},
        common | {"input": [prompts[1] + "three"]},
    ]
    sides = ("document", "query") if any(prompts) else (None, None)
    assert [text.side for text in server.texts] == [sides[0], sides[0], sides[1]]
    native = catalog.builtin().model(model).dim
    expected = vector("раз два", sides[0], model, native, dim or native)
    np.testing.assert_allclose(documents[0], expected, atol=1e-6)
    expected = vector("three", sides[1], model, native, dim or native)
    np.testing.assert_allclose(query, expected, atol=1e-6)


def test_every_row_of_the_catalogue_is_tested_above() -> None:
    tested = {("jina", row[0]) for row in JINA} | {(row[0], row[1]) for row in OPENAI}
    served = {
        (provider.name, model)
        for provider in catalog.builtin().providers.values()
        for model in provider.models
        if provider.wire != "builtin"
    }
    assert tested == served


def test_one_vector_space_through_every_provider() -> None:
    """The identity names the model's sides, not the wire's way to say them."""
    model = "jina-embeddings-v5-text-small"
    through_jina, through_vllm = JinaServer(), OpenAIServer(like="vllm")
    with (
        through_jina,
        through_vllm,
        connected(through_jina, model, "jina", 256) as jina,
        connected(through_vllm, model, "vllm", 256) as vllm,
    ):
        assert jina.identity == vllm.identity
        assert jina.identity == {
            "model": model,
            "revision": None,
            "dimension": 256,
            "document": "retrieval.passage",
            "query": "retrieval.query",
            "normalized": True,
            "distance": "cosine",
            "late_chunking": False,
            "element": "float32",
        }
        texts = ["one document", "два"]
        np.testing.assert_allclose(jina.documents(texts), vllm.documents(texts), atol=1e-6)
        np.testing.assert_allclose(jina.query("one"), vllm.query("one"), atol=1e-6)


def test_the_sides_of_the_test_servers_tell_right_from_wrong() -> None:
    """What the other tests rest on: a query sent as a document finds something else."""
    topics = [f"topic{n} alpha{n} beta{n} common words" for n in range(30)]
    with JinaServer() as server, connected(server, "jina-embeddings-v3", dim=128) as embedder:
        documents = embedder.documents(topics)
        right = [int(np.argmax(documents @ embedder.query(f"alpha{n} beta{n}"))) for n in range(30)]
        asked = embedder.documents([f"alpha{n} beta{n}" for n in range(30)])
        wrong = np.argmax(asked @ documents.T, axis=1)
    assert right == list(range(30))
    assert sum(int(found) == n for n, found in enumerate(wrong)) < 10
