"""connect(): valid combinations, and what is refused before anything is sent."""

import subprocess
import sys
import warnings
from collections.abc import Mapping

import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.embedding import Embedder, connect
from ragctl.errors import BackendError, RagctlError, UsageError
from ragctl.lexical.builtin import VERSION
from tests.servers.jina import JinaServer


def connected(
    model: str,
    dim: int | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    concurrency: int | None = None,
) -> Embedder:
    return connect(
        model,
        dim=dim,
        backends=[BackendConfig(backend, base_url, concurrency=concurrency)],
        environ=environ if environ is not None else {"JINA_API_KEY": "k"},
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"model": "jina-v3"}, UsageError, "no model is called 'jina-v3'; did you mean jina-embed"),
        ({"model": "bge-m3", "backend": "jin"}, UsageError, "no backend is called 'jin'; did you"),
        (
            {"model": "bge-m3", "backend": "jina"},
            UsageError,
            "jina does not serve bge-m3; these do: .*silic",
        ),
        (
            {"model": "bge-m3", "dim": 512},
            UsageError,
            "no vectors of 512 dimensions; allowed: 1024",
        ),
        ({"model": "builtin", "dim": 31}, UsageError, "allowed: 32 to 4096"),
        ({"model": "jina-embeddings-v5-text-nano", "dim": 1024}, UsageError, "allowed: 32 to 768"),
        ({"model": "builtin", "base_url": "http://x"}, UsageError, "no base URL"),
        ({"model": "jina-embeddings-v3", "base_url": "x:1"}, UsageError, "not an http or https"),
        ({"model": "jina-embeddings-v3", "base_url": "http://x:0"}, UsageError, "not an http or"),
        ({"model": "jina-embeddings-v3", "base_url": "http://x:abc"}, UsageError, "not an http or"),
        (
            {"model": "jina-embeddings-v3", "base_url": "http://k:s@x"},
            UsageError,
            "address without user",
        ),
        ({"model": "jina-embeddings-v3", "concurrency": 0}, UsageError, "1 or more"),
        (
            {"model": "jina-embeddings-v3", "environ": {}},
            BackendError,
            "jina needs a key: set JINA",
        ),
        (
            {"model": "bge-m3", "environ": {}},
            BackendError,
            "openrouter needs a key: set OPENROUTER_API_KEY; openrouter is the default backend of "
            "bge-m3, others: ragctl models bge-m3$",
        ),
        (
            {"model": "jina-embeddings-v3", "environ": {"JINA_API_KEY": " "}},
            BackendError,
            "jina needs a key: set JINA_API_KEY",
        ),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: dict[str, object], kind: type[RagctlError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        connected(**arguments)  # type: ignore[arg-type]


def test_first_variable_with_a_key_is_used() -> None:
    environ = {"JINAAI_API_KEY": "b", "JINA_API_KEY": "", "JINA_AI_TOKEN": "c"}
    with (
        JinaServer("b") as server,
        connected("jina-embeddings-v3", 32, base_url=server.url, environ=environ) as embedder,
    ):
        assert embedder.query("text").shape == (32,)


@pytest.mark.parametrize("ending", ["", "/", "/embeddings", "/embeddings/"])
def test_base_url_may_include_the_path_or_a_slash(ending: str) -> None:
    with (
        JinaServer() as server,
        connected("jina-embeddings-v3", 32, base_url=server.url + ending) as embedder,
    ):
        embedder.query("text")
        assert [request.path for request in server.requests] == ["/v1/embeddings"]


def test_builtin_model_needs_no_configuration() -> None:
    with connected("builtin", 64, environ={}) as embedder:
        assert embedder.identity.to_json() == {
            "model": "builtin",
            "revision": VERSION,
            "dimension": 64,
            "document": None,
            "query": None,
            "normalized": True,
            "distance": "cosine",
            "late_chunking": False,
            "element": "float32",
            "family": None,
        }
        vectors = embedder.documents(["red apples", "blue sky"])
        assert vectors.shape == (2, 64)
        assert vectors.dtype == np.float32
        assert np.argmax(vectors @ embedder.query("apples red")) == 0
        assert (embedder.usage.requests, embedder.usage.texts) == (0, 3)


def test_key_over_plain_http_warns_once() -> None:
    with pytest.warns(
        UserWarning, match="JINA_API_KEY is sent to host.test over plain http"
    ) as seen:
        connected("jina-embeddings-v3", base_url="http://host.test/v1").close()
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connected("jina-embeddings-v3", base_url="http://localhost:1/v1").close()
        connected("jina-embeddings-v3", base_url="https://host.test/v1").close()
        connected("bge-m3", backend="vllm", base_url="http://host.test/v1", environ={}).close()


def test_proxy_is_not_used_for_loopback_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with (
        JinaServer() as server,
        connected("jina-embeddings-v3", 32, base_url=server.url) as embedder,
    ):
        assert embedder.query("text").shape == (32,)


def test_httpx_is_imported_only_when_needed() -> None:
    code = (
        "import sys; from ragctl.embedding import connect; "
        "connect('builtin', environ={}).query('a'); print('httpx' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
