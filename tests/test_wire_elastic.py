"""Elasticsearch's inference API: the exact requests, non-default endpoints, its errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl import catalog
from ragctl.catalog import BackendConfig, Layer
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import BackendError, DocumentError, UsageError
from tests.servers import faults
from tests.servers.elastic import ElasticServer, Endpoint
from tests.servers.vectors import vector

V5 = "jina-embeddings-v5-text-small"
TEXTS = ["раз два", "three"]
KEY = "aWQ6c2VjcmV0"

MODELS = [
    ("jina-embeddings-v3", 256, 1024),
    ("jina-embeddings-v5-text-small", None, 1024),
    ("jina-embeddings-v5-text-nano", 128, 768),
]


def connected(
    server: ElasticServer,
    model: str = V5,
    dim: int | None = 64,
    *,
    task: str | None = None,
    key: str | None = KEY,
    rows: catalog.Catalog | None = None,
) -> Embedder:
    return connect(
        model,
        dim=dim,
        task=task,
        backends=[BackendConfig("elastic", server.url)],
        catalog=rows,
        environ={"ELASTIC_API_KEY": key} if key else {},
        patience=Patience(total=0.2, first=0.001, longest=0.01, read=5),
    )


def rows(tmp_path: Path, models: dict[str, str]) -> catalog.Catalog:
    """Return the catalogue with a user's own endpoint names merged in."""
    layer = Layer("models", {}, "backends", {"elastic": {"models": models}})
    return user_catalog({"RAGCTL_CONFIG": str(tmp_path)}, layer)


@pytest.fixture
def server() -> Iterator[ElasticServer]:
    with ElasticServer(KEY) as server:
        yield server


def bodies(server: ElasticServer) -> list[Any]:
    return [request.body for request in server.requests]


@pytest.mark.parametrize(("model", "dim", "native"), MODELS, ids=[row[0] for row in MODELS])
def test_request(server: ElasticServer, model: str, dim: int | None, native: int) -> None:
    """`dimensions` is not sent: the full vector is truncated by ragctl."""
    with connected(server, model, dim) as embedder:
        documents = embedder.documents(TEXTS)
        query = embedder.query("three")
    assert bodies(server) == [
        {"input": TEXTS, "input_type": "ingest"},
        {"input": ["three"], "input_type": "search"},
    ]
    path = f"/_inference/text_embedding/{model}?timeout=60s"
    assert [request.path for request in server.requests] == [path, path]
    assert server.requests[0].headers["Authorization"] == f"ApiKey {KEY}"
    expected = vector(TEXTS[0], "document", model, native, dim)
    np.testing.assert_allclose(documents[0], expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", "query", model, native, dim), atol=1e-6)


def test_every_catalogue_row_is_tested() -> None:
    served = package_catalog().backend("elastic").models
    assert {row[0] for row in MODELS} == set(served)


@pytest.mark.parametrize(
    ("model", "task", "kind"),
    [
        (V5, "classification", "classification"),
        (V5, "clustering", "clustering"),
        ("jina-embeddings-v3", "clustering", "clustering"),  # Jina's name of the task is separation
    ],
)
def test_other_tasks(server: ElasticServer, model: str, task: str, kind: str) -> None:
    with connected(server, model, task=task) as embedder:
        embedder.documents(["one"])
        embedder.query("one")
    assert [body["input_type"] for body in bodies(server)] == [kind, kind]


def test_task_without_an_input_type_is_refused(server: ElasticServer, tmp_path: Path) -> None:
    model = "jina-code-embeddings-0.5b"
    user_rows = rows(tmp_path, {model: model})
    with pytest.raises(UsageError, match=r"elastic cannot ask jina-code.* for nl2code.passage: it"):
        connected(server, model, rows=user_rows)


def test_requests_have_at_most_16_texts(server: ElasticServer) -> None:
    with connected(server) as embedder:
        assert embedder.documents([f"text {n}" for n in range(40)]).shape == (40, 64)
    assert max(len(body["input"]) for body in bodies(server)) == 16


# ---- Endpoints


def test_endpoint_name_is_quoted_in_the_path(tmp_path: Path) -> None:
    endpoints = {".jina/v5 small": Endpoint(V5)}
    with (
        ElasticServer(KEY, endpoints=endpoints) as server,
        connected(server, rows=rows(tmp_path, {V5: ".jina/v5 small"})) as embedder,
    ):
        embedder.query("one")
        path = "/_inference/text_embedding/.jina%2Fv5%20small?timeout=60s"
        assert server.requests[0].path == path


@pytest.mark.parametrize("created", [True, False])
def test_the_endpoint_that_the_stack_created_comes_first(created: bool) -> None:
    endpoints = {f".{V5}": Endpoint(V5)} | ({V5: Endpoint(V5)} if created else {})
    with ElasticServer(KEY, endpoints=endpoints) as server, connected(server) as embedder:
        vectors = embedder.documents(TEXTS)
        embedder.query("one")
        assert {r.path for r in server.requests} == {
            f"/_inference/text_embedding/.{V5}?timeout=60s"
        }
        assert server.gets == ["/_inference"]
    np.testing.assert_allclose(vectors[0], vector(TEXTS[0], "document", V5, 1024, 64), atol=1e-6)


def test_a_cluster_without_that_endpoint_uses_the_created_one(server: ElasticServer) -> None:
    with connected(server) as embedder:
        embedder.query("one")
    assert server.requests[0].path == f"/_inference/text_embedding/{V5}?timeout=60s"


def test_a_key_that_may_not_list_endpoints_uses_the_name_in_the_row() -> None:
    endpoints = {f".{V5}": Endpoint(V5), V5: Endpoint(V5)}
    with (
        ElasticServer(KEY, endpoints=endpoints, may_list=False) as server,
        connected(server) as embedder,
    ):
        embedder.query("one")
        assert server.requests[0].path == f"/_inference/text_embedding/{V5}?timeout=60s"


def test_a_row_of_your_own_names_the_endpoint(tmp_path: Path) -> None:
    endpoints = {f".{V5}": Endpoint(V5), "mine": Endpoint(V5, service="openai", named="alias-1")}
    with (
        ElasticServer(KEY, endpoints=endpoints) as server,
        connected(server, rows=rows(tmp_path, {V5: "mine"})) as embedder,
    ):
        embedder.query("one")
        assert server.requests[0].path == "/_inference/text_embedding/mine?timeout=60s"


def test_an_endpoint_that_runs_another_model_is_refused(tmp_path: Path) -> None:
    with (
        ElasticServer(KEY, endpoints={"mine": Endpoint("jina-embeddings-v3")}) as server,
        connected(server, rows=rows(tmp_path, {V5: "mine"})) as embedder,
    ):
        with pytest.raises(BackendError, match=rf"endpoint mine runs jina-embeddings-v3, not {V5}"):
            embedder.query("one")
        assert server.requests == []


@pytest.mark.parametrize(
    "answer", [[], {"endpoints": 3}, {"endpoints": [1, {"task_type": "text_embedding"}]}]
)
def test_a_list_of_endpoints_that_makes_no_sense_is_ignored(answer: object) -> None:
    class Odd(ElasticServer):
        def get(self, path: str) -> object:
            return answer

    with Odd(KEY) as server, connected(server) as embedder:
        assert embedder.query("one").shape == (64,)


def test_endpoint_with_fewer_dimensions() -> None:
    with ElasticServer(KEY, endpoints={V5: Endpoint(V5, dim=256)}) as server:
        with connected(server, dim=256) as embedder:
            expected = vector("one", "query", V5, 1024, 256)
            np.testing.assert_allclose(embedder.query("one"), expected, atol=1e-6)
        with (
            connected(server, dim=64) as embedder,
            pytest.raises(BackendError, match="vectors of 256 dimensions, not 64"),
        ):
            embedder.query("one")


@pytest.mark.parametrize("element", ["byte", "bit"])
def test_endpoint_without_float_vectors_raises(element: Any) -> None:
    with (
        ElasticServer(KEY, endpoints={V5: Endpoint(V5, element=element)}) as server,
        connected(server) as embedder,
        pytest.raises(BackendError, match=f"text_embedding_{element}s: .* created with float"),
    ):
        embedder.query("one")


def test_missing_endpoint_raises(tmp_path: Path) -> None:
    with (
        ElasticServer(KEY) as server,
        connected(server, rows=rows(tmp_path, {V5: "mine"})) as embedder,
    ):
        with pytest.raises(BackendError, match=r"no inference endpoint mine; .* PUT _inference/te"):
            embedder.query("one")
        assert len(server.requests) == 1


# ---- Errors


def test_wrong_or_missing_key_raises(server: ElasticServer) -> None:
    with connected(server, key="d3Jvbmc6") as embedder:
        with pytest.raises(BackendError, match="the key in ELASTIC_API_KEY: 401 unable") as caught:
            embedder.query("one")
        assert "d3Jvbmc6" not in str(caught.value)
    with (
        connected(server, key=None) as embedder,
        pytest.raises(BackendError, match=r"without a key \(set ELASTIC_API_KEY\): 401 missing"),
    ):
        embedder.query("one")


def test_long_text_is_found_by_a_probe() -> None:
    """The host gives no code and no field: a probe shows that the text is the reason."""
    with ElasticServer(KEY, context=30) as server, connected(server) as embedder:
        with pytest.raises(DocumentError, match="400 Input exceeds the context of the model"):
            embedder.documents(["short", "far too long " * 20])
        sent = [body["input"] for body in bodies(server)]
        assert sent[1:3] == [["text"], ["short"]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"text_embedding":[[1.0],[2.0]]}', "an item without an embedding"),
        (b'{"embeddings":[{"embedding":[1.0]},{"embedding":[1.0]}]}', "no list of embeddings"),
    ],
)
def test_malformed_answers_raise(server: ElasticServer, body: bytes, message: str) -> None:
    server.faults.append(faults.text(200, body))
    with connected(server) as embedder, pytest.raises(BackendError, match=message):
        embedder.documents(TEXTS)
