"""Usage per backend, as its host bills it, and the totals."""

import threading

import pytest

from ragctl.catalog import BackendConfig
from ragctl.embedding import Embedder, Patience, Usage, UsageTotals, connect
from tests.servers import faults
from tests.servers.jina import JinaServer
from tests.servers.vectors import tokens


def connected(server: JinaServer, price: float | None = None) -> Embedder:
    return connect(
        "jina-embeddings-v3",
        dim=32,
        backends=[BackendConfig("jina", server.url, price=price)],
        environ={"JINA_API_KEY": "k"},
        patience=Patience(total=1, first=0.001, longest=0.01, read=10),
    )


def test_usage_is_what_the_host_bills() -> None:
    texts = ["one", "two words", "three short words"]
    with JinaServer() as server, connected(server, price=2.0) as embedder:
        server.faults += [faults.failing(500), faults.busy(0)]
        embedder.documents(texts)
        [usage] = embedder.usage.usages
        billed = sum(tokens(text) for text in texts)
        assert usage.to_json() == {
            "backend": f"jina at {server.url}",
            "model": "jina-embeddings-v3",
            "in_process": False,
            "requests": 3,
            "texts": 3,
            "tokens": billed,
            "tokens_estimated": False,
            "price": 2.0,
            "cost": round(billed * 2.0 / 1e6, 8),
            "free_tokens": 10_000_000,
            "cut": 0,
        }


def test_pipeline_price_overrides_the_catalogue() -> None:
    with JinaServer() as server, connected(server) as listed, connected(server, 5.0) as own:
        assert listed.usage.usages[0].price == 0.02
        assert own.usage.usages[0].price == 5.0


def test_tokens_are_estimated_if_the_host_reports_none() -> None:
    usage = Usage(price=1.0)
    usage.answered(texts=2, tokens=0, estimate=50)
    assert (usage.tokens, usage.estimated, usage.cost) == (50, True, 50 / 1e6)
    usage.answered(texts=1, tokens=7, estimate=50)
    assert (usage.texts, usage.tokens) == (3, 57)
    silent = Usage(price=1.0)
    silent.answered(texts=1, tokens=0, estimate=0)
    assert (silent.tokens, silent.estimated) == (0, False)


def usage_of(price: float | None, texts: int, tokens: int) -> Usage:
    usage = Usage(price=price)
    if texts:
        usage.sent()
        usage.answered(texts, tokens)
    return usage


def test_total_cost_is_known_only_if_all_prices_are() -> None:
    totals = UsageTotals([usage_of(0.02, 3, 1_000), usage_of(None, 2, 500), usage_of(9.0, 0, 0)])
    assert (totals.requests, totals.texts, totals.tokens) == (2, 5, 1_500)
    assert totals.cost is None  # a partial sum would look like the total
    priced = UsageTotals([usage_of(0.02, 3, 1_000), usage_of(0.05, 1, 100), usage_of(None, 0, 0)])
    assert priced.cost == pytest.approx((1_000 * 0.02 + 100 * 0.05) / 1e6)
    assert UsageTotals([usage_of(None, 2, 500), usage_of(9.0, 0, 0)]).cost is None
    assert UsageTotals([]).cost == UsageTotals([usage_of(None, 0, 0)]).cost == 0
    assert usage_of(None, 1, 10).to_json()["cost"] is None


def test_counts_are_thread_safe() -> None:
    usage = Usage()

    def count() -> None:
        for _ in range(2_000):
            usage.sent()
            usage.answered(1, 2)
            usage.cut_one()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (usage.requests, usage.texts, usage.tokens, usage.cut) == (8_000, 8_000, 16_000, 8_000)
