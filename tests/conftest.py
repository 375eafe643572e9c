"""Fixtures that several modules share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import ragctl.index.prepare
from tests import warm
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import KEY, World

# No example and no generator has a time limit: a loaded machine may let a process wait for seconds.
settings.register_profile("ragctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragctl")

MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # bytes; some 100 MB are in use at a time, and more where tests fail


def pytest_configure() -> None:
    """Temporary folders in memory: there are hundreds of stores, and a disk is waited for."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("TMPDIR", str(MEMORY))
        tempfile.tempdir = None  # to be found again


@pytest.fixture(scope="session", autouse=True)
def _warm_parsers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragctl.index.prepare, "Pool", warm.WarmPool)
        yield
    warm.end()


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
