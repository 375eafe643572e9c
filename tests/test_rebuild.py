"""Rebuild a damaged collection: intact vectors are kept, the rest is embedded from the sources."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ragctl.errors import StoreError, UnreadableCollection, UsageError
from ragctl.index.verify import inspect_collection
from ragctl.stores import open_store
from ragctl.transfer.rebuild import RebuildReport, rebuild
from tests.damages import Damage, copy_store, damages, make_collection, run

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
