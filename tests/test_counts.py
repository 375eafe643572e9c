"""A report counts what is in the collection, however its run ended."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

import ragctl.index.indexer
import ragctl.index.writer
from ragctl.cli.summary import summary
from ragctl.embedding import Embedder
from ragctl.errors import BackendError, BudgetReached, Interrupted, RagctlError, StoreError
from ragctl.index.report import Report
from ragctl.index.run import Run
from ragctl.pipeline import Budget
from ragctl.progress import Progress
from ragctl.stores.base import Batch, Collection, RunStore
from tests.world import State, World, paragraphs

pytestmark = pytest.mark.slow

BATCH_TEXTS = 6
BATCH_WRITES = 8


@pytest.fixture(autouse=True)
def _many_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedder, "max_texts", BATCH_TEXTS)
    monkeypatch.setattr(ragctl.index.indexer, "GROUP_CHUNKS", 8)
    monkeypatch.setattr(ragctl.index.writer, "MAX_BATCH_WRITES", BATCH_WRITES)


class Failing:
    """Makes the store fail: batch number `at` is refused, or applied without an answer."""

    def __init__(self, at: int, *, applied: bool = False) -> None:
        self.left = at
        self.applied = applied

    def watch(self, store: RunStore) -> None:
        for name in ("open", "create"):
            setattr(store, name, self._watching(getattr(store, name)))

    def _watching(self, method: Callable[..., Collection | None]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Collection | None:
            collection = method(*arguments, **options)
            if collection is not None:
                apply = collection.apply
                collection.apply = lambda batch: self._apply(apply, batch)  # type: ignore[method-assign]
            return collection

        return call

    def _apply(self, apply: Callable[[Batch], None], batch: Batch) -> None:
        self.left -= 1
        if self.left == 0:
            if self.applied:
                apply(batch)
            raise StoreError("the store is down")
        apply(batch)


@dataclass
class CtrlC(Progress):
    """Cancels the run when so many tokens were embedded."""

    run: Run
    left: int

    def tokens(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            self.run.cancellation.cancel()


def marks(state: State) -> dict[str, str]:
    """Return the digest of each document that has a mark."""
    return {
        payload["source"]: payload["digest"]
        for payload, _, _ in state.values()
        if "mark" in payload
    }


def difference(before: State, after: State) -> dict[str, int]:
    """Return the counts that describe the change from one state to the other."""
    old, new = marks(before), marks(after)
    added, gone = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    digests = [new[source] for source in added]
    renamed = 0
    for source in gone:
        if old[source] in digests:
            digests.remove(old[source])
            renamed += 1
    points = [after[point_id][0] for point_id in after.keys() - before.keys()]
    known = {payload["text_hash"] for payload, _, _ in before.values()}
    return {
        "added": len(added) - renamed,
        "updated": sum(old[source] != new[source] for source in old.keys() & new.keys()),
        "renamed": renamed,
        "removed": len(gone) - renamed,
        "embedded": len({p["text_hash"] for p in points if p["text_hash"]} - known),
        "deleted": len(before.keys() - after.keys()),
    }


def counted(report: Report) -> dict[str, int]:
    body: Any = report.to_json()
    both = body["documents"] | body["chunks"]
    return {
        name: both[name]
        for name in ("added", "updated", "renamed", "removed", "embedded", "deleted")
    }


def first_corpus(world: World) -> None:
    for n in range(6):
        world.write(f"old{n}.md", paragraphs(*(f"old {n} {k}" for k in range(4))))
    world.ingest()
    world.forget()


def change(world: World) -> None:
    """Add, update, rename and remove documents; some have equal texts, or none."""
    for n in range(9):
        world.write(f"new{n}.md", paragraphs(*(f"new {n} {k}" for k in range(3)), "same in all"))
    world.write("empty.md", "")
    world.write("rows.jsonl", "".join(f'{{"id": "r{k}", "text": "row {k}"}}\n' for k in range(5)))
    for n in (0, 1):
        world.write(f"old{n}.md", paragraphs(f"old {n} 0", f"edited {n}", f"old {n} 2"))
    (world.root / "old2.md").rename(world.root / "moved.md")
    (world.root / "old3.md").unlink()


def end_early(world: World, job: Run, error: type[RagctlError] | None) -> Report:
    with closing(job.store):
        if error is None:
            job.ingest()
        else:
            with pytest.raises(error):
                job.ingest()
    assert job.report is not None
    return job.report


def check(world: World, before: State, report: Report, *, ended_early: bool) -> None:
    assert counted(report) == difference(before, world.state())
    sent = len(set(world.embedded()))
    assert report.chunks.embedded + report.chunks.unstored <= sent
    assert bool(report.left) or not ended_early or report.documents.removed == 0
    if unstored := report.chunks.unstored:
        chunks = "chunk" if unstored == 1 else "chunks"
        assert f"{unstored:,} {chunks} embedded but not stored" in summary(report)
    # The next run does the rest, and its counts are true too.
    world.server.credit = None
    middle = world.state()
    rest = world.ingest()
    assert counted(rest) == difference(middle, world.state())
    assert rest.chunks.unstored == 0
    assert world.ingest().chunks.embedded == 0


def test_counts_of_a_run_that_completes(world: World) -> None:
    first_corpus(world)
    before = world.state()
    change(world)
    report = end_early(world, world.run(), None)
    assert counted(report) == difference(before, world.state())
    assert (report.documents.added, report.documents.updated) == (15, 2)
    assert (report.documents.renamed, report.documents.removed) == (1, 1)
    assert (report.chunks.unstored, report.left) == (0, 0)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_counts_when_the_store_fails(world: World, at: int) -> None:
    first_corpus(world)
    before = world.state()
    change(world)
    job = world.run()
    Failing(at).watch(job.store)
    report = end_early(world, job, StoreError)
    check(world, before, report, ended_early=True)


def test_a_batch_that_was_stored_without_an_answer_is_not_counted(world: World) -> None:
    first_corpus(world)
    before = world.state()
    change(world)
    job = world.run()
    Failing(3, applied=True).watch(job.store)
    report = end_early(world, job, StoreError)
    stored = difference(before, world.state())
    assert all(count <= stored[name] for name, count in counted(report).items())
    assert counted(report) != stored


@pytest.mark.parametrize("credit", [0, 6, 20])
def test_counts_when_the_backend_fails(world: World, credit: int) -> None:
    first_corpus(world)
    before = world.state()
    change(world)
    world.server.credit = credit
    report = end_early(world, world.run(), BackendError)
    assert report.chunks.embedded <= credit
    assert report.left
    check(world, before, report, ended_early=True)


@pytest.mark.parametrize("tokens", [0, 300, 900])
def test_counts_after_ctrl_c(world: World, tokens: int) -> None:
    first_corpus(world)
    before = world.state()
    change(world)
    job = world.run()
    job.progress = CtrlC(job, tokens)
    report = end_early(world, job, Interrupted)
    check(world, before, report, ended_early=True)


@pytest.mark.parametrize("tokens", [100, 400, 900])
def test_counts_when_the_budget_ends(world: World, tokens: int) -> None:
    first_corpus(world)
    before = world.state()
    change(world)
    report = end_early(world, world.run(budget=Budget(max_tokens=tokens)), BudgetReached)
    check(world, before, report, ended_early=True)


def test_a_document_that_the_backend_refuses_is_paid_for_but_not_counted(world: World) -> None:
    world.chunk_size, world.server.context = 32, 30
    world.write("good.md", paragraphs("one", "two", words=16))
    world.ingest()
    before = world.state()
    fine = paragraphs(*(f"fine {k}" for k in range(9)), words=16)
    world.write("bad.md", fine + "\n\n" + "x " * 45)
    report = end_early(world, world.run(), None)
    assert counted(report) == difference(before, world.state())
    assert (report.documents.failed, report.chunks.embedded) == (1, 0)
    assert report.chunks.unstored >= BATCH_TEXTS
