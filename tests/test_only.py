"""`--only`: matching files are synced, all others are left alone."""

import pytest

from ragctl.errors import PruneRefused, UsageError
from tests.world import World, counts, paragraphs

pytestmark = pytest.mark.slow


def test_only_matching_files_are_read_and_pruned(world: World) -> None:
    for name in ("en/a.md", "en/b.md", "de/a.md", "de/b.md"):
        world.write(name, paragraphs(name, "two"))
    world.ingest()
    for name in ("en/a.md", "de/a.md"):
        (world.root / name).unlink()
    for name in ("en/b.md", "de/b.md"):
        world.write(name, paragraphs(name, "three"))
    world.write("en/new.md", paragraphs("new"))
    world.write("de/new.md", paragraphs("new"))
    report = world.ingest(only=("en/",))
    assert counts(report) == {"added": 1, "updated": 1, "removed": 1}
    assert report.elsewhere == 2
    assert world.sources().keys() == {
        "docs/en/b.md",
        "docs/en/new.md",
        "docs/de/a.md",
        "docs/de/b.md",
    }
    assert counts(world.ingest()) == {"added": 1, "updated": 1, "unchanged": 2, "removed": 1}


def test_patterns_are_of_the_name_or_of_the_path_in_the_source(edge_world: World) -> None:
    world = edge_world
    for name in ("a.md", "en/a.md", "en/b.md", "de/c.md"):
        world.write(name, paragraphs(name))
    assert counts(world.ingest(only=("/docs/a.md",))) == {"added": 1}
    assert counts(world.ingest(only=("/en/", "!/en/b.md"))) == {"added": 1}
    assert counts(world.ingest(only=("*.md", "!/docs/en/*"))) == {"added": 1, "unchanged": 1}
    assert world.sources().keys() == {"docs/a.md", "docs/en/a.md", "docs/de/c.md"}


def test_a_pattern_that_matches_nothing_is_refused(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("one"))
    edge_world.ingest()
    with pytest.raises(UsageError, match=r"--only b\.md matches no file and no indexed document"):
        edge_world.ingest(only=("b.md",))
    (edge_world.root / "a.md").unlink()
    edge_world.write("c.md", paragraphs("two"))
    assert counts(edge_world.ingest(only=("a.md",))) == {"removed": 1}


def test_the_prune_limit_applies_to_matching_files(edge_world: World) -> None:
    for n in range(20):
        edge_world.write(f"en/{n}.md", paragraphs(f"text {n}"))
    edge_world.write("de/a.md", paragraphs("one"))
    edge_world.ingest()
    for n in range(20):
        (edge_world.root / f"en/{n}.md").unlink()
    with pytest.raises(PruneRefused, match="20 of 21"):
        edge_world.ingest(only=("en/",))
