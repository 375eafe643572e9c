"""Each model on each wire: the exact requests for documents and queries, and the vectors.

Backends are reached through `connect` and a real socket; the servers hold the facts about
hosts independently of the catalogue, tests/facts.py those about models. All rows of the
catalogue are tested: a row without facts fails.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragctl.catalog import BackendConfig
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.wire_registry import WIRES
from ragctl.errors import DocumentError, UsageError
from ragctl.records import Json
from tests.facts import FACTS, LAYER_NORM, NOT_CUT_BY_JINA, OPENAI, SIZES
from tests.servers import faults
from tests.servers.cohere import CohereServer
from tests.servers.elastic import ElasticServer
from tests.servers.gemini import GeminiServer
from tests.servers.host import EmbeddingServer
from tests.servers.jina import JinaServer
from tests.servers.ollama import OllamaLegacyServer, OllamaServer
from tests.servers.openai import OpenAIServer
from tests.servers.tei import TeiServer
from tests.servers.vectors import vector
from tests.servers.voyage import VoyageServer

pytestmark = pytest.mark.slow

SERVERS: dict[str, Callable[[str], EmbeddingServer]] = {
    "cohere": lambda model_id: CohereServer("secret"),
    "voyage": lambda model_id: VoyageServer("secret"),
    "gemini": lambda model_id: GeminiServer("secret"),
    "elastic": lambda model_id: ElasticServer("secret"),
    "ollama": lambda model_id: OllamaServer(),
    "ollama-legacy": lambda model_id: OllamaLegacyServer(),
    "tei": lambda model_id: TeiServer("secret", model=model_id),
}
"""A server for each other wire, given the model's id on it. Exact requests: test_wire_*.py."""


def rows(*wires: str) -> list[Any]:
    """Return every (backend, model, dimensions) of the catalogue on these wires."""
    return [
        pytest.param(backend.name, model, dim, id=f"{backend.name}-{model}-{dim}")
        for backend in package_catalog().backends.values()
        if backend.wire in wires
        for model in backend.models
        for dim in dict.fromkeys((FACTS[model].native, FACTS[model].smaller))
        if dim is not None
    ]


def connected(
    server: EmbeddingServer, model: str, backend: str | None = None, dim: int | None = None
) -> Embedder:
    row = package_catalog().backend(backend or package_catalog().model(model).backend)
    environ: Mapping[str, str] = {row.keys[0]: "secret"} if row.keys else {}
    return connect(
        model,
        dim=dim,
        backends=[BackendConfig(backend, server.url)],
        environ=environ,
        patience=Patience(total=0.2, first=0.001, read=5),
    )


def bodies(server: EmbeddingServer) -> list[Any]:
    return [request.body for request in server.requests]


def layer_normed(whole: NDArray[np.float64]) -> NDArray[np.float64]:
    normed: NDArray[np.float64] = (whole - whole.mean()) / whole.std()
    return normed


def check_vectors(embedder: Embedder, model: str, dim: int) -> None:
    """Embed both sides and compare with the vectors of the test servers."""
    documents = embedder.documents(["раз два", "three"])
    query = embedder.query("three")
    facts = FACTS[model]
    for embedded, text, side in ((documents[0], "раз два", "document"), (query, "three", "query")):
        length = facts.largest or facts.native
        whole = vector(text, side if facts.sided else None, model, length)
        if model == LAYER_NORM and dim < facts.native:
            whole = layer_normed(whole)
        np.testing.assert_allclose(embedded, whole[:dim] / np.linalg.norm(whole[:dim]), atol=1e-6)
    assert documents.dtype == np.float32
    assert embedder.identity.dimension == dim


@pytest.mark.parametrize(("backend", "model", "dim"), rows("jina"))
def test_jina_request(backend: str, model: str, dim: int) -> None:
    key = "secret" if backend == "jina" else None
    with JinaServer(key=key) as server, connected(server, model, backend, dim) as embedder:
        check_vectors(embedder, model, dim)
    facts = FACTS[model]
    common: dict[str, Json] = {"model": model, "embedding_type": "base64", "truncate": False}
    if facts.smaller and model != NOT_CUT_BY_JINA:
        common["dimensions"] = dim
    if facts.unit:
        common["normalized"] = True
    named = [{"task": task} if task else {} for task in facts.tasks]
    assert bodies(server) == [
        common | {"input": ["раз два", "three"]} | named[0],
        common | {"input": ["three"]} | named[1],
    ]
    assert {request.path for request in server.requests} == {"/v1/embeddings"}
    authorization = {request.headers.get("Authorization") for request in server.requests}
    assert authorization == {f"Bearer {key}" if key else None}


@pytest.mark.parametrize(("backend", "model", "dim"), rows("openai"))
def test_openai_request(backend: str, model: str, dim: int) -> None:
    encoding, names = OPENAI[backend]
    with (
        OpenAIServer(key="secret", like=backend, runs=names[model]) as server,
        connected(server, model, backend, dim) as embedder,
    ):
        check_vectors(embedder, model, dim)
    facts = FACTS[model]
    common: dict[str, Json] = {"model": names[model]}
    if encoding:
        common["encoding_format"] = encoding
    if facts.smaller and backend in SIZES and SIZES[backend](model, dim):
        common["dimensions"] = dim
    document, query = facts.prompts
    sent = bodies(server)
    if backend in ("router", "deepinfra"):  # base64 is tried, and refused
        assert sent.pop(0) == sent[0] | {"encoding_format": "base64"}
    assert sent == [
        common | {"input": [f"{document}раз два", f"{document}three"]},
        common | {"input": [f"{query}three"]},
    ]
    sides = ("document", "query") if facts.sided else (None, None)
    assert [text.side for text in server.texts] == [sides[0], sides[0], sides[1]]
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(("backend", "model", "dim"), rows(*SERVERS))
def test_vectors_on_every_other_wire(backend: str, model: str, dim: int) -> None:
    model_id = package_catalog().backend(backend).models[model].id
    with (
        SERVERS[package_catalog().backend(backend).wire](model_id) as server,
        connected(server, model, backend, dim) as embedder,
    ):
        check_vectors(embedder, model, dim)


def test_every_catalogue_row_is_tested() -> None:
    hosts = {name for name in WIRES.names if not WIRES.traits(name).in_process}
    assert hosts == {"jina", "openai", *SERVERS}, "SERVERS must have a server for each wire"
    for backend in package_catalog().backends.values():
        if backend.wire == "openai":
            assert OPENAI[backend.name][1] == {name: row.id for name, row in backend.models.items()}
        elif backend.wire == "jina":
            assert all(name == row.id for name, row in backend.models.items())
    models = set(package_catalog().models) - {"builtin"}
    assert set(FACTS) == models, "tests/facts.py must have the facts of each model"


@pytest.mark.parametrize(("dim", "sent"), [(1536, False), (2560, False), (2048, True)])
def test_siliconflow_gets_only_dimensions_on_its_list(dim: int, sent: bool) -> None:
    """For other dimensions the full vector is fetched and truncated; .cn lists two more."""
    for backend, more in (("siliconflow", sent), ("siliconflow-cn", True)):
        with (
            OpenAIServer(key="secret", like=backend) as server,
            connected(server, "qwen3-embedding-8b", backend, dim) as embedder,
        ):
            check_vectors(embedder, "qwen3-embedding-8b", dim)
        assert {body.get("dimensions") for body in bodies(server)} == {dim if more else None}


@pytest.mark.parametrize(
    ("model", "task", "sides"),
    [
        ("jina-embeddings-v3", "clustering", ("separation", "separation")),
        ("jina-embeddings-v4", "code", ("code.passage", "code.query")),
        ("jina-embeddings-v5-text-nano", "text-matching", ("text-matching", "text-matching")),
        ("jina-code-embeddings-1.5b", "code2nl", ("code2nl.passage", "code2nl.query")),
    ],
)
def test_jina_task(model: str, task: str, sides: tuple[str, str]) -> None:
    with (
        JinaServer(key="secret") as server,
        connect(
            model,
            task=task,
            backends=[BackendConfig(base_url=server.url)],
            environ={"JINA_API_KEY": "secret"},
        ) as embedder,
    ):
        embedder.documents(["one"])
        embedder.query("two")
    assert [body["task"] for body in bodies(server)] == list(sides)
    assert (embedder.identity.document, embedder.identity.query) == sides


def test_task_by_prompts() -> None:
    with (
        OpenAIServer(key="secret", like="vllm") as server,
        connect(
            "jina-code-embeddings-0.5b",
            task="qa",
            backends=[BackendConfig("vllm", server.url)],
            environ={"VLLM_API_KEY": "secret"},
        ) as embedder,
    ):
        embedder.documents(["one"])
        embedder.query("two")
    assert [body["input"] for body in bodies(server)] == [
        ["Candidate answer:\none"],
        ["Find the most relevant answer given the following question:\ntwo"],
    ]


def test_other_task_on_a_single_task_host_is_refused() -> None:
    with pytest.raises(UsageError, match=r"vllm serves .*, but for retrieval: clustering needs ot"):
        connect(
            "jina-embeddings-v5-text-small",
            task="clustering",
            backends=[BackendConfig("vllm")],
            environ={},
        )


def test_identity_and_vectors_are_the_same_through_two_backends() -> None:
    """The identity contains the model's sides, not the wire's parameters."""
    model = "jina-embeddings-v5-text-small"
    through_jina, through_vllm = JinaServer(), OpenAIServer(like="vllm")
    with (
        through_jina,
        through_vllm,
        connected(through_jina, model, "jina", 256) as jina,
        connected(through_vllm, model, "vllm", 256) as vllm,
    ):
        assert jina.identity == vllm.identity
        assert jina.identity.to_json() == {
            "model": model,
            "revision": None,
            "dimension": 256,
            "document": "retrieval.passage",
            "query": "retrieval.query",
            "normalized": True,
            "distance": "cosine",
            "late_chunking": False,
            "element": "float32",
            "family": "jina-v5-small",
        }
        texts = ["one document", "два"]
        np.testing.assert_allclose(jina.documents(texts), vllm.documents(texts), atol=1e-6)
        np.testing.assert_allclose(jina.query("one"), vllm.query("one"), atol=1e-6)


def test_test_servers_distinguish_the_sides() -> None:
    """The other tests rely on this: a query embedded as a document finds the wrong result."""
    topics = [f"topic{n} alpha{n} beta{n} common words" for n in range(30)]
    with JinaServer() as server, connected(server, "jina-embeddings-v3", dim=128) as embedder:
        documents = embedder.documents(topics)
        right = [int(np.argmax(documents @ embedder.query(f"alpha{n} beta{n}"))) for n in range(30)]
        as_documents = embedder.documents([f"alpha{n} beta{n}" for n in range(30)])
        wrong = np.argmax(as_documents @ documents.T, axis=1)
    assert right == list(range(30))
    assert sum(int(embedded) == n for n, embedded in enumerate(wrong)) < 10


@pytest.mark.parametrize(
    ("times", "message"), [(1, "larger than the max context size"), (2, "too large to process")]
)
def test_a_long_text_for_llama_cpp_is_a_refused_text(times: int, message: str) -> None:
    """It answers 400 for a text beyond the context, and 500 for one beyond its batch."""
    long = "one two three four five six seven " * times
    with (
        OpenAIServer(like="llama.cpp", context=6) as server,
        connected(server, "qwen3-embedding-0.6b", "llama.cpp") as embedder,
    ):
        with pytest.raises(DocumentError, match=message):
            embedder.documents(["short", long, "also short"])
        assert len(server.requests) <= 5  # bisected, not retried


def test_vllm_names_a_field_that_was_not_sent_for_a_long_text() -> None:
    """As version 0.32 answers."""
    message = "This model's maximum context length is 512 tokens. However, there are 513."
    error = {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
    with (
        OpenAIServer(like="vllm") as server,
        connected(server, "qwen3-embedding-0.6b", "vllm") as embedder,
    ):
        server.faults.append(faults.text(400, json.dumps({"error": error}).encode()))
        with pytest.raises(DocumentError, match="maximum context length is 512"):
            embedder.documents(["a long text"])
