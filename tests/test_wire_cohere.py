"""The cohere wire: the exact request of each side of each model, and the vectors."""

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, Layer
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.base import Options
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import BackendError, DocumentError
from ragctl.records import Json
from tests.servers.cohere import CohereServer
from tests.servers.faults import Fault
from tests.servers.vectors import tokens, vector

PATIENCE = Patience(total=0.2, first=0.001, read=5)

# model, dim, additional fields
MODELS: list[tuple[str, int | None, dict[str, Json]]] = [
    ("embed-multilingual-v3.0", None, {}),
    ("embed-v4.0", None, {"output_dimension": 1536}),
    ("embed-v4.0", 256, {"output_dimension": 256}),
    ("embed-v5.0-pro", None, {"output_dimension": 2048}),
    ("embed-v5.0-fast", 768, {"output_dimension": 768}),
]


def connected(
    server: CohereServer,
    model: str = "embed-v4.0",
    dim: int | None = None,
    *,
    task: str | None = None,
    truncate: bool = False,
    variable: str = "CO_API_KEY",
    **row: Json,
) -> Embedder:
    """Connect to the test server. `row` is merged into the catalogue's row."""
    rows = {"cohere": row} if row else {}
    return connect(
        model,
        dim=dim,
        task=task,
        backends=[BackendConfig(base_url=server.url)],
        catalog=user_catalog({"RAGCTL_CONFIG": "/nowhere"}, Layer("test", {}, "test", rows)),
        environ={variable: "secret"},
        patience=PATIENCE,
        options=Options(truncate=truncate),
    )


@pytest.mark.parametrize(("model", "dim", "fields"), MODELS)
def test_request(model: str, dim: int | None, fields: dict[str, Json]) -> None:
    with CohereServer("secret") as server, connected(server, model, dim) as embedder:
        documents = embedder.documents(["раз два", "three"])
        query = embedder.query("three")
    common = {"model": model, "embedding_types": ["base64"], "truncate": "NONE"} | fields
    assert [request.body for request in server.requests] == [
        common | {"texts": ["раз два", "three"], "input_type": "search_document"},
        common | {"texts": ["three"], "input_type": "search_query"},
    ]
    assert {request.path for request in server.requests} == {"/v2/embed"}
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    native = package_catalog().model(model).dim
    size = dim or native
    expected = [vector(text, "document", model, native, size) for text in ("раз два", "three")]
    np.testing.assert_allclose(documents, expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", "query", model, native, size), atol=1e-6)
    assert embedder.identity.document == "search_document"
    assert embedder.identity.query == "search_query"


def test_every_model_is_tested_above() -> None:
    assert {row[0] for row in MODELS} == set(package_catalog().backend("cohere").models)


def test_floats_by_a_row() -> None:
    with CohereServer("secret") as server:
        with connected(server) as embedder:
            plain = embedder.documents(["one", "two"])
        with connected(server, encoding="float") as embedder:
            np.testing.assert_allclose(embedder.documents(["one", "two"]), plain, atol=1e-6)
    assert [request.body["embedding_types"] for request in server.requests] == [
        ["base64"],
        ["float"],
    ]


def test_clustering_task_is_sent_for_both_sides() -> None:
    with (
        CohereServer("secret") as server,
        connected(server, "embed-multilingual-v3.0", task="clustering") as embedder,
    ):
        embedder.documents(["one"])
        embedder.query("one")
    assert [request.body["input_type"] for request in server.requests] == ["clustering"] * 2


def test_tokens_are_the_billed_ones() -> None:
    with CohereServer("secret") as server, connected(server) as embedder:
        embedder.documents(["one", "two words"])
        usage = embedder.usage.usages[0]
        assert usage.tokens == tokens("one") + tokens("two words")
        assert not usage.estimated
        assert usage.cost == pytest.approx(usage.tokens * 0.12 / 1e6)


def test_long_text_is_refused_or_truncated_on_request() -> None:
    long = "word " * 600
    with CohereServer("secret") as server:
        with (
            connected(server, "embed-multilingual-v3.0") as embedder,
            pytest.raises(DocumentError, match="400 too many tokens"),
        ):
            embedder.documents(["fine", long])
        assert [text.text for text in server.texts] == ["fine"]
        with connected(server, "embed-multilingual-v3.0", truncate=True) as embedder:
            assert embedder.documents([long]).shape == (1, 1024)
        assert server.requests[-1].body["truncate"] == "END"
        assert tokens(server.texts[-1].text) == 512


def test_requests_have_at_most_96_texts() -> None:
    with CohereServer("secret") as server, connected(server) as embedder:
        embedder.documents([f"text {n}" for n in range(200)])
    assert sum(len(request.body["texts"]) for request in server.requests) == 200
    assert max(len(request.body["texts"]) for request in server.requests) <= 96


def test_alternative_key_variable() -> None:
    with (
        CohereServer("secret") as server,
        connected(server, variable="COHERE_API_KEY") as embedder,
    ):
        assert embedder.query("one").shape == (1536,)


@pytest.mark.parametrize(
    ("status", "message", "expected_message"),
    [
        (498, "invalid token", "refused the key in CO_API_KEY: 498 invalid token"),
        (402, "add a payment method", "refused: 402 add a payment method"),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month.", "month"),
        (404, "model 'embed-v9' not found", "has no such model or address: 404"),
    ],
)
def test_fatal_errors_are_not_retried(status: int, message: str, expected_message: str) -> None:
    with CohereServer("secret") as server, connected(server) as embedder:
        server.faults.append(Fault(status, body=f'{{"message":"{message}"}}'.encode()))
        with pytest.raises(BackendError, match=expected_message):
            embedder.documents(["one", "two"])
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"embeddings":{}}',
        b'{"embeddings":{"int8":[[1,2]]}}',
        b'{"embeddings":[[1.0,2.0]]}',
        b"{}",
    ],
)
def test_embeddings_of_another_type_raise(body: bytes) -> None:
    with CohereServer("secret") as server, connected(server) as embedder:
        server.faults.append(Fault(body=body))
        with pytest.raises(BackendError, match="answered no list of embeddings"):
            embedder.documents(["one"])
