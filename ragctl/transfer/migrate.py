"""Move a collection to another model, dimension, chunk size or storage, while it is in use.

    settings of the next generation ─► resume or create it ─► fill it, while searches and runs go on
    ─► judge ─► lock the name ─► write the rest ─► notes ─► switch ─► remove old generations

Until the switch nothing that users see has changed. A killed migration goes on where it ended: the
next one finds the unfinished generation by its settings.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace

from ragctl.collection.state import read_state
from ragctl.embedding.embedder import Embedder
from ragctl.errors import StoreError, UsageError
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.embedder import add_canary, connect_for
from ragctl.index.kept import delete_from_kept
from ragctl.index.report import Report
from ragctl.index.writer import Writer
from ragctl.pipeline import Pipeline
from ragctl.progress import Progress
from ragctl.records import Notify, ignore
from ragctl.stores.base import Collection, Store
from ragctl.transfer.builders import Builder, FromSources, FromStored
from ragctl.transfer.estimate import estimate_migration
from ragctl.transfer.generations import GenerationStore, prune_generations
from ragctl.transfer.migration_plan import (
    MigrationPlan,
    check_cut,
    plan_migration,
    same_form,
)
from ragctl.transfer.migration_report import MigrationReport, SpendingRecord, Verdict
from ragctl.transfer.mirror import Mirror
from ragctl.transfer.notes import carry_members, carry_notes, note_switch
from ragctl.transfer.reembed import Reembedding


@dataclass(slots=True)
class Migration:
    """One migration of the collection that the pipeline names.

    `pipeline`: the settings wanted; what it leaves out stays as it is. `has_sources`: its sources
    are those of the collection. `judge`: compares the current collection with the new one, whose
    embedder it gets, before the switch. `keep`: old generations to keep. `embed_again`: do not
    cut stored vectors to a smaller dimension.
    """

    pipeline: Pipeline
    store: Store
    environ: Mapping[str, str]
    has_sources: bool = False
    judge: Callable[[Collection, Collection, Embedder], Verdict] | None = None
    keep: int = 1
    embed_again: bool = False
    cancellation: Cancellation = field(default_factory=Cancellation)
    progress: Progress = field(default_factory=Progress)
    notify: Notify = ignore
    clock: Callable[[], float] = time.time
    result: MigrationReport | None = None

    def dry_run(self) -> MigrationReport:
        """Return what `run` would do: tokens, price, time and size. Writes and sends nothing."""
        started = time.monotonic()
        with closing(self._open()) as current:
            plan = self._plan(current)
            result = self._new_report(current, plan)
            if not result.is_empty:
                target = self._unfinished(current.name, plan)
                with closing(target) if target is not None else nullcontext():
                    stored = set() if target is None else set(target.facet("text_hash"))
                estimate_migration(result.report, current, plan, self.store, self.environ, stored)
        result.report.seconds = time.monotonic() - started
        return result

    def run(self) -> MigrationReport:
        """Migrate. Raises RagctlError; the name then leads to the same generation as before."""
        started = time.monotonic()
        with ExitStack() as stack:
            current = stack.enter_context(closing(self._open()))
            plan = self._plan(current)
            self.result = result = self._new_report(current, plan)
            if result.is_empty:
                return result
            embedder: Embedder | None = None
            try:
                target, embedder = self._target(current, plan, stack)
                result.generation, result.after = target.settings.generation, target.settings
                stack.enter_context(target.lock(waiting=self.notify))
                # If another process has just switched to the target, that lock is the name's.
                self._check_current(current)
                carry_notes(current, target)
                if _copies_vectors(plan, current, target):
                    carry_members(current, target)
                self._fill(current, target, embedder, plan, result)
            finally:
                if embedder is not None and plan.how != "sources":
                    result.report.set_usage(embedder.usage)
                result.report.seconds = time.monotonic() - started
        if result.switched:
            try:
                result.removed = prune_generations(self.store, current.name, keep=self.keep)
            except StoreError as error:  # the migration itself has ended
                result.report.add_warning(
                    current.name,
                    f"old generations could not be deleted ({error}); delete them with: "
                    f"ragctl prune-generations {current.name} --keep {self.keep}",
                )
        return result

    def _open(self) -> Collection:
        name = self.pipeline.collection
        current = self.store.open(name)
        if current is None:
            raise UsageError(
                f"no collection {name!r} in {self.store.location}; "
                "create it with: ragctl ingest FOLDER"
            )
        return current

    def _plan(self, current: Collection) -> MigrationPlan:
        return plan_migration(
            self.pipeline,
            current,
            self.environ,
            has_sources=self.has_sources,
            embed_again=self.embed_again,
        )

    def _new_report(self, current: Collection, plan: MigrationPlan) -> MigrationReport:
        report = Report(current.name, plan.settings.identity)
        return MigrationReport(plan.how, current.settings, plan.settings, report)

    def _target(
        self, current: Collection, plan: MigrationPlan, stack: ExitStack
    ) -> tuple[Collection, Embedder | None]:
        """Return the generation to fill, unfinished or new, and the embedder of its model."""
        embedder: Embedder | None = None
        target = self._unfinished(current.name, plan)
        if target is not None:
            stack.callback(target.close)
            if plan.how != "keep":
                embedder = connect_for(plan.pipeline, target, self.environ, notify=self.notify)
                stack.callback(embedder.close)
            return target, embedder
        settings = plan.settings
        if plan.how == "keep":
            origin = replace(settings.origin, canary=current.settings.origin.canary)
            settings = replace(settings, origin=origin)
        else:
            embedder = connect_for(plan.pipeline, None, self.environ, notify=self.notify)
            stack.callback(embedder.close)
            BudgetTracker(plan.pipeline.budget, embedder.usage, current, self.clock()).check()
            with self.cancellation.interruptible():
                settings = add_canary(settings, embedder)
            if plan.how == "cut":
                check_cut(current.settings, settings, plan)
        target = stack.enter_context(closing(self.store.create_generation(current.name, settings)))
        return target, embedder

    def _unfinished(self, name: str, plan: MigrationPlan) -> Collection | None:
        """Return the newest generation that is not current and has these settings."""
        for each in reversed(self.store.generations(name)):
            stored = each.settings
            if not each.current and stored is not None and same_form(stored, plan.settings):
                return self.store.open(name, generation=each.number)
        return None

    def _fill(
        self,
        current: Collection,
        target: Collection,
        embedder: Embedder | None,
        plan: MigrationPlan,
        result: MigrationReport,
    ) -> None:
        """Fill the target, and switch to it unless a document failed or the judge says no."""
        spending = None
        if embedder is not None and plan.how != "sources":
            spending = SpendingRecord(target, embedder, plan.pipeline.budget, self.clock())
        builder = self._builder(current, target, embedder, plan, result.report, spending)
        try:
            self._build_and_switch(builder, current, target, plan, result, spending)
        finally:
            if spending is not None:
                spending.write(result.report)

    def _build_and_switch(
        self,
        builder: Builder,
        current: Collection,
        target: Collection,
        plan: MigrationPlan,
        result: MigrationReport,
        spending: "SpendingRecord | None",
    ) -> None:
        """Fill the target; then, under the lock of the name, write the rest and switch."""
        builder.build()
        if result.report.failures:
            return
        if self.judge is not None:
            self.progress.begin("judge")
            target.finish()
            with connect_for(plan.pipeline, target, self.environ, notify=self.notify) as judging:
                result.verdict = self.judge(current, target, judging)
            if not result.verdict.accepted:
                return
        with ExitStack() as locked:
            with self.cancellation.interruptible():  # the wait for the lock may be long
                locked.enter_context(
                    self.store.lock(current.name, patience=math.inf, waiting=self.notify)
                )
            self._check_current(current)
            builder.finish()
            if result.report.failures:
                return
            if plan.how == "sources":
                self._delete_missing(current, target)
            self.progress.begin("finish")
            target.declare({**current.settings.fields, **plan.settings.fields})
            target.finish()
            if spending is not None:
                spending.write(result.report)
            note_switch(current, target)
            if _copies_vectors(plan, current, target):
                carry_members(current, target)
            self.store.switch(current.name, target.settings.generation)
            result.switched = True

    def _delete_missing(self, current: Collection, target: Collection) -> None:
        """Delete documents whose files are gone from the other generations, as a run does."""
        missing = sorted(read_state(current).documents.keys() - read_state(target).documents.keys())
        if missing:
            delete_from_kept(self.store, current.name, missing)
            writer = Writer(current)
            writer.delete_documents(missing)
            writer.flush()

    def _builder(
        self,
        current: Collection,
        target: Collection,
        embedder: Embedder | None,
        plan: MigrationPlan,
        report: Report,
        spending: "SpendingRecord | None",
    ) -> Builder:
        if plan.how == "sources":
            if "places" not in target.notes():  # its documents get the names that they have
                target.note({"places": current.notes().get("places", {})})
            same_vectors = _copies_vectors(plan, current, target)
            return FromSources(
                replace(plan.pipeline, wait=False),
                GenerationStore(self.store, current.name, target.settings.generation),
                self.environ,
                report,
                donor=current if same_vectors else None,
                cancellation=self.cancellation,
                progress=self.progress,
                notify=self.notify,
                clock=self.clock,
            )
        if embedder is None or spending is None or plan.how == "cut":
            mirror = Mirror(
                current,
                target,
                convert=plan.convert,
                exact=False,
                cancellation=self.cancellation,
                report=report,
                progress=self.progress,
            )
            return FromStored(current, target, mirror, report)
        reembedding = Reembedding(
            current,
            target,
            embedder,
            report,
            budget=spending.budget,
            cancellation=self.cancellation,
            progress=self.progress,
        )
        return FromStored(current, target, reembedding, report)

    def _check_current(self, current: Collection) -> None:
        found = self.store.open(current.name)
        if found is not None:
            with closing(found):
                if found.settings.creation_id == current.settings.creation_id:
                    return
        raise StoreError(
            f"collection {current.name!r} was switched or deleted during the migration; nothing "
            "was switched. Run the command again"
        )


def _copies_vectors(plan: MigrationPlan, current: Collection, target: Collection) -> bool:
    """Return whether the target gets vectors of the current generation."""
    same_identity = current.settings.identity == target.settings.identity
    return plan.how in ("keep", "cut") or (plan.how == "sources" and same_identity)
