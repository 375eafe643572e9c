"""Sealed segments are joined: few are left, searches find the same, and a kill loses nothing.

Segments are made small here, so that a test of a second has many.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ragctl.collection.payload import Point, SparseVector
from ragctl.collection.settings import Settings
from ragctl.lexical.bm25 import Bm25Config
from ragctl.records import Identity
from ragctl.stores import segments as sizes
from ragctl.stores.base import Batch, Query
from ragctl.stores.edge import EdgeCollection, EdgeStore

pytestmark = pytest.mark.slow

DIM = 64
BATCH = 60
SEAL = 1 << 18  # bytes, less than a batch: each is sealed by itself
SETTINGS = Settings(Identity(model="builtin", dimension=DIM), Bm25Config(languages=("en",)))
MANY = 14
KILLS = 5

_FINISH = """
import sys
from pathlib import Path
from ragctl.stores import edge, segments
segments.SEAL_BYTES = int(sys.argv[2])
docs = edge.EdgeStore(Path(sys.argv[1])).open("docs")
print("begun", flush=True)
docs.finish()
docs.close()
"""


def points(first: int, count: int) -> list[Point]:
    rows = np.random.default_rng(first).standard_normal((count, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        Point(
            str(uuid.UUID(int=number)),
            {"source": f"d{number // 20}", "text": f"text {number} " * 300},
            row,
            SparseVector([number % 97, 1000], [1.0, 0.5]),
        )
        for number, row in enumerate(rows, first + 1)
    ]


def fill(collection: EdgeCollection, first: int, count: int) -> None:
    """Write batches, each of which becomes a segment."""
    for number in range(first, first + count):
        collection.apply(Batch(upserts=points(number * BATCH, BATCH)))


def joined(batches: int) -> int:
    return sizes.joined(batches * BATCH, SETTINGS)


def opened(store: Path) -> EdgeCollection:
    collection = EdgeStore(store).open("docs")
    assert collection is not None
    return collection


def kept(store: Path) -> str:
    """Return the configuration stored with the shard."""
    return (store / "collections" / "docs" / "shard" / "edge_config.json").read_text()


def segments(collection: EdgeCollection) -> int:
    return int(collection._process.call("info")[0])


def stored(collection: EdgeCollection) -> dict[str, tuple[object, ...]]:
    return {
        point.id: (
            point.payload["source"],
            len(str(point.payload["text"])),
            None if point.dense is None else point.dense.round(5).tobytes(),
            point.sparse,
        )
        for point in collection.scroll(vectors=True)
    }


def found(collection: EdgeCollection) -> list[list[tuple[str, float]]]:
    asked = points(1_000_000, 20)
    hits = [collection.query(Query(10, point.dense, point.sparse)) for point in asked]
    return [[(hit.id, round(hit.score, 5)) for hit in some] for some in hits]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "SEAL_BYTES", SEAL)


def test_an_ingest_ends_with_few_segments_and_the_same_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "MAX_SMALL_SEGMENTS", 1000)
    with closing(EdgeStore(tmp_path).create("docs", SETTINGS)) as collection:
        fill(collection, 0, MANY)
        before, hits = stored(collection), found(collection)
        assert len(before) == MANY * BATCH
        with monkeypatch.context() as patch:
            patch.setattr(sizes, "JOIN_FREE_BYTES", shutil.disk_usage(tmp_path).free)
            collection.finish()
            assert segments(collection) >= MANY, "the disk had no room to join them"
        sealing = kept(tmp_path)
        collection.finish()
        assert segments(collection) <= joined(MANY) + sizes.MAX_SMALL_SEGMENTS_AT_END
        assert stored(collection) == before
        assert found(collection) == hits
    assert kept(tmp_path) == sealing, "what is sealed later would be joined at once"


def test_segments_that_cannot_be_joined_stay_and_are_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    join = EdgeCollection._join

    def counted(collection: EdgeCollection) -> None:
        calls.append(collection.name)
        join(collection)

    monkeypatch.setattr(EdgeCollection, "_join", counted)
    monkeypatch.setattr(sizes, "JOIN_TIMEOUT_SECONDS", 0.001)
    with closing(EdgeStore(tmp_path).create("docs", SETTINGS)) as collection:
        fill(collection, 0, MANY)
        collection.finish()
        collection.finish()
        assert calls == ["docs"]
        assert segments(collection) >= MANY
        assert len(stored(collection)) == MANY * BATCH
    monkeypatch.undo()
    monkeypatch.setattr(sizes, "SEAL_BYTES", SEAL)
    with closing(opened(tmp_path)) as collection:
        collection.finish()
        assert segments(collection) <= joined(MANY) + sizes.MAX_SMALL_SEGMENTS_AT_END
        assert len(stored(collection)) == MANY * BATCH


def test_segments_are_joined_while_an_ingest_is_running(tmp_path: Path) -> None:
    with closing(EdgeStore(tmp_path).create("docs", SETTINGS)) as collection:
        fill(collection, 0, MANY)
        assert segments(collection) <= joined(MANY) + sizes.MAX_SMALL_SEGMENTS < MANY


def test_a_kill_while_segments_are_joined_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "MAX_SMALL_SEGMENTS", 1000)
    dice, length, ends = random.Random(7), 0.5, Counter[int]()
    EdgeStore(tmp_path).create("docs", SETTINGS).close()
    while ends[-signal.SIGKILL] < KILLS:
        assert ends.total() < 5 * KILLS, ends
        with closing(opened(tmp_path)) as collection:
            fill(collection, 5 * ends.total(), 5)
            before = stored(collection)
            assert len(before) == 5 * (ends.total() + 1) * BATCH
        code, length = _finish(tmp_path, dice.random() * length, length)
        ends[code] += 1
        with closing(opened(tmp_path)) as collection:
            assert stored(collection) == before
    assert set(ends) <= {0, -signal.SIGKILL}
    with closing(opened(tmp_path)) as collection:
        collection.finish()
        assert stored(collection) == before
        assert segments(collection) <= joined(5 * ends.total()) + sizes.MAX_SMALL_SEGMENTS_AT_END


def _finish(store: Path, after: float, length: float) -> tuple[int, float]:
    """Finish in another process, killed after some seconds; return its exit code and duration."""
    command = [sys.executable, "-c", _FINISH, str(store), str(SEAL)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        began = time.monotonic()
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        else:
            length = time.monotonic() - began
    return process.returncode, length
