"""A document is (source name, path): folders that move, nest, merge and are renamed; both stores.

Nothing of this embeds a text again.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ragctl.errors import PruneRefused, StoreError, UsageError
from ragctl.index.scan import location_of
from ragctl.index.writer import Writer
from ragctl.pipeline import Source
from ragctl.pipeline.globs import split_name
from tests.world import NO_PARSER, World, counts, paragraphs


def fill(world: World, names: Sequence[str], folder: Path | None = None) -> None:
    """Write a file with its own text for each name, and a time of its own."""
    for name in names:
        path = world.write(name, paragraphs(f"the text of {name}"))
        if folder is not None:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


def embedded_nothing(world: World) -> bool:
    """Return whether no text was embedded since the last call of `forget`."""
    return world.embedded() == []


def names_of(world: World) -> set[str]:
    return {str(payload["source"]) for payload, _, _ in world.state().values()}


# Moved


def test_a_moved_folder_keeps_its_documents_and_loses_the_deleted_ones(
    world: World, tmp_path: Path
) -> None:
    fill(world, ["a.md", "b.md", "sub/c.md"])
    world.ingest()
    world.forget()
    moved = tmp_path / "elsewhere/docs"
    moved.parent.mkdir()
    world.root.rename(moved)
    (moved / "a.md").unlink()
    report = world.ingest(sources=(Source(moved),), parsing=NO_PARSER)  # nothing is parsed
    assert counts(report) == {"unchanged": 2, "removed": 1}
    assert report.elsewhere == 0
    assert embedded_nothing(world)
    assert names_of(world) == {"docs/b.md", "docs/sub/c.md"}
    assert counts(world.ingest(sources=(Source(moved),))) == {"unchanged": 2}


def test_another_machine_has_other_times_and_paths(world: World, tmp_path: Path) -> None:
    fill(world, ["a.md", "b.md", "sub/c.md"])
    world.ingest()
    world.forget()
    checkout = tmp_path / "checkout/docs"
    shutil.copytree(world.root, checkout, copy_function=shutil.copyfile)  # with new times
    world.root.rename(tmp_path / "was")  # what another machine has never seen
    report = world.ingest(sources=(Source(checkout),))
    assert counts(report) == {"unchanged": 3}
    assert embedded_nothing(world)
    assert counts(world.ingest(sources=(Source(checkout),), parsing=NO_PARSER)) == {"unchanged": 3}


def test_other_documents_under_a_known_name_are_refused_before_anything_is_written(
    world: World, tmp_path: Path
) -> None:
    fill(world, ["a.md", "b.md", "c.md"])
    world.ingest()
    before = world.state()
    other = tmp_path / "team/docs"
    fill(world, ["x.md"], other)
    shutil.copy2(world.root / "a.md", other / "a.md")  # one of three is the same
    with pytest.raises(PruneRefused) as refusal:
        world.ingest(sources=(Source(other),))
    text = str(refusal.value)
    assert f"the source docs was indexed from {world.root}" in text
    assert "of its 3 files only 1 are the same" in text
    assert "--moved" in text
    assert f"NAME={other}" in text
    assert world.state() == before
    named = world.ingest(sources=(Source(other, name="team"),))
    assert counts(named) == {"added": 2}
    assert named.elsewhere == 3
    world.forget()
    moved = world.ingest(sources=(Source(other, name="docs"),), moved=True)
    assert counts(moved)["renamed"] == 2  # of team, whose location it is
    assert names_of(world) == {"docs/a.md", "docs/x.md"}
    assert embedded_nothing(world)


def test_a_link_is_the_source_wherever_it_leads(world: World, tmp_path: Path) -> None:
    for release in ("1", "2"):
        fill(world, ["same.md", f"only{release}.md"], tmp_path / "releases" / release)
    link = tmp_path / "current"
    link.symlink_to("releases/1")
    assert counts(world.ingest(sources=(Source(link),))) == {"added": 2}
    link.unlink()
    link.symlink_to("releases/2")
    assert counts(world.ingest(sources=(Source(link),))) == {
        "added": 1,
        "unchanged": 1,
        "removed": 1,
    }
    assert names_of(world) == {"current/same.md", "current/only2.md"}


def test_a_folder_that_is_moved_and_renamed_is_recognised_by_its_documents(
    edge_world: World, tmp_path: Path
) -> None:
    world = edge_world
    fill(world, ["a.md", "b.md", "c.md"])
    world.ingest()
    world.forget()
    renamed = world.root.rename(tmp_path / "manual")
    report = world.ingest(sources=(Source(renamed),))
    assert counts(report) == {"renamed": 3}
    assert embedded_nothing(world)
    assert names_of(world) == {"manual/a.md", "manual/b.md", "manual/c.md"}


def test_a_copy_of_a_folder_that_is_still_there_is_another_source(
    edge_world: World, tmp_path: Path
) -> None:
    world = edge_world
    fill(world, ["a.md", "b.md"])
    world.ingest()
    shutil.copytree(world.root, tmp_path / "copy")
    assert counts(world.ingest(sources=(Source(tmp_path / "copy"),))) == {"added": 2}
    assert len(names_of(world)) == 4


# Nested


def test_a_file_and_then_its_folder_is_one_document(world: World) -> None:
    fill(world, ["hr/leave.md", "it/pump.md"])
    assert counts(world.ingest(sources=(Source(world.root / "hr/leave.md"),))) == {"added": 1}
    assert names_of(world) == {"hr/leave.md"}
    world.forget()
    report = world.ingest()
    assert counts(report) == {"added": 1, "renamed": 1}
    assert len(world.embedded()) == 1  # of it/pump.md
    assert names_of(world) == {"docs/hr/leave.md", "docs/it/pump.md"}
    (world.root / "hr/leave.md").unlink()
    assert counts(world.ingest()) == {"unchanged": 1, "removed": 1}


def test_a_folder_of_a_known_source_is_a_part_of_it(world: World) -> None:
    fill(world, ["hr/leave.md", "hr/pay.md", "it/pump.md"])
    world.ingest()
    (world.root / "hr/pay.md").unlink()
    (world.root / "it/pump.md").unlink()
    report = world.ingest(sources=(Source(world.root / "hr"),))
    assert counts(report) == {"unchanged": 1, "removed": 1}  # nothing outside of hr
    assert report.elsewhere == 1
    report = world.ingest(sources=(Source(world.root / "hr/leave.md"),))
    assert counts(report) == {"unchanged": 1}
    assert names_of(world) == {"docs/hr/leave.md", "docs/it/pump.md"}


@pytest.mark.parametrize("inner_first", [True, False])
def test_nested_sources_of_one_run_have_each_file_once(
    edge_world: World, inner_first: bool
) -> None:
    world = edge_world
    fill(world, ["a.md", "en/b.md", "en/deep/c.md"])
    sources = [Source(world.root), Source(world.root / "en"), Source(world.root / "en/deep")]
    report = world.ingest(sources=tuple(sources[::-1] if inner_first else sources))
    assert counts(report) == {"added": 3}
    assert names_of(world) == {"docs/a.md", "docs/en/b.md", "docs/en/deep/c.md"}


def test_a_link_to_a_folder_of_the_run_has_no_documents_of_its_own(
    edge_world: World, tmp_path: Path
) -> None:
    world = edge_world
    fill(world, ["a.md", "en/b.md"])
    (tmp_path / "same").symlink_to(world.root)
    (tmp_path / "inner").symlink_to(world.root / "en")
    sources = (Source(world.root), Source(tmp_path / "same"), Source(tmp_path / "inner"))
    assert counts(world.ingest(sources=sources)) == {"added": 2}
    assert names_of(world) == {"docs/a.md", "docs/en/b.md"}


def test_a_named_source_inside_another_is_refused_naming_both(world: World) -> None:
    fill(world, ["a.md", "en/b.md"])
    inner = Source(world.root / "en", name="english")
    with pytest.raises(UsageError, match=rf"english .*en\) is inside {world.root}, which has its"):
        world.ingest(sources=(Source(world.root), inner))
    assert counts(world.ingest(sources=(Source(world.root, exclude=("en/",)), inner))) == {
        "added": 2
    }
    assert names_of(world) == {"docs/a.md", "english/b.md"}
    assert counts(world.ingest(sources=(Source(world.root, exclude=("en/",)), inner))) == {
        "unchanged": 2
    }
    with pytest.raises(UsageError, match=r"english .*is inside.*ragctl delete english/"):
        world.ingest()


# Renamed


def test_a_source_gets_another_name(world: World) -> None:
    fill(world, ["a.md", "b.md"])
    world.ingest()
    world.forget()
    report = world.ingest(sources=(Source(world.root, name="handbook"),))
    assert counts(report) == {"renamed": 2}
    assert names_of(world) == {"handbook/a.md", "handbook/b.md"}
    assert counts(world.ingest()) == {"unchanged": 2}  # the location is known by this name
    assert embedded_nothing(world)


def test_a_new_name_leaves_nothing_under_the_old_one_even_without_pruning(
    edge_world: World,
) -> None:
    world = edge_world
    fill(world, ["a.md", "b.md"])
    world.ingest()
    (world.root / "b.md").unlink()
    named = (Source(world.root, name="handbook"),)
    assert counts(world.ingest(sources=named, prune=False)) == {"renamed": 1}
    assert names_of(world) == {"handbook/a.md", "docs/b.md"}
    assert counts(world.ingest(sources=named)) == {"unchanged": 1, "removed": 1}
    assert names_of(world) == {"handbook/a.md"}


def test_a_killed_renaming_is_continued_by_any_later_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, ["a.md", "b.md", "c.md"])
    world.ingest()
    world.forget()
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise StoreError("killed before the old documents are deleted")

        patch.setattr(Writer, "delete_documents", refuse)
        with pytest.raises(StoreError, match="killed"):
            world.ingest(sources=(Source(world.root, name="handbook"),))
    assert len(names_of(world)) == 6  # the old ones are still found
    report = world.ingest()  # without the name
    assert counts(report) == {"unchanged": 3, "renamed": 3}
    assert names_of(world) == {"handbook/a.md", "handbook/b.md", "handbook/c.md"}
    assert embedded_nothing(world)


def test_a_file_that_fails_under_its_new_name_keeps_its_old_document(edge_world: World) -> None:
    world = edge_world
    fill(world, ["a.md", "b.md"])
    world.ingest()
    world.write("a.md", b"\x89PNG\r\n\x1a\n" + bytes(100))
    named = (Source(world.root, name="handbook"),)
    report = world.ingest(sources=named)
    assert counts(report) == {"renamed": 1, "failed": 1}
    assert names_of(world) == {"docs/a.md", "handbook/b.md"}
    fill(world, ["a.md"])
    world.ingest(sources=named, retry_failed=True)
    assert names_of(world) == {"handbook/a.md", "handbook/b.md"}


# Several sources


def test_two_folders_have_a_readme_each(world: World, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fill(world, ["README.md"], tmp_path / name)
    one, two = Source(tmp_path / "one"), Source(tmp_path / "two")
    assert counts(world.ingest(sources=(one,))) == {"added": 1}
    assert counts(world.ingest(sources=(two,))) == {"added": 1}
    assert counts(world.ingest(sources=(one, two))) == {"unchanged": 2}
    assert names_of(world) == {"one/README.md", "two/README.md"}


def test_two_locations_of_one_name_are_refused(edge_world: World, tmp_path: Path) -> None:
    world = edge_world
    fill(world, ["a.md"])
    fill(world, ["b.md"], tmp_path / "x/docs")
    with pytest.raises(UsageError, match=r"two sources are named docs: .* and .*NAME="):
        world.ingest(sources=(Source(world.root), Source(tmp_path / "x/docs")))
    with pytest.raises(UsageError, match="has two names, one and two"):
        world.ingest(sources=(Source(world.root, name="one"), Source(world.root, name="two")))


def test_the_prune_limit_is_of_each_source(world: World, tmp_path: Path) -> None:
    fill(world, [f"{n}.md" for n in range(30)])
    small = tmp_path / "small"
    fill(world, [f"{n}.md" for n in range(12)], small)
    sources = (Source(world.root), Source(small))
    world.ingest(sources=sources)
    for n in range(11):
        (small / f"{n}.md").unlink()
    with pytest.raises(PruneRefused, match=r"11 of 12 documents of small \(92%\)"):
        world.ingest(sources=sources)
    assert counts(world.ingest(sources=sources, prune_limit=100.0))["removed"] == 11


# Change detection


def test_a_file_with_the_same_size_and_time_is_noticed(world: World) -> None:
    path = world.write("a.md", "The price is 100 euro.")
    other = world.write("b.md", "Nothing changes here.")
    world.ingest()
    before = path.stat()
    path.write_text("The price is 900 euro.")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(world.ingest()) == {"updated": 1, "unchanged": 1}
    other.chmod(0o600)  # another ctime, the same content
    world.forget()
    assert counts(world.ingest()) == {"unchanged": 2}
    assert embedded_nothing(world)
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 2}


@pytest.mark.parametrize("mtime", [0, 315_532_800, 1_700_000_000])
def test_a_time_that_says_nothing_makes_the_run_compare_contents(
    edge_world: World, mtime: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1980, the epoch, and one time for all files; on a file system without change times."""
    world = edge_world

    def write(price: int) -> None:
        for name in ("a", "b", "c"):
            path = world.write(f"{name}.md", f"The price of {name} is {price} euro.")
            os.utime(path, (mtime, mtime))

    write(100)
    world.ingest()
    with closing(world.open()) as collection:
        for point in list(collection.scroll()):
            assert point.payload["stamp"]
    write(900)
    monkeypatch.setattr("ragctl.index.plan.StoredDocument.stamp", "", raising=False)
    report = world.ingest()
    assert counts(report) == {"updated": 3}


def test_contents_that_are_compared_in_vain_are_not_written(edge_world: World) -> None:
    world = edge_world
    fill(world, ["a.md", "b.md"])
    world.write("c.jsonl", '{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n')
    world.ingest()
    before = world.state()
    assert counts(world.ingest(checksum=True)) == {"unchanged": 4}
    assert world.state() == before
    world.write("c.jsonl", '{"id": 1, "text": "one"}\n{"id": 2, "text": "2nd"}\n')
    assert counts(world.ingest(checksum=True)) == {"unchanged": 3, "updated": 1}
    assert counts(world.ingest(parsing=NO_PARSER)) == {"unchanged": 4}


# Arguments and locations


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("docs", (None, "docs")),
        ("handbook=../docs", ("handbook", "../docs")),
        ("руководство=docs", ("руководство", "docs")),
        ("a=b=c", ("a", "b=c")),
        ("./a=b", (None, "./a=b")),
        ("https://host/?a=b", (None, "https://host/?a=b")),
        ("wiki=https://host/?a=b", ("wiki", "https://host/?a=b")),
        ("=docs", (None, "=docs")),
    ],
)
def test_an_argument_may_begin_with_a_name(argument: str, expected: tuple[str | None, str]) -> None:
    assert split_name(argument) == expected


def test_a_folder_whose_name_looks_like_an_argument_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    assert split_name("a=b") == (None, "a=b")


def test_a_location_keeps_links_but_not_the_parent_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "real/docs").mkdir()
    (tmp_path / "link").symlink_to("real/inner")
    monkeypatch.chdir(tmp_path)
    assert location_of(Path("link")) == str(tmp_path / "link")
    assert location_of(Path("link/../docs")) == str(tmp_path / "real/docs")
    assert location_of(Path("real/inner/..")) == str(tmp_path / "real")


def test_a_folder_that_the_outer_source_leaves_out_is_a_source_of_its_own(world: World) -> None:
    """Two jobs, one of them without the folder: neither takes the documents of the other away."""
    fill(world, ["a.md", "en/b.md"])
    outer, inner = Source(world.root, exclude=("en/",)), Source(world.root / "en")
    assert counts(world.ingest(sources=(outer,))) == {"added": 1}
    assert counts(world.ingest(sources=(inner,))) == {"added": 1}
    world.forget()
    for source in (outer, inner, outer, inner):
        assert counts(world.ingest(sources=(source,))) == {"unchanged": 1}
    assert names_of(world) == {"docs/a.md", "en/b.md"}
    assert counts(world.ingest()) == {"unchanged": 1, "renamed": 1}  # without `exclude`
    assert names_of(world) == {"docs/a.md", "docs/en/b.md"}
    assert embedded_nothing(world)
