"""LiteLLM as a proxy in front of infinity."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real_servers.conftest import Infinity, need_server
from tests.real_servers.environments import LITELLM
from tests.real_servers.handbook import Handbook
from tests.real_servers.processes import ServerProcess, free_port
from tests.real_servers.weights import NAME

KEY = "sk-a-key-of-the-tests-that-is-long-enough-4f7c21"
ROW = 'models = { all-minilm-l6-v2 = "our-embeddings" }'
CONFIG = """model_list:
  - model_name: our-embeddings
    litellm_params:
      model: openai/{name}
      api_base: {url}
      api_key: none
      {params}
litellm_settings:
  {settings}
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
"""

Start = Callable[..., str]


@pytest.fixture(scope="module")
def start(infinity: Infinity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a proxy with settings, and return its base URL. Each setting is started once."""
    need_server(LITELLM)
    urls: dict[tuple[str, str], str] = {}
    with ExitStack() as running:

        def started(settings: str = "drop_params: false", params: str = "rpm: 100000") -> str:
            if (settings, params) not in urls:
                folder, port = tmp_path_factory.mktemp("litellm"), free_port()
                config = folder / "config.yaml"
                config.write_text(
                    CONFIG.format(name=NAME, url=infinity.url, settings=settings, params=params)
                )
                command = [LITELLM.path(), "--config", config, "--host", "127.0.0.1"]
                server = ServerProcess(
                    [*command, "--port", port],
                    f"http://127.0.0.1:{port}/health/liveliness",
                    folder,
                    {"LITELLM_MASTER_KEY": KEY},
                )
                running.enter_context(server)
                urls[settings, params] = f"http://127.0.0.1:{port}/v1"
            return urls[settings, params]

        yield started


def book_of(url: str, folder: Path, key: str = KEY, row: str = ROW) -> Handbook:
    environ = {"LITELLM_API_KEY": key} if key else {}
    book = Handbook(folder / "book", "router", url, row=row, environ=environ)
    book.write(4)
    return book


def test_an_alias_gives_the_models_own_vectors(start: Start, tmp_path: Path) -> None:
    book = book_of(start(), tmp_path)
    done = book.run()
    assert done.returncode == 0, done.stderr
    assert book.check_vectors() >= 4
    assert book.ragctl("check", str(book.file)).returncode == 0
    assert book.ragctl("verify", str(book.file)).returncode == 0
    assert book.search("pump number 0").returncode == 0


@pytest.mark.parametrize("key", ["", "sk-of-somebody-else-altogether", "not-even-a-key"])
def test_a_wrong_key_is_named(start: Start, key: str, tmp_path: Path) -> None:
    book = book_of(start(), tmp_path, key)
    done = book.run()
    assert done.returncode == 4
    assert "key" in done.stderr
    assert "LITELLM_API_KEY" in done.stderr
    assert not key or key not in done.stderr


def test_an_unknown_alias_is_refused(start: Start, tmp_path: Path) -> None:
    book = book_of(start(), tmp_path, row='models = { all-minilm-l6-v2 = "nobodys-alias" }')
    done = book.run()
    assert done.returncode == 4
    assert "our-embeddings" in done.stderr or "nobodys-alias" in done.stderr


def test_dropped_parameters_change_nothing(start: Start, tmp_path: Path) -> None:
    """With `drop_params`, LiteLLM removes `dimensions` and `encoding_format` silently."""
    book = book_of(start("drop_params: true"), tmp_path)
    assert book.run().returncode == 0
    assert book.check_vectors() >= 4


def test_dimensions_sent_all_the_same_are_explained(start: Start, tmp_path: Path) -> None:
    row = f"{ROW}\ndimensions = true"
    book = book_of(start(), tmp_path, row=row)
    done = book.run()
    assert done.returncode in (0, 4), done.stderr
    if done.returncode == 0:
        assert book.check_vectors() >= 4


def test_a_rate_limit_ends_with_the_patience(start: Start, tmp_path: Path) -> None:
    book = book_of(start(params="rpm: 1"), tmp_path)
    done = book.run()
    assert done.returncode in (0, 3, 4), done.stderr
    print(done.stdout, done.stderr)


def test_a_spent_budget_ends_at_once(start: Start, tmp_path: Path) -> None:
    url = start("max_budget: 0.00000001", params="input_cost_per_token: 1.0")
    book = book_of(url, tmp_path)
    done = book.run()
    print(done.returncode, done.stdout, done.stderr)
    assert done.returncode == 4
