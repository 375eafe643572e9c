"""Batched queries: limits, bad queries reported separately, one canary check."""

from collections.abc import Iterator

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, RequestLimits
from ragctl.embedding import Embedder, Patience, connect
from ragctl.errors import BackendError, UsageError
from tests.servers import faults
from tests.servers.jina import JinaServer
from tests.world import KEY

QUICK = Patience(total=0.2, first=0.001, longest=0.002)


@pytest.fixture
def server() -> Iterator[JinaServer]:
    with JinaServer(KEY, context=40) as running:
        yield running


def connected(server: JinaServer, **options: object) -> Embedder:
    return connect(
        "jina-embeddings-v3",
        dim=64,
        backends=(BackendConfig(base_url=server.url),),
        environ={"JINA_API_KEY": KEY},
        patience=QUICK,
        **options,  # type: ignore[arg-type]
    )


def test_batched_queries_equal_single_queries(server: JinaServer) -> None:
    texts = [f"question {n}" for n in range(7)]
    with connected(server) as embedder:
        found = embedder.queries(texts)
        assert len(server.requests) == 1
        alone = [embedder.query(text) for text in texts]
        assert embedder.queries([]) == []
    for one, other in zip(found, alone, strict=True):
        assert not isinstance(one, UsageError)
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert {text.side for text in server.texts} == {"query"}


def test_bad_queries_are_reported_and_the_rest_embedded(server: JinaServer) -> None:
    texts = ["one", "", "two", "\ud800", "long " * 50, "three"]
    with connected(server) as embedder:
        found = embedder.queries(texts)
    bad = {n: str(outcome) for n, outcome in enumerate(found) if isinstance(outcome, UsageError)}
    assert sorted(bad) == [1, 3, 4]
    assert "is empty" in bad[1]
    assert "surrogate" in bad[3]
    assert "INPUT_TOKEN_LIMIT" in bad[4] or "exceeds" in bad[4]
    assert [text.text for text in server.texts if "long" not in text.text] == [
        *("one", "two", "three"),
    ]


def test_requests_stay_within_the_limits(server: JinaServer) -> None:
    with connected(server) as embedder:
        embedder.limits = RequestLimits(4, tokens=150)
        found = embedder.queries([f"question {n}" for n in range(11)] + ["x " * 18] * 2)
    assert len(found) == 13
    sizes = [len(request.body["input"]) for request in server.requests]
    assert sum(sizes) == 13
    assert max(sizes) <= 3  # one text is reserved for the canary


def test_canary_is_sent_once(server: JinaServer) -> None:
    with connected(server) as first:
        canary = first.canary()
    server.requests.clear()
    with connected(server, canary=canary) as embedder:
        embedder.queries(["one", "two"])
        embedder.queries(["three"])
    assert [len(request.body["input"]) for request in server.requests] == [3, 1]


def test_failing_backend_raises(server: JinaServer) -> None:
    server.faults.append(faults.one_item_missing())
    with connected(server) as embedder, pytest.raises(BackendError, match="1 vector for 2 texts"):
        embedder.queries(["one", "two"])
