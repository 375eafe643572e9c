"""Fixtures shared by several test modules."""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import ragctl.index.prepare
import ragctl.index.survey
from tests import warm
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import KEY, World

# No time limit on examples and generators: on a loaded machine a process may wait for seconds.
settings.register_profile("ragctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragctl")

MEMORY_FOLDER = Path("/dev/shm")
MIN_FREE_BYTES = 2 << 30  # about 100 MB are in use at a time, more if tests fail


TEST_SECONDS = 300  # a test takes at most about 20 s of an idle core; 0.5 s is usual
AGAIN_SECONDS = 10  # the error leaves a `with` block that waits for a hung process


def pytest_configure() -> None:
    """Set up this process, which the processes that tests start inherit.

    Temporary folders are kept in memory: the tests make hundreds of stores, and disks are slow.
    SIGINT is ignored in a shell's background jobs, and so would be in every process of the tests.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if (
        MEMORY_FOLDER.is_dir()
        and os.access(MEMORY_FOLDER, os.W_OK)
        and shutil.disk_usage(MEMORY_FOLDER).free > MIN_FREE_BYTES
    ):
        os.environ.setdefault("TMPDIR", str(MEMORY_FOLDER))
        tempfile.tempdir = None  # tempfile looks it up again


@contextmanager
def time_limit(item: pytest.Item) -> Iterator[None]:
    """Fail a test that hangs, so that it does not stop the others. Soak tests have no limit."""
    if item.get_closest_marker("soak") or threading.current_thread() != threading.main_thread():
        yield
        return

    def fail(*_: object) -> None:
        pytest.fail(f"took longer than {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with time_limit(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with time_limit(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    with time_limit(item):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that all workers end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _warm_parsers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragctl.index.prepare, "Pool", warm.WarmPool)
        patch.setattr(ragctl.index.survey, "Pool", warm.WarmPool)
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
