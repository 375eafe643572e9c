"""A plan predicts what a run does; a saved plan is applied exactly or refused."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragctl.errors import IdentityMismatch, UsageError
from ragctl.index.report import Report
from ragctl.index.run import Run
from ragctl.index.saved_plan import SavedPlan, read_plan
from ragctl.pipeline import Budget, Embedding, Source
from ragctl.stores.base import Batch
from tests.world import World, counts, paragraphs

pytestmark = pytest.mark.slow

NOON = 1_800_000_000.0


def plan(world: World, **changes: Any) -> tuple[Report, SavedPlan]:
    job = world.run(**changes)
    with closing(job.store):
        return job.plan()


def apply(world: World, saved: SavedPlan, **changes: Any) -> Report:
    job = world.run(**changes)
    job.saved = saved
    with closing(job.store):
        return job.ingest()


def changes_of(report: Report) -> dict[str, tuple[str, int]]:
    return {c.source: (c.what, c.embedded) for c in report.changes or []}


def make_one_change_of_each_kind(world: World) -> None:
    """Ingest five documents, then edit, rename, delete, touch and add one."""
    for name in "abcde":
        world.write(f"{name}.md", paragraphs(name, f"{name} too"))
    world.ingest()
    world.write("a.md", paragraphs("a", "other"))
    (world.root / "b.md").rename(world.root / "renamed.md")
    (world.root / "c.md").unlink()
    world.write("d.md", paragraphs("d", "d too"))  # touched
    world.write("new.md", paragraphs("new", "a"))
    world.forget()


def test_a_plan_reports_every_change_and_its_cost(world: World) -> None:
    make_one_change_of_each_kind(world)
    before = world.state()
    report, _ = plan(world)
    assert changes_of(report) == {
        "docs/a.md": ("updated", 1),
        "docs/renamed.md": ("renamed", 0),
        "docs/c.md": ("removed", 0),
        "docs/d.md": ("restamped", 0),
        "docs/new.md": ("added", 1),
    }
    (renamed,) = (c for c in report.changes or [] if c.what == "renamed")
    assert renamed.was == "docs/b.md"
    assert sum(c.tokens for c in report.changes or []) == report.tokens > 0
    (backend,) = report.backends
    assert backend["tokens"] == report.tokens
    assert backend["cost"] == pytest.approx(report.tokens * 0.02 / 1e6)
    assert backend["requests"] == 1
    assert world.server.requests == []
    assert world.state() == before
    done = world.ingest()
    assert counts(done) == counts(report)
    assert done.chunks.embedded == report.chunks.embedded
    nothing, _ = plan(world)
    assert nothing.changes == []


def test_a_changed_recipe_and_an_incomplete_document_are_reported(world: World) -> None:
    world.write("a.md", paragraphs("one", "two", "three"))
    world.ingest()
    report, _ = plan(world, meta={"team": "ops"})
    assert changes_of(report) == {"docs/a.md": ("rechunked", 0)}
    with closing(world.open()) as collection:
        (point,) = [p for p in collection.scroll() if p.payload["ordinal"] == 1]
        collection.apply(Batch(deletes=[point.id]))
    report, _ = plan(world)
    assert changes_of(report) == {"docs/a.md": ("repaired", 1)}


def test_another_model_is_estimated_and_refused(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one", "two"))
    world.ingest()
    job = world.run(embedding=Embedding("text-embedding-3-small"))
    with closing(job.store), pytest.raises(IdentityMismatch):
        job.plan()
    assert job.report is not None
    assert [(c.what, c.why, c.embedded) for c in job.report.changes or []] == [
        ("added", "a new model", 2)
    ]
    assert job.report.cost


def test_a_plan_over_budget_has_a_warning(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("one", "two"))
    report, _ = plan(edge_world, budget=Budget(max_tokens=10))
    assert [w.source for w in report.warnings] == ["budget"]
    report, _ = plan(edge_world, budget=Budget(max_tokens=1000))
    assert report.warnings == []


def test_a_saved_plan_is_applied(world: World, tmp_path: Path) -> None:
    make_one_change_of_each_kind(world)
    report, saved = plan(world)
    path = tmp_path / "plan.json"
    saved.write(path, report)
    again = read_plan(path)
    assert again == saved
    assert json.loads(path.read_text())["report"]["tokens"] == report.tokens
    done = apply(world, again)
    assert counts(done) == counts(report)
    with pytest.raises(UsageError, match="the plan is out of date"):
        apply(world, again)  # already applied


def _touch(world: World) -> None:
    world.write("e.md", paragraphs("e", "e too"))


def _remove(world: World) -> None:
    (world.root / "e.md").unlink()


def _add(world: World) -> None:
    world.write("more.md", paragraphs("more"))


def _ingest_one_file(world: World) -> None:
    world.ingest(only=("new.md",))


def _ingest_another_folder(world: World) -> None:
    other = world.root.with_name("other")
    other.mkdir()
    (other / "z.md").write_text(paragraphs("z"))
    world.ingest(sources=(Source(other),))


@pytest.mark.parametrize(
    ("make_change", "message"),
    [
        (_ingest_another_folder, "the collection has changed"),
        (_touch, "docs/e.md changed"),
        (_remove, "docs/e.md was deleted"),
        (_add, "docs/more.md is new"),
        (_ingest_one_file, "docs/new.md is up to date already"),
    ],
)
def test_an_outdated_plan_is_refused(
    edge_world: World, make_change: Callable[[World], None], message: str
) -> None:
    world = edge_world
    make_one_change_of_each_kind(world)
    _, saved = plan(world)
    make_change(world)
    world.forget()
    before = world.state()
    with pytest.raises(UsageError, match=f"{message}.*Nothing was changed; make a new plan"):
        apply(world, saved)
    assert world.state() == before
    assert world.server.requests == []


def test_a_plan_for_other_settings_is_refused(edge_world: World) -> None:
    world = edge_world
    make_one_change_of_each_kind(world)
    _, saved = plan(world)
    with pytest.raises(UsageError, match="make a new plan"):
        apply(world, saved, meta={"team": "ops"})
    with pytest.raises(UsageError, match="it is for collection 'docs', not 'other'"):
        apply(world, saved, collection="other")


def test_a_saved_plan_keeps_the_retries_that_were_due_when_it_was_made(edge_world: World) -> None:
    world = edge_world
    world.write("bad.pdf", b"%PDF-1.7 rubbish")

    def at(seconds: float) -> Run:
        job = world.run()
        job.clock = lambda: seconds
        return job

    for _ in range(2):
        with closing((job := at(NOON)).store):
            job.ingest()
    world.write("a.md", paragraphs("one"))
    with closing((job := at(NOON)).store):
        _, saved = job.plan()
    assert "docs/bad.pdf" not in saved.tasks
    job = at(NOON + 100 * 86_400)
    job.saved = saved
    with closing(job.store):
        assert counts(job.ingest()) == {"added": 1, "failed": 1}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', "null", "rubbish"])
def test_a_file_that_is_not_a_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a plan"):
        read_plan(path)
    with pytest.raises(UsageError, match="cannot read the plan"):
        read_plan(tmp_path / "none")
    path.write_text('{"format": 99}')
    with pytest.raises(UsageError, match="format 99"):
        read_plan(path)


def test_only_one_of_two_equal_removed_documents_counts_as_renamed(world: World) -> None:
    for name in ("a.md", "b.md"):
        world.write(name, paragraphs("same"))
    world.write("c.md", paragraphs("other"))
    world.ingest()
    (world.root / "a.md").rename(world.root / "new.md")
    (world.root / "b.md").unlink()
    report, _ = plan(world)
    assert sorted(what for what, _ in changes_of(report).values()) == ["removed", "renamed"]
    assert counts(report) == counts(world.ingest()) == {"renamed": 1, "removed": 1, "unchanged": 1}


def test_damage_ends_a_saved_plan_with_failures(world: World) -> None:
    make_one_change_of_each_kind(world)
    _, saved = plan(world)
    with closing(world.open()) as collection:
        (kept,) = [p for p in collection.scroll() if p.payload["source"] == "docs/e.md"][:1]
        broken = {**kept.payload, "text": "something else"}
        collection.apply(Batch(overwrites=[(kept.id, broken)]))  # type: ignore[list-item]
    report = apply(world, saved)
    assert [failure.source for failure in report.failures] == ["docs/e.md"]
    assert "it is damaged in the collection" in report.failures[0].error
    assert counts(report)["added"] == 1, "the plan is applied as it is"
    with closing(world.open()) as collection:
        (still,) = collection.retrieve([kept.id])
        assert still.payload["text"] == "something else"
    assert counts(world.ingest())["updated"] == 1
