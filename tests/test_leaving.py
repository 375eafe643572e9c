"""An embedded collection that is closed stays in the system's page cache, and is released."""

import ctypes
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import qdrant_edge as qe

from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from tests.store_contract import SETTINGS, ident, point

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def resident(path: Path) -> float:
    """Return the share of a file, from 0 to 1, that is in the system's page cache."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        size = ctypes.c_size_t(len(mapped))
        failed = ctypes.CDLL(None).mincore(ctypes.byref(start), size, found)
        del start
        assert not failed
        return sum(page & 1 for page in found) / pages


def drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on a disk: a file system in memory has no page cache."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        trial = Path(folder, "trial")
        trial.write_bytes(bytes(1 << 20))
        drop(trial)
        if resident(trial) > 0.5:
            pytest.skip("/var/tmp is no disk with a page cache that can be dropped")
        yield Path(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="mincore and the engine's fadvise are Linux's")
def test_a_command_leaves_the_collection_in_the_page_cache(disk: Path) -> None:
    def ragctl(*words: str) -> None:
        command = [sys.executable, "-m", "ragctl", *words, "--store", str(disk / "store")]
        environ = {"PATH": os.environ["PATH"], "HOME": str(disk), "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, env=environ, capture_output=True, cwd=disk)

    ragctl("ingest", str(ROOT / "sample_docs"), "--dim", "1024")
    shard = disk / "store" / "collections" / "docs" / "shard"
    files = [*shard.glob("segments/*/vector_storage-dense/**/chunk_0.mmap")]
    files += shard.glob("segments/*/payload_storage/page_0.dat")
    assert len(files) == 2
    qe.EdgeShard.load(str(shard)).close()  # closing drops them: the reason for not closing
    assert max(map(resident, files)) < 0.5
    for path in files:
        path.read_bytes()
    for words in (("search", "hourly data"), ("ingest", str(ROOT / "sample_docs"))):
        ragctl(*words)
        assert min(map(resident, files)) > 0.9, words


def test_a_closed_collection_is_free_for_another_process(tmp_path: Path) -> None:
    first = EdgeStore(tmp_path).create("docs", SETTINGS)
    first.apply(Batch(upserts=[point(1)]))
    first.close()
    second = EdgeStore(tmp_path, patience=5.0).open("docs")
    assert second is not None
    assert [found.id for found in second.scroll()] == [ident(1)]
    second.close()
    EdgeStore(tmp_path, patience=5.0).drop("docs")
    assert EdgeStore(tmp_path).names() == []
    again = EdgeStore(tmp_path, patience=5.0).create("docs", SETTINGS)
    assert list(again.scroll()) == []
    again.close()


def test_closing_flushes_what_was_written(tmp_path: Path) -> None:
    made = EdgeStore(tmp_path).create("docs", SETTINGS)
    made.apply(Batch(upserts=[point(1)]))
    folder = tmp_path / "collections" / "docs" / "shard"

    def times() -> list[int]:
        return sorted(p.stat().st_mtime_ns for p in folder.glob("segments/*/segment.json"))

    before = times()
    made.close()
    assert times() != before
