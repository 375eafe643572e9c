"""How a new generation is filled: from the stored points of the current one, or from the sources.

A builder works in two steps: `build` while searches and runs go on, `finish` while the migration
holds the lock of the name, so that nothing changes any more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from ragctl.collection.state import State
from ragctl.errors import StoreError
from ragctl.index.cancellation import Cancellation
from ragctl.index.report import Report
from ragctl.index.run import Run
from ragctl.pipeline import Pipeline
from ragctl.progress import Progress
from ragctl.records import Notify
from ragctl.stores.base import Collection
from ragctl.text import counted
from ragctl.transfer.documents import Difference, compare
from ragctl.transfer.generations import GenerationStore

MAX_PASSES = 20
SMALL_PASS_DOCUMENTS = 20
"""So few changed documents are left to `finish`."""


class Builder(Protocol):
    """Fills the new generation. `report` says what was done."""

    report: Report

    def build(self) -> None:
        """Write nearly everything. Raises RagctlError."""

    def finish(self) -> None:
        """Write the rest while no run can write. Raises StoreError if the result is not equal."""


class Sync(Protocol):
    """Writes a difference between two collections: `Mirror` or `Reembedding`."""

    def sync(self, difference: Difference, stored: State) -> None:
        """Write the difference; `stored` is the state of the target."""


@dataclass(slots=True)
class FromStored:
    """Fills the target from the points of the current generation."""

    current: Collection
    target: Collection
    writer: Sync
    report: Report

    def build(self) -> None:
        """See Builder.build. Repeats while runs change the current generation."""
        for number in range(MAX_PASSES):
            difference, stored = self._difference()
            if number and len(difference.changed) <= SMALL_PASS_DOCUMENTS:
                return
            if number == 0:
                self.report.documents.unchanged = difference.unchanged
            self.writer.sync(difference, stored)

    def finish(self) -> None:
        """See Builder.finish."""
        difference, stored = self._difference()
        if difference.unfinished:
            names = ", ".join(document.source for document in difference.unfinished[:3])
            raise StoreError(
                f"collection {self.current.name!r}: a run ended before "
                f"{counted(len(difference.unfinished), 'document was', 'documents were')} "
                f"complete ({names}); run it again, "
                "then this command: it goes on where it ended"
            )
        if not difference.is_empty:
            self.writer.sync(difference, stored)
            difference, _ = self._difference()
        if not difference.is_empty:
            raise StoreError(
                f"collection {self.current.name!r}: "
                f"{counted(len(difference.changed), 'document differs', 'documents differ')} in "
                "the new generation after they were written; run the command again"
            )

    def _difference(self) -> tuple[Difference, State]:
        """Return what the target lacks, without the documents that failed in this migration."""
        difference, stored = compare(self.current, self.target)
        failed = {failure.source for failure in self.report.failures}
        changed = tuple(d for d in difference.changed if d.source not in failed)
        return replace(difference, changed=changed), stored


@dataclass(slots=True)
class FromSources:
    """Fills the target by runs of the pipeline into it. `last`: report of the latest run."""

    pipeline: Pipeline
    store: GenerationStore
    environ: Mapping[str, str]
    report: Report
    donor: Collection | None
    cancellation: Cancellation
    progress: Progress
    notify: Notify
    clock: Callable[[], float]

    def build(self) -> None:
        """See Builder.build."""
        self._run()

    def finish(self) -> None:
        """See Builder.finish: the sources may have changed since."""
        self._run()

    def _run(self) -> None:
        run = Run(
            self.pipeline,
            self.store,
            self.environ,
            cancellation=self.cancellation,
            progress=self.progress,
            on_wait=self.notify,
            clock=self.clock,
            donor=self.donor,
        )
        try:
            run.ingest()
        finally:
            if run.report is not None:
                self.report.add(run.report)
