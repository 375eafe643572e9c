"""Rebuild a damaged collection: intact vectors are kept, the rest is embedded from the sources."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ragctl.catalog import BackendConfig
from ragctl.errors import IdentityMismatch, Locked, StoreError, UnreadableCollection, UsageError
from ragctl.index.verify import inspect_collection
from ragctl.pipeline import Embedding, Pipeline
from ragctl.stores import open_store
from ragctl.stores.edge import EdgeStore
from ragctl.stores.edge_layout import NOTES_FILES
from ragctl.stores.locks import fair_lock
from ragctl.transfer.rebuild import RebuildReport, rebuild
from ragctl.transfer.rebuild_settings import PipelineSettings
from tests.damages import Damage, copy_store, damages, make_collection, pipeline, run
from tests.mounting import can_mount
from tests.servers.jina import JinaServer
from tests.world import KEY

SAMPLE = 60
"""Every so many damages one is tried in the default suite; the soak test tries all."""


class Whole(NamedTuple):
    """A folder of documents, a store with their collection, and its points."""

    docs: Path
    store: Path
    points: dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    base = tmp_path_factory.mktemp("whole")
    make_collection(base / "docs", base / "store")
    # Opening a store may change its files, so the points are those of a copy.
    copy_store(base / "store", base / "read")
    return Whole(base / "docs", base / "store", points(base / "read"))


def points(store: Path) -> dict[str, Any]:
    with closing(open_store(str(store), environ={})) as opened:
        found = opened.open("docs")
        assert found is not None
        with closing(found):
            return {
                point.id: (point.payload, None if point.dense is None else point.dense.tobytes())
                for point in found.scroll(vectors=True)
            }


def rebuilt(store: Path) -> RebuildReport:
    with closing(open_store(str(store), environ={})) as opened:
        return rebuild(opened, "docs", patience=0)


def check(damage: Damage, whole: Whole, tmp_path: Path) -> None:
    """A damaged collection is listed and rebuilt, and a run brings back all of it."""
    docs, store, before = whole
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    copy_store(store, tmp_path / "store")
    damage.apply(tmp_path / "store" / "collections" / "docs")
    with closing(open_store(str(tmp_path / "store"), environ={})) as opened:
        assert opened.names() == ["docs"], damage.title
    report, problem = None, ""
    try:
        report = rebuilt(tmp_path / "store")
    except UnreadableCollection as error:
        problem = str(error)
    if report is None:
        assert "ragctl delete --all -c docs" in problem
        with closing(open_store(str(tmp_path / "store"), environ={})) as opened:
            opened.drop("docs")
    else:
        kept = points(tmp_path / "store")
        assert report.points == len(kept), damage.title
        assert all(before[point_id][1] == kept[point_id][1] for point_id in kept), damage.title
    run(docs, tmp_path / "store")
    assert points(tmp_path / "store") == before, damage.title
    with closing(open_store(str(tmp_path / "store"), environ={})) as opened:
        found = opened.open("docs")
        assert found is not None
        with closing(found):
            assert inspect_collection(found).faults == [], damage.title


def all_damages(whole: Whole) -> list[Damage]:
    return list(damages(whole.store / "collections" / "docs"))


def test_a_sample_of_damages(whole: Whole, tmp_path: Path) -> None:
    for damage in all_damages(whole)[::SAMPLE]:
        check(damage, whole, tmp_path)


@pytest.mark.soak
def test_every_damage(whole: Whole, tmp_path: Path) -> None:
    for damage in all_damages(whole):
        check(damage, whole, tmp_path)


def test_an_intact_collection_stays_as_it_is(whole: Whole, tmp_path: Path) -> None:
    docs, store, before = whole
    copy_store(store, tmp_path / "store")
    report = rebuilt(tmp_path / "store")
    assert (report.damaged, report.lost, report.incomplete) == (0, [], 0)
    assert points(tmp_path / "store") == before
    done = run(docs, tmp_path / "store").report
    assert done is not None
    assert done.chunks.embedded == 0


def test_without_a_pointer_an_unfinished_generation_is_not_taken(
    whole: Whole, tmp_path: Path
) -> None:
    _, store, before = whole
    copy_store(store, tmp_path / "store")
    with closing(open_store(str(tmp_path / "store"), environ={})) as opened:
        found = opened.open("docs")
        assert found is not None
        with closing(found):
            opened.create_generation("docs", found.settings).close()
    for pointer in ("current", "current.copy"):
        (tmp_path / "store" / "collections" / "docs" / pointer).unlink()
    rebuilt(tmp_path / "store")
    assert points(tmp_path / "store") == before


def without_settings(whole: Whole, store: Path) -> None:
    copy_store(whole.store, store)
    for file in ("collection.json", "collection.copy.json"):
        (store / "collections" / "docs" / file).unlink()


def rebuilt_with(pipeline: Pipeline, store: Path) -> RebuildReport:
    with closing(open_store(str(store), environ={})) as opened:
        return rebuild(
            opened, "docs", patience=0, otherwise=PipelineSettings(pipeline, pipeline.environ)
        )


def test_lost_settings_are_those_of_the_pipeline(whole: Whole, tmp_path: Path) -> None:
    docs, _, before = whole
    without_settings(whole, tmp_path / "store")
    report = rebuilt_with(pipeline(docs, tmp_path / "store"), tmp_path / "store")
    assert (report.damaged, report.incomplete) == (0, 0)
    assert not any("ragctl" in line for line in report.lost), "it is being rebuilt"
    assert points(tmp_path / "store") == before
    done = run(docs, tmp_path / "store").report
    assert done is not None
    assert (done.chunks.embedded, done.documents.updated) == (0, 0)
    with closing(open_store(str(tmp_path / "store"), environ={})) as opened:
        found = opened.open("docs")
        assert found is not None
        with closing(found):
            assert inspect_collection(found).faults == []


def test_lost_settings_are_not_those_of_another_model(
    whole: Whole, tmp_path: Path, host: JinaServer
) -> None:
    without_settings(whole, tmp_path / "store")
    wanted = pipeline(whole.docs, tmp_path / "store")
    with pytest.raises(UnreadableCollection, match="do not fit what is left"):
        rebuilt_with(replace(wanted, embedding=Embedding("builtin", 32)), tmp_path / "store")
    late = Embedding("jina-embeddings-v3", 64, late_chunking=True)
    with pytest.raises(UnreadableCollection, match="late chunking"):
        rebuilt_with(replace(wanted, embedding=late), tmp_path / "store")
    other = replace(
        wanted,
        embedding=Embedding("jina-embeddings-v3", 64, (BackendConfig(base_url=host.url),)),
        environ={"JINA_API_KEY": KEY},
    )
    with pytest.raises(IdentityMismatch, match="jina-embeddings-v3 does not reproduce its vectors"):
        rebuilt_with(other, tmp_path / "store")
    assert len(host.texts) == 5, "a sample is sent"
    assert (tmp_path / "store" / "collections" / "docs" / "shard").is_dir()
    assert not (tmp_path / "store" / "collections" / "docs" / "2").exists()


def test_only_what_is_missing_is_embedded(whole: Whole, tmp_path: Path) -> None:
    docs, store, before = whole
    copy_store(store, tmp_path / "store")
    shard = tmp_path / "store" / "collections" / "docs" / "shard" / "segments"
    segments = sorted(path for path in shard.iterdir() if path.is_dir())
    shutil.rmtree(segments[0])
    report = rebuilt(tmp_path / "store")
    assert 0 < report.points < len(before)
    done = run(docs, tmp_path / "store").report
    assert done is not None
    assert done.chunks.embedded <= len(before) - report.points
    assert points(tmp_path / "store") == before


def _without(segment: Path) -> None:
    for path in segment.glob("*id_tracker.*"):
        path.unlink()


def _half_of_ids(segment: Path) -> None:
    for path in (segment / "id_tracker.i2e", segment / "mutable_id_tracker.mappings"):
        if path.exists():
            os.truncate(path, path.stat().st_size // 2)


def _wrong_ids(segment: Path) -> None:
    path = segment / "id_tracker.i2e"
    if path.exists():
        content = bytearray(path.read_bytes())
        for position in range(32, len(content), 64):
            content[position] ^= 0xFF
        path.write_bytes(content)


@pytest.mark.parametrize("damage", [_without, _half_of_ids, _wrong_ids])
def test_points_are_kept_without_the_ids_of_their_segments(
    damage: Callable[[Path], None], whole: Whole, tmp_path: Path
) -> None:
    copy_store(whole.store, tmp_path / "store")
    folder = tmp_path / "store" / "collections" / "docs" / "shard"
    shutil.rmtree(folder / "wal")  # it may hold the last points again
    for segment in (folder / "segments").iterdir():
        damage(segment)
    report = rebuilt(tmp_path / "store")
    assert (report.points, report.incomplete) == (len(whole.points), 0)
    assert points(tmp_path / "store") == whole.points


def test_without_settings_it_says_what_to_do(whole: Whole, tmp_path: Path) -> None:
    _, store, _ = whole
    copy_store(store, tmp_path / "store")
    folder = tmp_path / "store" / "collections" / "docs"
    for path in folder.glob("collection*.json"):
        path.write_text("{")
    with pytest.raises(StoreError, match="ragctl delete --all -c docs"):
        rebuilt(tmp_path / "store")


def test_there_is_nothing_to_rebuild(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no collection 'docs'"):
        rebuilt(tmp_path / "store")


def generations(store: Path) -> list[tuple[int, bool]]:
    return [(each.number, each.current) for each in EdgeStore(store).generations("docs")]


def test_a_busy_shard_is_no_damage(whole: Whole, tmp_path: Path) -> None:
    copy_store(whole.store, tmp_path / "store")
    store = EdgeStore(tmp_path / "store", patience=0.1)
    with fair_lock(store.lock_path("docs", "shard"), "the shard", 1.0), pytest.raises(Locked):
        rebuild(store, "docs")
    assert generations(tmp_path / "store") == [(1, True)]
    assert points(tmp_path / "store") == whole.points


CRAMPED = """
mount -t tmpfs -o size={size} tmpfs /mnt
TMPDIR=/mnt exec {python} -m ragctl rebuild docs --store {store}
"""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", ["64k", "700k"])
def test_no_space_for_the_copies_is_no_damage(size: str, whole: Whole, tmp_path: Path) -> None:
    copy_store(whole.store, tmp_path / "store")
    script = CRAMPED.format(size=size, python=sys.executable, store=tmp_path / "store")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert "/mnt" in done.stderr
    assert generations(tmp_path / "store") == [(1, True)]
    assert points(tmp_path / "store") == whole.points


def test_notes_that_are_lost_are_named(whole: Whole, tmp_path: Path) -> None:
    copy_store(whole.store, tmp_path / "store")
    for name in NOTES_FILES:
        (tmp_path / "store" / "collections" / "docs" / name).write_text("{")
    report = rebuilt(tmp_path / "store")
    assert report.points == len(whole.points)
    (line,) = report.lost
    assert line.startswith("notes: ")
