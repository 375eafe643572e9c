"""Fixtures shared by several test modules."""

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

# No time limit on examples and generators: on a loaded machine a process may wait for seconds.
settings.register_profile("ragctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragctl")

MEMORY_FOLDER = Path("/dev/shm")
MIN_FREE_BYTES = 2 << 30  # about 100 MB are in use at a time, more if tests fail


def pytest_configure() -> None:
    """Keep temporary folders in memory: the tests make hundreds of stores, and disks are slow."""
    if (
        MEMORY_FOLDER.is_dir()
        and os.access(MEMORY_FOLDER, os.W_OK)
        and shutil.disk_usage(MEMORY_FOLDER).free > MIN_FREE_BYTES
    ):
        os.environ.setdefault("TMPDIR", str(MEMORY_FOLDER))
        tempfile.tempdir = None  # tempfile looks it up again


@pytest.fixture(scope="session", autouse=True)
def _warm_parsers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragctl.index.prepare, "Pool", warm.WarmPool)
        yield
    warm.close_idle()


@pytest.fixture
def host() -> Iterator[JinaServer]:
    with JinaServer(KEY) as server:
        yield server


@pytest.fixture(params=["edge", "server"])
def store_location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The location of a store of each kind: a folder, and a server's address."""
    if request.param == "edge":
        yield str(tmp_path / "store")
    else:
        with QdrantFacade() as facade:
            yield facade.url


@pytest.fixture
def world(store_location: str, host: JinaServer, tmp_path: Path) -> World:
    """A World on each kind of store."""
    (tmp_path / "docs").mkdir()
    return World(tmp_path / "docs", store_location, host)


@pytest.fixture
def edge_world(host: JinaServer, tmp_path: Path) -> World:
    """A World on the embedded store, for tests that do not depend on the kind of store."""
    (tmp_path / "docs").mkdir()
    return World(tmp_path / "docs", str(tmp_path / "store"), host)
