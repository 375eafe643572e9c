"""What a batch saves: the catalogue's facts, and both prices in a plan."""

import json
from pathlib import Path

import pytest

from ragctl import catalog as catalogs
from ragctl.catalog import BATCH_APIS, BatchApi
from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.wire_registry import WIRES
from ragctl.errors import UsageError
from tests.command import call
from tests.test_catalog import BACKEND

WITH_BATCH = BACKEND + "batch = { api = 'openai'%s }\n"


def ragctl(folder: Path, *words: str) -> str:
    ended = call(*words, environ={"RAGCTL_HOME": str(folder / "home")}, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def load(text: str) -> BatchApi | None:
    return catalogs.load_backends(text, "p.toml", WIRES)["p"].batch


def test_the_batch_api_of_a_row_has_the_limits_of_openai_unless_it_says_otherwise() -> None:
    assert load(BACKEND) is None
    assert load(WITH_BATCH % "") == BatchApi("openai", None, 24, 50_000, 200_000_000)
    own = load(WITH_BATCH % ", discount = 0.25, hours = 12, texts = 10, bytes = 999")
    assert own == BatchApi("openai", 0.25, 12, 10, 999)
    assert own.price(0.2) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (", discount = 1.0", "discount"),
        (", discount = -0.1", "discount"),
        (", hours = 0", "hours"),
        (", price = 1", "unknown key 'price'"),
    ],
)
def test_wrong_facts_about_a_batch_api_are_refused(changes: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(WITH_BATCH % changes)


def test_the_price_of_a_batch_is_unknown_if_its_discount_or_the_price_is() -> None:
    assert BatchApi("openai").price(0.02) is None
    assert BatchApi("openai", 0.5).price(None) is None


def test_batch_prices_of_known_hosts() -> None:
    """OpenAI's and Google's pages of prices: 0.01, 0.065 and 0.075 dollars a million tokens."""
    known = package_catalog().backends
    prices = {
        (name, model): row.batch.price(row.models[model].price)
        for name, model in (
            ("openai", "text-embedding-3-small"),
            ("openai", "text-embedding-3-large"),
            ("gemini", "gemini-embedding-001"),
        )
        if (row := known[name]).batch is not None
    }
    assert list(prices.values()) == pytest.approx([0.01, 0.065, 0.075])
    assert {row.batch.api for row in known.values() if row.batch} == set(BATCH_APIS)


@pytest.mark.parametrize(
    ("model", "printed", "batch"),
    [
        ("text-embedding-3-small", "; as a batch under $", {"price": 0.01, "hours": 24}),
        ("voyage-4", "; as a batch under $", {"price": 0.0402, "hours": 12}),
        ("qwen3-embedding-4b", "; as a batch price unknown", {"price": None, "hours": 24}),
        ("embed-v4.0", "", None),
    ],
)
def test_a_plan_shows_both_prices(
    tmp_path: Path, model: str, printed: str, batch: dict[str, float | None] | None
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Pumps\n\nThe pump had run dry.\n")
    backend = 'backend = "deepinfra"\n' if model.startswith("qwen") else ""
    (tmp_path / "p.toml").write_text(
        f'[embedding]\nmodel = "{model}"\n{backend}[[sources]]\npath = "docs"\n'
    )
    lines = ragctl(tmp_path, "plan", "p.toml").splitlines()
    row = next(line for line in lines if "1 request" in line and not line.startswith("docs"))
    assert printed in row, row
    assert bool(printed) == ("as a batch" in row)
    (planned,) = json.loads(ragctl(tmp_path, "plan", "p.toml", "--json"))["backends"]
    if batch is None:
        assert planned["batch"] is None
        return
    assert {key: planned["batch"][key] for key in batch} == batch
    if batch["price"] is not None:
        expected = planned["tokens"] * batch["price"] / 1e6
        assert planned["batch"]["cost"] == pytest.approx(expected, abs=1e-8)
        assert planned["batch"]["cost"] < planned["cost"]


def test_the_batch_api_of_a_backend_is_listed(tmp_path: Path) -> None:
    assert "batch API     voyage, 33% cheaper, within 12 hours, 100,000 texts a job" in ragctl(
        tmp_path, "backends", "voyage"
    )
    (row,) = json.loads(ragctl(tmp_path, "backends", "openai", "--json"))["backends"]
    assert row["batch"]["discount"] == 0.5
