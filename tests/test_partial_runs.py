"""Runs of changed paths, and when a path is at rest."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from ragctl.collection.state import read_documents, read_state
from ragctl.errors import PruneRefused
from ragctl.index.partial import Changed, NamesChanged
from ragctl.index.session import Session
from ragctl.sources import changes, walk
from ragctl.sources.changes import ChangedPaths, RestingPaths
from ragctl.sources.selection import Selection
from ragctl.stores.base import Batch
from tests.world import World

NONE = RestingPaths()


def test_a_walk_of_some_paths_finds_what_a_whole_one_finds(tmp_path: Path) -> None:
    for name in ("a.md", "b/c.md", "b/d/e.md", "b/x/f.md", ".hidden/g.md", "café.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "b/.ragctlignore").write_text("x/\n")
    (tmp_path / "link.md").symlink_to("a.md")

    def found(*paths: str) -> set[str]:
        return {file.source for file in walk(tmp_path, only=Selection(paths))}

    whole = {file.source for file in walk(tmp_path)}
    assert whole == {"a.md", "b/c.md", "b/d/e.md", "café.md"}
    assert found("b") == {"b/c.md", "b/d/e.md"}
    assert found("b/d/e.md", "a.md", "missing/too.md") == {"b/d/e.md", "a.md"}
    assert found("b/x/f.md", "b/x", ".hidden/g.md", "link.md") == set()
    assert found("cafe\u0301.md") == {"café.md"}
    assert found() == set()


def test_the_state_of_some_documents_is_that_of_all(world: World) -> None:
    world.write("a.md", "One.")
    world.write("b/c.md", "Two.\n\n" * 200)
    world.write("b/d.md", "Three.")
    world.write("r.jsonl", '{"id": "1", "text": "x"}\n{"id": "2", "text": "y"}\n')
    world.ingest()
    with closing(world.open()) as collection:
        whole = read_state(collection)
        name = next(iter(whole.documents)).split("/")[0]
        some = read_documents(collection, [f"{name}/a.md"], [f"{name}/b/", f"{name}/r.jsonl#"])
        assert some.documents == whole.documents
        assert some.files == whole.files
        assert some.points == whole.points
        one = read_documents(collection, [f"{name}/b/c.md"])
        assert one.documents == {f"{name}/b/c.md": whole.documents[f"{name}/b/c.md"]}
        assert one.sizes() == whole.sizes()
        # A killed run had begun to remove this document.
        first = next(p for p in collection.scroll() if p.payload["source"] == f"{name}/b/c.md")
        with collection.lock():
            collection.apply(Batch(deletes=[first.id]))
        one = read_documents(collection, [f"{name}/b/c.md"])
        assert one.documents == {
            f"{name}/b/c.md": read_state(collection).documents[f"{name}/b/c.md"]
        }
        assert not one.documents[f"{name}/b/c.md"].complete


def test_a_partial_run_looks_at_nothing_else(world: World) -> None:
    for name in ("a.md", "b/c.md", "b/d.md"):
        world.write(name, f"Text of {name}.")
    world.ingest()
    world.write("a.md", "Another text.")
    with closing(Session(kept=True)) as session:
        first = world.run()
        first.session = session
        with closing(first.store):
            first.ingest()
            assert first.naming is not None
            world.write("a.md", "A third text.")
            world.write("b/d.md", "Not looked at.")
            (world.root / "b/c.md").unlink()
            second = world.run()
            second.session = session
            second.changed = Changed({0: frozenset({"a.md"})}, first.naming)
            report = second.ingest()
            second.store.close()
    assert (report.documents.updated, report.documents.unchanged) == (1, 0)
    assert (report.chunks.embedded, report.requests) == (
        1,
        1,
    )  # neither those of the first run, nor the canary
    with closing(world.open()) as collection:
        texts = {point.payload["text"] for point in collection.scroll()}
    assert texts == {"A third text.", "Text of b/c.md.", "Text of b/d.md."}


def test_a_partial_run_refuses_what_a_whole_one_refuses(world: World) -> None:
    names = [f"{number}.md" for number in range(20)]
    for name in names:
        world.write(name, f"Text of {name}.")
    full = world.run()
    with closing(full.store):
        full.ingest()
    assert full.naming is not None
    for name in names[:15]:
        (world.root / name).unlink()
    run = world.run()
    run.changed = Changed({0: frozenset(names[:15])}, full.naming)
    with closing(run.store), pytest.raises(PruneRefused, match="15 of 20 documents"):
        run.ingest()
    for name in names[15:]:
        (world.root / name).unlink()
    run = world.run()
    run.changed = Changed({0: frozenset(names[15:])}, full.naming)
    with closing(run.store), pytest.raises(PruneRefused, match="it is empty"):
        run.ingest()


def test_other_sources_than_before_are_noticed(world: World) -> None:
    world.write("a.md", "One.")
    full = world.run()
    with closing(full.store):
        full.ingest()
    assert full.naming is not None
    with closing(world.open()) as collection:
        places = collection.notes()["places"]
        collection.note({"places": {f"other {name}": place for name, place in places.items()}})
    run = world.run()
    run.changed = Changed({0: frozenset({"a.md"})}, full.naming)
    with closing(run.store), pytest.raises(NamesChanged):
        run.ingest()


def look(paths: ChangedPaths, monkeypatch: pytest.MonkeyPatch) -> RestingPaths:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.0)
    return paths.take()


def test_a_file_at_rest_was_the_same_at_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing, resting = tmp_path / "growing", tmp_path / "resting"
    growing.write_text("1")
    resting.write_text("1")
    paths = ChangedPaths()
    paths.add(str(growing))
    paths.add(str(resting))
    assert look(paths, monkeypatch) == NONE
    growing.write_text("12")
    assert look(paths, monkeypatch) == RestingPaths((str(resting),))
    growing.write_text("123")
    assert look(paths, monkeypatch) == NONE
    assert look(paths, monkeypatch) == RestingPaths((str(growing),))
    assert len(paths) == 0


def test_deletions_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text("x")
    paths = ChangedPaths()
    paths.add(str(files[2]))
    look(paths, monkeypatch)
    files[0].unlink()
    paths.add(str(files[0]))
    assert look(paths, monkeypatch) == NONE  # the third file may be where the first has gone
    files[1].unlink()
    paths.add(str(files[1]))
    assert look(paths, monkeypatch) == NONE
    taken = look(paths, monkeypatch)
    assert (set(taken.present), set(taken.missing)) == (
        {str(files[2])},
        {str(files[0]), str(files[1])},
    )
    brief = ChangedPaths()
    brief.add(os.fspath(tmp_path / "4913"), added=True)
    assert brief.take_all().vanished == {str(tmp_path / "4913")}
