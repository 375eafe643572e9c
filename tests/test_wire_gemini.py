"""The gemini wire: the exact request of each side, and the vectors."""

import json

import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.embedding import Embedder, Patience, connect
from ragctl.embedding.base import Options
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import BackendError, DocumentError
from tests.servers.faults import Fault
from tests.servers.gemini import MODEL, MODEL_2, GeminiServer
from tests.servers.vectors import tokens, vector

PATIENCE = Patience(total=2, first=0.001, read=5)
TYPE = "type.googleapis.com/google.rpc."


def connected(
    server: GeminiServer,
    dim: int | None = None,
    *,
    truncate: bool = False,
    key: str = "secret",
    patience: Patience = PATIENCE,
    model: str = MODEL,
    task: str | None = None,
) -> Embedder:
    return connect(
        model,
        task=task,
        dim=dim,
        backends=[BackendConfig(base_url=server.url)],
        environ={"GEMINI_API_KEY": key},
        patience=patience,
        options=Options(truncate=truncate),
    )


@pytest.mark.parametrize("dim", [None, 768, 128])
def test_request(dim: int | None) -> None:
    with GeminiServer("secret") as server, connected(server, dim) as embedder:
        documents = embedder.documents(["раз два", "three"])
        query = embedder.query("three")
    size = dim or 3072

    def item(text: str, task: str) -> dict[str, object]:
        return {
            "model": "models/gemini-embedding-001",
            "content": {"parts": [{"text": text}]},
            "taskType": task,
            "outputDimensionality": size,
        }

    assert [request.body for request in server.requests] == [
        {"requests": [item(text, "RETRIEVAL_DOCUMENT") for text in ("раз два", "three")]},
        {"requests": [item("three", "RETRIEVAL_QUERY")]},
    ]
    paths = {request.path for request in server.requests}
    assert paths == {"/v1beta/models/gemini-embedding-001:batchEmbedContents"}
    headers = {name.lower(): value for name, value in server.requests[0].headers.items()}
    assert headers["x-goog-api-key"] == "secret"
    assert "authorization" not in headers
    # Below 3072 dimensions the host's vectors are not unit length; ragctl normalises them.
    expected = [vector(text, "document", MODEL, 3072, size) for text in ("раз два", "three")]
    np.testing.assert_allclose(documents, expected, atol=1e-6)
    np.testing.assert_allclose(query, vector("three", "query", MODEL, 3072, size), atol=1e-6)
    assert embedder.identity.document == "RETRIEVAL_DOCUMENT"
    assert embedder.identity.query == "RETRIEVAL_QUERY"


@pytest.mark.parametrize(
    ("task", "document", "query"),
    [
        (None, "title: none | text: ", "task: search result | query: "),
        ("qa", "title: none | text: ", "task: question answering | query: "),
        ("clustering", "task: clustering | query: ", "task: clustering | query: "),
    ],
)
def test_the_task_of_the_second_model_is_words_in_the_text(
    task: str | None, document: str, query: str
) -> None:
    with (
        GeminiServer("secret") as server,
        connected(server, 768, model=MODEL_2, task=task) as embedder,
    ):
        embedder.documents(["раз два"])
        embedder.query("three")
    assert [request.body for request in server.requests] == [
        {
            "requests": [
                {
                    "model": "models/gemini-embedding-2",
                    "content": {"parts": [{"text": text}]},
                    "outputDimensionality": 768,
                }
            ]
        }
        for text in (f"{document}раз два", f"{query}three")
    ]
    paths = {request.path for request in server.requests}
    assert paths == {"/v1beta/models/gemini-embedding-2:batchEmbedContents"}
    assert (embedder.identity.document, embedder.identity.query) == (document, query)


def test_every_model_is_tested_above() -> None:
    assert set(package_catalog().backend("gemini").models) == {MODEL, MODEL_2}


def test_requests_have_at_most_100_texts() -> None:
    with GeminiServer("secret") as server, connected(server, 128) as embedder:
        embedder.documents([f"text {n}" for n in range(250)])
    sizes = [len(request.body["requests"]) for request in server.requests]
    assert sum(sizes) == 250
    assert max(sizes) <= 100


def test_tokens_are_estimated_if_the_host_reports_none() -> None:
    with (
        GeminiServer("secret") as server,
        connected(server, 128) as embedder,
        embedder.stream() as stream,
    ):
        stream.add("a", "one", tokens=1)
        stream.add("b", "two words", tokens=2)
        while stream.pending:
            stream.completed(block=True)
        usage = embedder.usage.usages[0]
    assert (usage.tokens, usage.estimated) == (3, True)
    assert usage.cost == pytest.approx(3 * 0.15 / 1e6)


def test_long_text_is_not_sent_to_a_host_that_truncates_silently() -> None:
    long = "word and " * 1500
    with GeminiServer("secret") as server:
        with (
            connected(server, 128) as embedder,
            pytest.raises(DocumentError, match=r"may be more than the 2,048 tokens that gemini"),
        ):
            embedder.documents(["fine", long])
        assert [text.text for text in server.texts] == ["fine"]
        with connected(server, 128, truncate=True) as embedder:
            embedder.documents([long])
            assert embedder.usage.usages[0].cut == 1
        sent = server.requests[-1].body["requests"][0]["content"]["parts"][0]["text"]
        assert long.startswith(sent)
        assert 1000 < tokens(sent) < 2048


def test_wrong_key_is_not_blamed_on_the_texts() -> None:
    """Gemini answers 400 for a wrong key, as for a refused text."""
    with GeminiServer("secret") as server, connected(server, key="wrong-key") as embedder:
        with pytest.raises(BackendError, match="refused the key in GEMINI_API_KEY: 400") as caught:
            embedder.documents(["one", "two"])
        assert "wrong-key" not in str(caught.value)
        assert len(server.requests) == 1


def test_unsupported_region_raises() -> None:
    error = {
        "code": 400,
        "message": "User location is not supported for the API use.",
        "status": "FAILED_PRECONDITION",
    }
    with GeminiServer("secret") as server, connected(server) as embedder:
        server.faults.append(Fault(400, body=json.dumps({"error": error}).encode()))
        with pytest.raises(BackendError, match="refused: 400 User location"):
            embedder.documents(["one", "two"])
        assert len(server.requests) == 1


def limited(quota: str, delay: str) -> Fault:
    """Return a 429 as the hosted API sends it."""
    details = [
        {"@type": f"{TYPE}Help", "links": [{"description": "Learn more", "url": "https://x"}]},
        {"@type": f"{TYPE}QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "100"}]},
        {"@type": f"{TYPE}RetryInfo", "retryDelay": delay},
    ]
    error = {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan.",
        "status": "RESOURCE_EXHAUSTED",
        "details": details,
    }
    return Fault(429, body=json.dumps({"error": error}).encode())


def test_retry_delay_in_the_body_is_respected() -> None:
    minute = "EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier"
    patience = Patience(total=30, first=0.001)
    # A separate key: the limiter blocks it for those 33 s, and ports are reused.
    with (
        GeminiServer("waiting") as server,
        connected(server, 128, key="waiting", patience=patience) as embedder,
    ):
        server.faults.append(limited(minute, "33.384105706s"))
        with pytest.raises(BackendError, match="tried once; run again in 34 s or later"):
            embedder.query("one")
    with GeminiServer("secret") as server, connected(server, 128, patience=patience) as embedder:
        server.faults.append(limited(minute, "0.001s"))
        assert embedder.query("one").shape == (128,)
        assert len(server.requests) == 2


def test_exhausted_daily_quota_is_not_retried() -> None:
    day = "EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier"
    with GeminiServer("secret") as server, connected(server, 128) as embedder:
        server.faults.append(limited(day, "0.001s"))
        with pytest.raises(BackendError, match="refused: 429 You exceeded your current quota"):
            embedder.query("one")
        assert len(server.requests) == 1
