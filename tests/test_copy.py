"""Copy a collection to another store or name: nothing is embedded, everything stays equal."""

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.errors import IdentityMismatch, PruneRefused, UsageError
from ragctl.index.report import Report
from ragctl.pipeline import Embedding
from ragctl.stores import open_store
from ragctl.stores.base import Batch
from ragctl.transfer.copy import Copying, Place
from tests.servers.qdrant import QdrantFacade
from tests.world import World, paragraphs

Points = dict[str, tuple[Any, Any, Any]]


@pytest.fixture
def filled(world: World) -> World:
    for n in range(8):
        world.write(f"{n}.md", paragraphs(*(f"part {n} {k}" for k in range(3))))
    world.write("empty.md", "")
    world.ingest()
    world.forget()
    return world


def copy(world: World, target: str, name: str | None = None, **options: Any) -> Report:
    with ExitStack() as stack:
        source, goal = (
            stack.enter_context(closing(open_store(place, environ={})))
            for place in (world.store, target)
        )
        places = Place(source, world.collection), Place(goal, name or world.collection)
        return Copying(*places, **options).run()


def exact(store: str, name: str = "docs") -> Points:
    """Return every point, its vectors bit by bit."""
    with closing(open_store(store, environ={})) as opened:
        collection = opened.open(name)
        assert collection is not None
        with closing(collection):
            return {
                point.id: (
                    point.payload,
                    None if point.dense is None else np.asarray(point.dense).tobytes(),
                    None
                    if point.sparse is None
                    else (list(point.sparse.indices), list(point.sparse.values)),
                )
                for point in collection.scroll(vectors=True)
            }


def edit(store: str, batch: Batch) -> None:
    with closing(open_store(store, environ={})) as opened:
        collection = opened.open("docs")
        assert collection is not None
        with closing(collection):
            collection.apply(batch)


def test_there_and_back_is_equal_point_by_point(filled: World, tmp_path: Path) -> None:
    with QdrantFacade() as facade:
        copy(filled, facade.url)
        assert exact(facade.url) == exact(filled.store)
        back = str(tmp_path / "back")
        report = copy(filled.elsewhere(facade.url), back)
    assert exact(back) == exact(filled.store)
    assert report.documents.added == 9
    assert filled.embedded() == []


def test_the_next_run_finds_everything_unchanged(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    copy(filled, target)
    elsewhere = filled.elsewhere(target)
    report = elsewhere.ingest(store=target)
    assert report.documents.unchanged == 9
    assert filled.embedded() == []


def test_another_name_keeps_the_ids(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    copy(filled, target, "spare")
    assert exact(target, "spare") == exact(filled.store)
    elsewhere = replace(filled.elsewhere(target), collection="spare")
    filled.write("0.md", paragraphs("part 0 0", "part 0 1", "part changed"))
    report = elsewhere.ingest(store=target, collection="spare")
    assert (report.documents.updated, report.chunks.embedded) == (1, 1)
    filled.ingest()
    assert exact(target, "spare").keys() == exact(filled.store).keys()


def test_only_what_differs_is_written(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    assert copy(filled, target).chunks.reused == 25
    assert copy(filled, target).chunks.reused == 0
    filled.write("3.md", paragraphs("part 3 0", "part changed", "part 3 2"))
    (filled.root / "5.md").unlink()
    filled.write("new.md", paragraphs("part new"))
    filled.ingest()
    report = copy(filled, target)
    assert (report.documents.added, report.documents.updated) == (1, 1)
    assert (report.documents.removed, report.documents.unchanged) == (1, 7)
    assert report.chunks.reused == 2  # one changed chunk and one new one
    assert exact(target) == exact(filled.store)


def test_a_renamed_timestamp_is_copied(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    copy(filled, target)
    filled.write("3.md", (filled.root / "3.md").read_text())
    filled.ingest()
    report = copy(filled, target)
    assert report.documents.updated == 1
    assert report.chunks.reused == 0
    assert exact(target) == exact(filled.store)


def test_what_a_killed_run_left_is_copied_as_it_is(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    copy(filled, target)
    with closing(filled.open()) as collection:
        gone = [p.id for p in collection.scroll() if p.payload["ordinal"] == 1][:2]
        collection.apply(Batch(deletes=gone))
    copy(filled, target)
    assert exact(target) == exact(filled.store)


def test_an_emptied_original_does_not_empty_its_backup(filled: World, tmp_path: Path) -> None:
    for n in range(12):
        filled.write(f"more-{n}.md", paragraphs(f"more {n}"))
    filled.ingest()
    target = str(tmp_path / "copy")
    copy(filled, target)
    before = exact(target)
    with closing(filled.open()) as collection:
        collection.apply(Batch(deletes=list(before)))
    with pytest.raises(PruneRefused, match="--prune-limit 100"):
        copy(filled, target)
    assert exact(target) == before
    copy(filled, target, prune_share=1.0)
    assert exact(target) == {}


def test_a_collection_of_another_model_is_not_overwritten(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")
    other = filled.elsewhere(target)
    other.ingest(store=target, embedding=Embedding("builtin", 64))
    before = exact(target)
    with pytest.raises(IdentityMismatch, match="is no copy of this one"):
        copy(filled, target)
    assert exact(target) == before


def test_a_missing_original(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no collection 'docs'"):
        copy(world, str(tmp_path / "copy"))


def test_notes_and_fields_are_copied(filled: World, tmp_path: Path) -> None:
    target = str(tmp_path / "copy")

    def kept(store: str) -> tuple[Any, Any]:
        with closing(open_store(store, environ={})) as opened:
            found = opened.open("docs")
            assert found is not None
            with closing(found):
                return found.notes(), dict(found.settings.fields)

    with closing(filled.open()) as collection:
        collection.declare({"year": "integer"})
    copy(filled, target)
    assert kept(target) == kept(filled.store)
    assert kept(target)[1] == {"year": "integer"}


def test_a_document_that_is_removed_leaves_the_kept_generations_of_the_copy(
    filled: World, tmp_path: Path
) -> None:
    target = str(tmp_path / "copy")
    copy(filled, target)
    with closing(open_store(target, environ={})) as store:
        first = store.open("docs")
        assert first is not None
        with closing(first), closing(store.create_generation("docs", first.settings)) as second:
            second.apply(Batch(marks=[*first.scroll(vectors=True)]))
    (filled.root / "3.md").unlink()
    filled.ingest()
    assert copy(filled, target).documents.removed == 1
    with closing(open_store(target, environ={})) as store:
        for number in (1, 2):
            found = store.open("docs", generation=number)
            assert found is not None
            with closing(found):
                sources = found.facet("source")
                assert "docs/3.md" not in sources
                assert "docs/4.md" in sources
