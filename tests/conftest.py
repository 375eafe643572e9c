"""Fixtures that several modules share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import KEY, World


@pytest.fixture
def host() -> Iterator[JinaServer]:
    with JinaServer(KEY) as server:
        yield server


@pytest.fixture(params=["edge", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store's location: a folder, then a server's address."""
    if request.param == "edge":
        yield str(tmp_path / "store")
    else:
        with QdrantFacade() as facade:
            yield facade.url


@pytest.fixture
def world(place: str, host: JinaServer, tmp_path: Path) -> World:
    """On each kind of store."""
    (tmp_path / "docs").mkdir()
    return World(tmp_path / "docs", place, host)


@pytest.fixture
def edge_world(host: JinaServer, tmp_path: Path) -> World:
    """On the embedded store alone, where the store makes no difference."""
    (tmp_path / "docs").mkdir()
    return World(tmp_path / "docs", str(tmp_path / "store"), host)
