"""The voyage wire: the exact request of each side of each model, and the vectors."""

import base64
import socket
import threading

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, Layer
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.base import Options
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.embedding.wires.voyage import Voyage
from ragctl.errors import BackendError, DocumentError
from ragctl.hosts.keys import ApiKey
from ragctl.records import Json
from tests.servers.vectors import tokens, vector
from tests.servers.voyage import MODELS as HOSTED
from tests.servers.voyage import VoyageServer

PATIENCE = Patience(total=0.2, first=0.001, read=5)
CURRENT_MODELS = (
    "voyage-4-large",
    "voyage-4",
    "voyage-4-lite",
    "voyage-3-large",
    "voyage-3.5",
    "voyage-3.5-lite",
    "voyage-code-3",
)
NATIVE: dict[str, Json] = {"output_dimension": 1024}

# model, dim, additional fields
MODELS: list[tuple[str, int | None, dict[str, Json]]] = [
    *((model, None, NATIVE) for model in CURRENT_MODELS),
    ("voyage-4", 2048, {"output_dimension": 2048}),
    ("voyage-3.5", 256, {"output_dimension": 256}),
    ("voyage-3", None, {}),
    ("voyage-3-lite", None, {}),
]


def connected(
    server: VoyageServer,
    model: str = "voyage-3.5",
    dim: int | None = None,
    *,
    truncate: bool = False,
    **row: Json,
) -> Embedder:
    """Connect to the test server. `row` is merged into the catalogue's row."""
    rows = {"voyage": row} if row else {}
    return connect(
        model,
        dim=dim,
        backends=[BackendConfig(base_url=server.url)],
        catalog=user_catalog({"RAGCTL_CONFIG": "/nowhere"}, Layer("test", {}, "test", rows)),
        environ={"VOYAGE_API_KEY": "secret"},
        patience=PATIENCE,
        options=Options(truncate=truncate),
    )


@pytest.mark.parametrize(("model", "dim", "fields"), MODELS)
def test_request(model: str, dim: int | None, fields: dict[str, Json]) -> None:
    with VoyageServer("secret") as server, connected(server, model, dim) as embedder:
        documents = embedder.documents(["раз два", "three"])
        query = embedder.query("three")
    common = {"model": model, "encoding_format": "base64", "truncation": False} | fields
    assert [request.body for request in server.requests] == [
        common | {"input": ["раз два", "three"], "input_type": "document"},
        common | {"input": ["three"], "input_type": "query"},
    ]
    assert {request.path for request in server.requests} == {"/v1/embeddings"}
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    full, size = HOSTED[model].max_dim, dim or HOSTED[model].dim
    expected = [vector(text, "document", model, full, size) for text in ("раз два", "three")]
    np.testing.assert_allclose(documents, expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", "query", model, full, size), atol=1e-6)
    assert embedder.identity.dimension == size
    assert (embedder.identity.document, embedder.identity.query) == ("document", "query")


def test_every_model_is_tested_above() -> None:
    assert {row[0] for row in MODELS} == set(package_catalog().backend("voyage").models)


def test_float_encoding_by_a_row() -> None:
    with VoyageServer("secret") as server:
        with connected(server) as embedder:
            coded = embedder.documents(["one", "two"])
        with connected(server, encoding="float") as embedder:
            np.testing.assert_array_equal(embedder.documents(["one", "two"]), coded)
    assert "encoding_format" not in server.requests[1].body


def test_key_that_occurs_in_a_base64_vector_is_not_redacted() -> None:
    """Keys are redacted in messages of the host; a base64 vector is not a message."""
    expected = vector("one", "document", "voyage-3.5", 2048, 1024)
    key = base64.b64encode(expected.astype("<f4").tobytes()).decode()[8:14]
    with (
        VoyageServer(key) as server,
        connect(
            "voyage-3.5",
            backends=[BackendConfig(base_url=server.url)],
            environ={"VOYAGE_API_KEY": key},
            patience=PATIENCE,
        ) as embedder,
    ):
        np.testing.assert_allclose(embedder.documents(["one"])[0], expected, atol=1e-6)


def test_tokens_are_the_billed_ones() -> None:
    with VoyageServer("secret") as server, connected(server) as embedder:
        embedder.documents(["one", "two words"])
        usage = embedder.usage.usages[0]
        assert usage.tokens == tokens("one") + tokens("two words")
        assert not usage.estimated


def test_long_text_is_refused_or_truncated_on_request() -> None:
    long = "word " * 100
    with VoyageServer("secret", context=50) as server:
        with (
            connected(server) as embedder,
            pytest.raises(DocumentError, match="too many tokens and does not fit"),
        ):
            embedder.documents(["fine", long])
        assert [text.text for text in server.texts] == ["fine"]
        with connected(server, truncate=True) as embedder:
            embedder.documents([long])
        assert server.requests[-1].body["truncation"] is True
        assert tokens(server.texts[-1].text) == 50


def test_batch_with_too_many_tokens_is_split() -> None:
    """Voyage counts with its own tokenizer; our estimate, or a user row, may allow too much."""
    texts = [f"text number {n} " + "word " * 90 for n in range(10)]
    with VoyageServer("secret", batch=600) as server, connected(server) as embedder:
        assert embedder.documents(texts).shape == (10, 1024)
    assert [len(request.body["input"]) for request in server.requests] == [10, 5, 5]
    assert [text.text for text in server.texts] == texts


@pytest.mark.parametrize(
    ("url", "secret", "address"),
    [
        ("https://api.voyageai.com/v1", "al-123", "https://ai.mongodb.com/v1"),
        ("https://api.voyageai.com/v1", "pa-123", "https://api.voyageai.com/v1"),
        ("https://proxy.example/v1", "al-123", "https://proxy.example/v1"),
    ],
)
def test_atlas_key_selects_the_atlas_address(url: str, secret: str, address: str) -> None:
    assert Voyage.address(url, ApiKey("VOYAGE_API_KEY", secret)) == address
    assert Voyage.address(url, None) == url


@pytest.mark.parametrize(
    ("secret", "host"), [("al-123", "ai.mongodb.com"), ("pa-123", "api.voyageai.com")]
)
def test_request_goes_to_the_address_of_the_key(
    secret: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observed from a proxy: it receives a CONNECT to the right host, and refuses it."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def answer() -> None:
            while True:
                try:
                    connection, _ = proxy.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with (
            connect(
                "voyage-3.5",
                environ={"VOYAGE_API_KEY": secret},
                patience=Patience(total=0.01, first=0.001, read=5),
            ) as embedder,
            pytest.raises(BackendError, match=f"{host}: 502"),
        ):
            embedder.query("one")
        proxy.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert received
    assert all(line.startswith(f"CONNECT {host}:443 ".encode()) for line in received)
    assert secret.encode() not in b"".join(received)
