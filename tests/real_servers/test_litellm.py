"""LiteLLM as a proxy in front of infinity: one process, an alias for each setting."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.real_servers.conftest import Infinity, need_server
from tests.real_servers.environments import LITELLM
from tests.real_servers.handbook import Handbook
from tests.real_servers.processes import ServerProcess, free_port
from tests.real_servers.weights import NAME, vectors

KEY = "sk-a-key-of-the-tests-that-is-long-enough-4f7c21"
ALIASES = {
    "our-embeddings": "",
    "dropping": "drop_params: true",
    "limited": "rpm: 1",
    "spent": "input_cost_per_token: 1.0, max_budget: 0.000001, budget_duration: 1d",
}
"""Alias -> its settings."""

CUT_MODEL = "minilm-to-cut"
CUT_DIM = 128
CUT_TABLES = f"""
[models.{CUT_MODEL}]
hub = "{NAME}"
dim = 384
dims = {{ min = 32, max = 384 }}
context = 256
normalized = true
distance = "cosine"
pooling = "mean"
licence = "Apache-2.0"
languages = "en"
document = {{ prompt = "" }}
query = {{ prompt = "" }}
backend = "router"
"""


@pytest.fixture(scope="module")
def proxy(infinity: Infinity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the proxy, and return its base URL."""
    need_server(LITELLM)
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    own = f"model: openai/{NAME}, api_base: {infinity.url}, api_key: none"
    models = "".join(
        f"  - model_name: {alias}\n    litellm_params: {{{own}{settings and ', '}{settings}}}\n"
        for alias, settings in ALIASES.items()
    )
    config = folder / "config.yaml"
    config.write_text(
        f"model_list:\n{models}"
        'router_settings: {optional_pre_call_checks: ["enforce_model_rate_limits"]}\n'
        "general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}\n"
    )
    with ServerProcess(
        [LITELLM.path(), "--config", config, "--host", "127.0.0.1", "--port", port],
        f"http://127.0.0.1:{port}/health/liveliness",
        folder,
        {"LITELLM_MASTER_KEY": KEY},
    ):
        yield f"http://127.0.0.1:{port}/v1"


def book_of(
    url: str,
    folder: Path,
    alias: str = "our-embeddings",
    *,
    key: str = KEY,
    model: str = "all-minilm-l6-v2",
) -> Handbook:
    environ = {"LITELLM_API_KEY": key} if key else {}
    row = f'models = {{ {model} = "{alias}" }}'
    book = Handbook(folder / "book", "router", url, model=model, row=row, environ=environ)
    book.write(4)
    return book


def test_an_alias_gives_the_models_own_vectors(proxy: str, tmp_path: Path) -> None:
    book = book_of(proxy, tmp_path)
    done = book.run()
    assert done.returncode == 0, done.stderr
    assert book.check_vectors() >= 4
    assert book.ragctl("check", str(book.file)).returncode == 0
    assert book.ragctl("verify", str(book.file)).returncode == 0
    assert book.search("pump number 0").returncode == 0


@pytest.mark.parametrize("key", ["", "sk-of-somebody-else-altogether", "not-even-a-key"])
def test_a_wrong_key_is_named(proxy: str, key: str, tmp_path: Path) -> None:
    book = book_of(proxy, tmp_path, key=key)
    done = book.run()
    assert done.returncode == 4
    assert "key" in done.stderr
    assert "LITELLM_API_KEY" in done.stderr
    assert not key or key not in done.stderr


def test_an_unknown_alias_is_refused(proxy: str, tmp_path: Path) -> None:
    done = book_of(proxy, tmp_path, "nobodys-alias").run()
    assert done.returncode == 4
    assert "runs our-embeddings, not nobodys-alias" in done.stderr


def test_an_alias_of_another_model_is_refused(proxy: str, tmp_path: Path) -> None:
    """Answers repeat the alias; the proxy says at /v1/model/info what is behind it."""
    done = book_of(proxy, tmp_path, model="multilingual-e5-small").run()
    assert done.returncode == 4
    assert f"runs openai/{NAME} behind the alias our-embeddings, not" in done.stderr


@pytest.mark.parametrize(("alias", "code"), [("our-embeddings", 4), ("dropping", 0)])
def test_dimensions(proxy: str, alias: str, code: int, tmp_path: Path) -> None:
    """They are refused with the proxy's reason; with `drop_params` whole vectors come, cut here."""
    book = book_of(proxy, tmp_path, alias, model=CUT_MODEL)
    book.row += "\ndimensions = true"
    book.keys, book.tables = f"dimension = {CUT_DIM}", CUT_TABLES
    done = book.run()
    assert done.returncode == code, done.stderr
    if code:
        assert "Setting dimensions is not supported" in done.stderr
    else:
        texts, stored = book.stored()
        own = vectors(texts)[:, :CUT_DIM]
        cosines = np.sum(own * stored, axis=1) / np.linalg.norm(own, axis=1)
        assert f"{cosines.min():.4f}" == "1.0000"


def test_a_rate_limit_ends_with_the_patience(proxy: str, tmp_path: Path) -> None:
    book = book_of(proxy, tmp_path, "limited")
    book.keys = "patience = 5"
    done = book.run()
    assert done.returncode == 4, done.stderr
    assert "RPM limit=1" in done.stderr
    assert "run again in 60 s" in done.stderr


def test_a_spent_budget_ends_at_once(proxy: str, tmp_path: Path) -> None:
    """The first request is paid for before the proxy knows its price."""
    book = book_of(proxy, tmp_path, "spent")
    done = book.run()
    assert done.returncode == 4, done.stderr
    assert "crossed budget" in done.stderr
    assert "tried" not in done.stderr
