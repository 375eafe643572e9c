"""A pipeline carried out from end to end, under the collection's lock."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ragctl.catalog import BackendConfig
from ragctl.collection import origin
from ragctl.embedding.base import Embedder
from ragctl.errors import BudgetReached, IdentityMismatch
from ragctl.index import failures
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.dry_run import DryRun
from ragctl.index.embedder import add_canary, connect_for, effective_embedding
from ragctl.index.estimate import estimate_backends
from ragctl.index.ingest import Ingest
from ragctl.index.plan import Plan
from ragctl.index.planning import RunPlan, plan_run
from ragctl.index.prepare import ProcessLimits, parsers
from ragctl.index.report import Progress, Report
from ragctl.index.saved_plan import SavedPlan
from ragctl.index.scan import Scan, scan
from ragctl.index.verify import Damage, inspect_collection
from ragctl.pipeline import Pipeline
from ragctl.records import Notify, ignore
from ragctl.stores.base import Collection, Store
from ragctl.workers import Pool


def _quiet(plan: Plan, found: Scan) -> None:
    """Called when the plan is made; nobody is watching."""


@dataclass(slots=True)
class Run:
    """One run of a pipeline. Once there is a `report`, it is true at any moment.

    `on_wait` is told when another run is waited for. `saved`: apply this plan exactly,
    or refuse. `repair`: look at every point first,
    and embed again what is damaged. `clock`: seconds since 1970.
    """

    pipeline: Pipeline
    store: Store
    environ: Mapping[str, str]
    cancellation: Cancellation = field(default_factory=Cancellation)
    progress: Progress = field(default_factory=Progress)
    on_plan: Callable[[Plan, Scan], None] = _quiet
    on_wait: Notify = ignore
    saved: SavedPlan | None = None
    repair: bool = False
    clock: Callable[[], float] = time.time
    report: Report | None = None
    damage: Damage = field(default_factory=Damage)

    def ingest(self) -> Report:
        """Make the collection true to the documents. Raises RagctlError."""
        pipeline, now = self.pipeline, self.clock()
        started = time.monotonic()
        found = scan(pipeline)
        scanned = time.monotonic() - started
        with ExitStack() as stack:
            patience = math.inf if pipeline.wait else 0.0
            with self.cancellation.interruptible():  # may be long
                stack.enter_context(
                    self.store.lock(pipeline.collection, patience=patience, waiting=self.on_wait)
                )
            collection = self.store.open(pipeline.collection)
            if collection is not None:
                stack.callback(collection.close)
            embedder = connect_for(pipeline, collection, self.environ)
            stack.callback(embedder.close)
            self.report = report = Report(pipeline.collection, embedder.identity)
            report.stages["scan"] = scanned
            ledger = BudgetTracker(pipeline.budget, embedder.usage, collection, now)
            run_plan: RunPlan | None = None
            ended = False
            try:
                if self.repair and collection is not None:
                    with report.stage("verify"):
                        self.damage = inspect_collection(collection)
                with report.stage("plan"):
                    run_plan = self._plan_run(found, collection, embedder, now)
                self._begin(report, run_plan, found)
                pool = stack.enter_context(parsers(self._limits(), run_plan.plan.work_items))
                pool.warm(len(run_plan.plan.work_items))
                if run_plan.plan.work_items:
                    embedder.warm()
                if collection is None:
                    ledger.check()
                    collection = self._create(run_plan, embedder)
                    stack.callback(collection.close)
                    ledger.begin(collection)
                collection.declare(pipeline.fields)
                if not run_plan.plan.is_empty or self.damage.strays:
                    self._write(collection, embedder, run_plan, report, ledger, pool)
                ended = True
            finally:
                report.set_usage(embedder.usage)
                self._tell(report, embedder)
                if collection is not None and run_plan is not None:
                    self._note(collection, run_plan, report, ledger, ended=ended, now=now)
                report.seconds = time.monotonic() - started
        return report

    def _plan_run(
        self, found: Scan, collection: Collection | None, embedder: Embedder, now: float
    ) -> RunPlan:
        asof = now if self.saved is None else self.saved.made
        damaged = frozenset(self.damage.documents)
        run_plan = plan_run(self.pipeline, found, collection, embedder, now=asof, damaged=damaged)
        if self.saved is not None and self.report is not None:
            self.saved.check(self.report, run_plan)
        return run_plan

    def _create(self, run_plan: RunPlan, embedder: Embedder) -> Collection:
        with self.cancellation.interruptible():
            settings = add_canary(run_plan.settings, embedder)
        return self.store.create(self.pipeline.collection, settings)

    def _note(
        self,
        collection: Collection,
        run_plan: RunPlan,
        report: Report,
        ledger: BudgetTracker,
        *,
        ended: bool,
        now: float,
    ) -> None:
        """Keep in the collection what later runs must know: failures, and what was spent."""
        notes = failures.failures_note(
            run_plan.failed_before,
            run_plan.plan.work_items,
            report.failures,
            terms=run_plan.run_digest,
            postponed=run_plan.postponed,
            in_scope=run_plan.in_scope,
            ended=ended,
            now=now,
        )
        if report.backends:
            notes["billed"] = origin.billed_with(collection, report.backends)
        if report.backends or ledger.set_aside:
            notes["spent"] = ledger.noted()
        if notes:
            collection.note(notes)

    def _tell(self, report: Report, embedder: Embedder) -> None:
        """Warn of what the backends did that nobody would see in the counts."""
        accounts = embedder.usage.usages
        if len(accounts) > 1:  # of one alone the error itself tells
            for failure in embedder.failures:
                report.add_warning("backend", failure)
        for account in accounts:
            if account.cut:
                report.add_warning(
                    account.name, f"{account.cut} texts were cut to the model's context"
                )

    def dry_run(self) -> Report:
        """What `ingest` would do and send; nothing is written, no backend asked.

        Raises IdentityMismatch, after the report says what it would take to embed
        all of it anew, where the collection is of another model.
        """
        return self.plan()[0]

    def plan(self) -> tuple[Report, SavedPlan]:
        """As `estimate`, and the plan to be saved."""
        pipeline, now = self.pipeline, self.clock()
        started = time.monotonic()
        found = scan(pipeline)
        scanned = time.monotonic() - started
        with ExitStack() as stack:
            collection = self.store.open(pipeline.collection)
            if collection is not None:
                stack.callback(collection.close)
            mismatch: IdentityMismatch | None = None
            try:
                embedder = connect_for(pipeline, collection, self.environ, dry=True)
            except IdentityMismatch as error:
                mismatch, collection = error, None
                embedder = connect_for(pipeline, None, self.environ, dry=True)
            self.report = report = Report(pipeline.collection, embedder.identity)
            report.stages["scan"] = scanned
            with report.stage("plan"):
                run_plan = plan_run(pipeline, found, collection, embedder, now=now)
            self._begin(report, run_plan, found)
            with report.stage("read"):
                estimate = DryRun(
                    collection, run_plan, report, why_new="a new model" if mismatch else ""
                )
                estimate.read(self._limits(), self.progress, self.cancellation)
                report.size = estimate.size(server="://" in pipeline.store)
            self._forecast(report, collection, embedder, now)
            report.seconds = time.monotonic() - started
        if mismatch is not None:
            raise mismatch
        return report, SavedPlan.of(pipeline, report, run_plan, now)

    def _forecast(
        self, report: Report, collection: Collection | None, embedder: Embedder, now: float
    ) -> None:
        """The price and the time of a plan at each backend, and whether the budget has room."""
        accounts = embedder.usage.usages
        model = embedder.model
        backends = effective_embedding(self.pipeline, collection).backends or (BackendConfig(),)
        rows = [config.resolve(self.pipeline.catalog, model.name) for config in backends]
        report.backends = list(
            estimate_backends(rows, accounts, report.chunks.embedded, report.tokens)
        )
        if accounts[0].price is not None:
            report.cost = report.tokens * accounts[0].price / 1e6
        try:
            BudgetTracker(self.pipeline.budget, embedder.usage, collection, now).take(
                "all of it", report.tokens
            )
        except BudgetReached as over:
            report.add_warning("budget", str(over))

    def _begin(self, report: Report, run_plan: RunPlan, found: Scan) -> None:
        for source, error in (*run_plan.scan_failures, *run_plan.conflicts):
            report.add_failure(source, error)
        for failed in run_plan.postponed:
            for failure in failures.describe(failed):
                report.add_failure(failure.source, failure.error, failure.file, failure.postponed)
        for advice in run_plan.warnings:
            report.add_warning(str(report.identity["model"]), advice)
        report.skipped = found.unknown
        report.documents.unchanged = run_plan.plan.unchanged
        report.elsewhere = run_plan.plan.elsewhere
        self.on_plan(run_plan.plan, found)

    def _write(
        self,
        collection: Collection,
        embedder: Embedder,
        run_plan: RunPlan,
        report: Report,
        ledger: BudgetTracker,
        pool: Pool,
    ) -> None:
        Ingest(
            collection,
            embedder,
            replace(run_plan.recipe, sparse=origin.sparse_of(collection).config),
            report,
            ledger=ledger,
            cancellation=self.cancellation,
            progress=self.progress,
            damage=self.damage,
        ).run(
            run_plan.plan,
            run_plan.state,
            pool,
            prune_share=self.pipeline.prune_limit / 100 if self.pipeline.prune else None,
        )
        with report.stage("finish"):
            collection.finish()

    def _limits(self) -> ProcessLimits:
        parsing = self.pipeline.parsing
        return ProcessLimits(parsing.workers, parsing.timeout, parsing.memory_mb * 1024 * 1024)
