"""`ragctl export`: every point, exactly, in one step; a killed export leaves no file."""

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.collection.payload import Point, SparseVector
from ragctl.stores import export as exporting
from ragctl.stores import open_store
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from tests.command import call
from tests.store_contract import SETTINGS
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow


@pytest.fixture
def indexed(world: World) -> World:
    for name in "abc":
        world.write(f"{name}.md", paragraphs(*(f"{name} {n}" for n in range(3))))
    world.write("empty.md", "")
    world.ingest()
    return world


def export(world: World, tmp_path: Path, *words: str, code: int = 0) -> tuple[str, str]:
    result = call(
        *("export", "docs", *words, "--store", world.store),
        environ={"RAGCTL_HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert result.returncode == code, result.stderr
    return result.stdout, result.stderr


def points(world: World) -> dict[str, Point]:
    with closing(open_store(world.store, environ={})) as store:
        found = store.open("docs")
        assert found is not None
        with closing(found):
            return {point.id: point for point in found.scroll(vectors=True)}


def check_vectors(point: Point, dense: Any, indices: Any, values: Any) -> None:
    if point.dense is None:
        assert dense is None
    else:
        assert np.array_equal(np.asarray(dense, np.float32), point.dense)
    if point.sparse is None:
        assert indices is None
    else:
        assert indices == list(point.sparse.indices)
        assert np.array_equal(
            np.asarray(values, np.float32), np.asarray(point.sparse.values, np.float32)
        )


def test_jsonl_keeps_payloads_and_vectors_exactly(indexed: World, tmp_path: Path) -> None:
    stored = points(indexed)
    out, _ = export(indexed, tmp_path, "docs.jsonl")
    assert out == "docs: 10 points exported to docs.jsonl\n"
    text = (tmp_path / "docs.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert {row["id"]: row["payload"] for row in rows} == {
        key: point.payload for key, point in stored.items()
    }
    for row in rows:
        sparse = row["sparse"] or {"indices": None, "values": None}
        check_vectors(stored[row["id"]], row["dense"], sparse["indices"], sparse["values"])
    out, err = export(indexed, tmp_path, "-")
    assert sorted(out.splitlines()) == sorted(text.splitlines())
    assert err == "docs: 10 points exported\n"
    export(indexed, tmp_path, "docs.jsonl", "--no-vectors")
    first = json.loads((tmp_path / "docs.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert sorted(first) == ["id", "payload"]


def test_parquet_keeps_payloads_and_vectors_exactly(
    indexed: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(exporting, "ROW_GROUP_POINTS", 4)
    stored = points(indexed)
    export(indexed, tmp_path, "docs.parquet")
    file = pq.ParquetFile(tmp_path / "docs.parquet")
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [4, 4, 2]
    assert json.loads(file.schema_arrow.metadata[b"ragctl"])["identity"]["dimension"] == 64
    rows = file.read().to_pylist()
    assert {row["id"] for row in rows} == set(stored)
    for row in rows:
        point = stored[row["id"]]
        assert json.loads(row["payload"]) == point.payload
        assert (row["source"], row["text"]) == (point.payload["source"], point.payload["text"])
        check_vectors(point, row["dense"], row["sparse_indices"], row["sparse_values"])
    assert str(file.schema_arrow.field("dense").type) == "list<element: float>"
    export(indexed, tmp_path, "docs.parquet", "--no-vectors")
    names = pq.ParquetFile(tmp_path / "docs.parquet").schema_arrow.names
    assert names == ["id", "source", "ordinal", "text", "payload"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("docs.csv", "ends in .parquet or .jsonl"),
        ("none/docs.jsonl", "none/docs.jsonl: cannot be written"),
        ("folder.jsonl", "folder.jsonl: cannot be written (it is a folder)"),
    ],
)
def test_a_wrong_file_is_one_line(
    edge_world: World, tmp_path: Path, file: str, message: str
) -> None:
    edge_world.write("a.md", "one")
    edge_world.ingest()
    (tmp_path / "folder.jsonl").mkdir()
    _, err = export(edge_world, tmp_path, file, code=2)
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_pyarrow_the_extra_is_named(
    edge_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    _, err = export(edge_world, tmp_path, "docs.parquet", code=2)
    assert "[export]'; or export to FILE.jsonl" in err


def test_a_killed_export_leaves_the_old_file(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "store")
    collection = store.create("docs", SETTINGS)
    dense = np.ones(8, np.float32)
    sparse = SparseVector([1], [1.0])
    for first in range(0, 20_000, 2000):
        rows = [
            Point(f"00000000-0000-4000-8000-{n:012d}", {"text": "x" * 500}, dense, sparse)
            for n in range(first, first + 2000)
        ]
        collection.apply(Batch(upserts=rows))
    collection.finish()
    collection.close()
    target = tmp_path / "docs.jsonl"
    target.write_text("old", encoding="utf-8")
    words = ["export", "docs", str(target), "--store", str(tmp_path / "store")]
    process = subprocess.Popen([sys.executable, "-m", "ragctl", *words], cwd=tmp_path)
    try:
        while not any(part.stat().st_size for part in tmp_path.glob(".docs.jsonl.*.part")):
            assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert target.read_text(encoding="utf-8") == "old"
