"""Marks the tests of this folder, and starts the servers that several of them share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real_servers.environments import INFINITY, Environment
from tests.real_servers.processes import ServerProcess, free_port
from tests.real_servers.weights import NAME, other_weights
from tests.runtime_models import minilm

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker("real_servers")


def need_server(environment: Environment) -> None:
    """Skip the test if a server is not installed, with the command that does it."""
    if not environment.installed:
        pytest.skip(f"needs {environment.name}: python -m tests.real_servers {environment.name}")


class Infinity(ServerProcess):
    """infinity with one model; `url` is its base URL."""

    def __init__(self, weights: Path, folder: Path, *options: str, **environ: str) -> None:
        need_server(INFINITY)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.options = options
        super().__init__((), f"{self.url}/health", folder, environ)
        self.serve(weights)

    def serve(self, weights: Path, name: str = NAME) -> None:
        """Set the weights of the next start, and the name under which they are served."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        quick = ("--device", "cpu", "--no-bettertransformer", "--no-compile", "--no-model-warmup")
        self.command = [
            *(str(INFINITY.path()), "v2", "--model-id", str(weights)),
            *("--served-model-name", name, "--host", host, "--port", port),
            *quick,
            *self.options,
        ]

    def answers(self, status: int = 200) -> int:
        """Return how many requests for vectors were answered so."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(
            f'"POST /embeddings HTTP/1.1" {status}'
        )


StartInfinity = Callable[..., Infinity]


@pytest.fixture(scope="session")
def infinity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infinity]:
    """The model's own weights under its own name. Tests do not stop it."""
    with Infinity(minilm(), tmp_path_factory.mktemp("infinity")) as server:
        yield server


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the same shape that give other vectors."""
    return other_weights(tmp_path_factory.mktemp("weights") / "other")
