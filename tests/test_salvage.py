"""What is still readable of a damaged embedded collection is read, and nothing is written to it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ragctl.collection.payload import Point
from ragctl.errors import StoreError
from ragctl.stores import edge_salvage, segments
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from ragctl.stores.edge_layout import POINTERS
from ragctl.stores.edge_tracker import stored_versions
from tests.store_contract import ident
from tests.test_joining import BATCH, SETTINGS, points

pytestmark = pytest.mark.slow

CRASH = """
import os, sys
from pathlib import Path
from ragctl.collection.conditions import Match
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from ragctl.stores.edge_layout import POINTERS
from tests.store_contract import ident
from tests.test_joining import points
collection = EdgeStore(Path(sys.argv[1])).open("docs")
collection.apply(Batch(
    upserts=points(5000, 3),
    overwrites=[(ident(2), {"source": "overwritten"})],
    merges=[((Match("source", ("d4",)),), {"size": 9})],
    deletes=[ident(3)],
))
os.kill(collection._process._process.pid, 9)
os._exit(0)
"""
"""A run whose last batch is in the write-ahead log alone."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(segments, "SEAL_BYTES", 1 << 18)
    monkeypatch.setattr(segments, "MAX_SMALL_SEGMENTS", 1000)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert not [*(tmp_path / "temporary").iterdir()], "copies are removed"


@pytest.fixture
def store(tmp_path: Path) -> EdgeStore:
    """A store with a collection of two sealed segments and an unsealed one."""
    store = EdgeStore(tmp_path / "store")
    with closing(store.create("docs", SETTINGS)) as collection:
        collection.apply(Batch(upserts=points(0, BATCH)))
        collection.apply(Batch(upserts=points(BATCH, BATCH)))
        collection.apply(Batch(upserts=points(1000, 10), deletes=[ident(1)]))
        collection._process.call("seal")
    return store


def shard(store: EdgeStore) -> Path:
    return Path(store.location) / "collections" / "docs" / "shard"


def sealed(store: EdgeStore, point_id: str) -> Path:
    """Return the sealed segment with this point."""
    for folder in (shard(store) / "segments").iterdir():
        if (folder / "id_tracker.i2e").exists() and point_id in stored_versions(folder):
            return folder
    raise AssertionError(f"no sealed segment has {point_id}")


def stored(store: EdgeStore) -> dict[str, Point]:
    collection = store.open("docs")
    assert collection is not None
    with closing(collection):
        return {point.id: point for point in collection.scroll(vectors=True)}


def salvaged(store: EdgeStore) -> tuple[dict[str, Point], list[str]]:
    found = store.salvage("docs")
    assert found is not None
    assert found.settings == SETTINGS
    read = list(found.points)
    assert len({point.id for point in read}) == len(read), "each point once"
    return {point.id: point for point in read}, found.lost


def same(one: Point, other: Point) -> bool:
    assert one.dense is not None
    assert other.dense is not None
    np.testing.assert_allclose(one.dense, other.dense, atol=1e-6)
    return one.payload == other.payload and one.sparse == other.sparse


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_intact_collection_is_read_whole_and_not_written(store: EdgeStore) -> None:
    before = stored(store)
    files = contents(shard(store))
    read, lost = salvaged(store)
    assert lost == []
    assert read.keys() == before.keys()
    assert all(same(read[point_id], before[point_id]) for point_id in before)
    assert contents(shard(store)) == files


def test_nothing_is_found_of_a_missing_collection(tmp_path: Path) -> None:
    assert EdgeStore(tmp_path).salvage("docs") is None


def test_without_settings_nothing_is_read(store: EdgeStore) -> None:
    for name in ("collection.json", "collection.copy.json"):
        (shard(store).parent / name).write_text("")
    found = store.salvage("docs")
    assert found is not None
    assert found.settings is None
    assert list(found.points) == []
    assert "collection.json" in found.lost[0]


def test_damage_to_what_can_be_computed_again_costs_no_point(store: EdgeStore) -> None:
    before = stored(store)
    for folder in (shard(store) / "segments").iterdir():
        (folder / "segment.json").write_text("rubbish")
        shutil.rmtree(folder / "payload_index")
        (folder / "payload_index").write_text("no folder")
        for index in folder.glob("vector_index-*"):
            shutil.rmtree(index)
        os.truncate(folder / "payload_storage" / "bitmask.dat", 100)
        (folder / "vector_storage-bm25" / "store" / "gaps.dat").unlink()
    (shard(store) / "edge_config.json").unlink()
    read, lost = salvaged(store)
    assert lost == []
    assert read.keys() == before.keys()
    assert all(same(read[point_id], before[point_id]) for point_id in before)


def test_a_lost_segment_costs_its_points_only(store: EdgeStore) -> None:
    before = stored(store)
    damaged = sealed(store, ident(BATCH + 1))
    os.truncate(damaged / "id_tracker.e2i", 10)
    read, lost = salvaged(store)
    assert read.keys() == before.keys() - stored_versions(damaged).keys()
    assert len(read) == len(before) - BATCH
    (line,) = lost
    assert damaged.name in line
    assert "\n" not in line


def test_unreadable_payloads_cost_their_points_only(store: EdgeStore) -> None:
    """The other points of the page and of the segment come back."""
    before = stored(store)
    damaged = sealed(store, ident(BATCH + 1))
    with (damaged / "payload_storage" / "page_0.dat").open("r+b") as file:
        for block in (0, 128 * 20):
            file.seek(block)
            file.write(b"\xff" * 64)
    read, lost = salvaged(store)
    assert BATCH // 2 < len(read) < len(before)
    assert all(same(read[point_id], before[point_id]) for point_id in read)
    assert f"segment {damaged.name}: " in lost[0]
    assert "points cannot be read" in lost[0]


def test_the_newer_one_of_two_equal_ids_is_returned(store: EdgeStore, tmp_path: Path) -> None:
    """A kill between writing a point to its new segment and deleting it in the old one."""
    folder = sealed(store, ident(2))
    shutil.copytree(folder, tmp_path / "older")
    collection = store.open("docs")
    assert collection is not None
    with closing(collection):
        for number in (2, 3):
            vector = np.eye(SETTINGS.dim, dtype=np.float32)[number]
            collection.apply(Batch(upserts=[Point(ident(number), {"source": "newer"}, vector)]))
        collection._process.call("seal")
    after = stored(store)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "older", folder)
    shutil.rmtree(shard(store) / "wal")
    assert {ident(2), ident(3)} <= stored_versions(folder).keys()
    read, _ = salvaged(store)
    assert read.keys() == after.keys()
    assert [read[ident(number)].payload["source"] for number in (2, 3)] == ["newer", "newer"]


def test_the_log_of_a_killed_run_is_read(store: EdgeStore) -> None:
    command = [sys.executable, "-c", CRASH, store.location]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    kept = store.location + ".kept"
    shutil.copytree(store.location, kept)
    after = stored(EdgeStore(Path(kept)))
    assert after[ident(2)].payload == {"source": "overwritten"}
    (shard(store) / "edge_config.json").write_text("")
    for segment in (shard(store) / "segments").iterdir():
        (segment / "segment.json").unlink()
    read, lost = salvaged(store)
    assert lost == []
    assert read.keys() == after.keys()
    assert ident(3) not in read
    assert str(uuid.UUID(int=5001)) in read
    assert all(read[point_id].payload == after[point_id].payload for point_id in after)


def test_without_segments_the_log_is_read(store: EdgeStore) -> None:
    command = [sys.executable, "-c", CRASH, store.location]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    shutil.rmtree(shard(store) / "segments")
    read, lost = salvaged(store)
    assert {str(uuid.UUID(int=number)) for number in (5001, 5002, 5003)} <= read.keys()
    assert "segments" in lost[0]


def test_a_damaged_log_costs_what_is_in_it(store: EdgeStore) -> None:
    before = stored(store)
    for path in (shard(store) / "wal").iterdir():
        path.write_bytes(b"rubbish" * 100)
    read, _ = salvaged(store)
    assert read.keys() == before.keys()


def test_a_part_that_takes_too_long_is_given_up(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_shard = edge_salvage._new_shard

    def hurried(*arguments: object) -> Path:
        made = new_shard(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(edge_salvage, "CALL_SECONDS", 0.01)
        return made

    monkeypatch.setattr(edge_salvage, "_new_shard", hurried)
    read, lost = salvaged(store)
    assert read == {}
    assert len([line for line in lost if "did not answer within 0.01 s" in line]) == 4


def test_another_generation_can_be_salvaged(store: EdgeStore) -> None:
    with closing(store.create_generation("docs", SETTINGS)) as second:
        second.apply(Batch(upserts=points(9000, 2)))
    for pointer in POINTERS:
        (shard(store).parent / pointer).unlink()
    newest = store.salvage("docs")
    assert newest is not None
    assert len(list(newest.points)) == 2, "without a pointer the newest"
    first = store.salvage("docs", generation=1)
    assert first is not None
    assert len(list(first.points)) == 2 * BATCH + 9


def test_copies_of_dead_processes_are_removed(store: EdgeStore, tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    left = tmp_path / "temporary" / f"ragctl-copy-{int(dead.stdout)}-abc"
    (left / "shard").mkdir(parents=True)
    salvaged(store)
    assert not left.exists()


def test_a_copy_without_space_says_where_more_is_needed(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(store.location)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(StoreError, match="TMPDIR"):
        salvaged(store)
