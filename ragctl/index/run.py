"""One run of a pipeline, or its plan.

    scan      list the files of all sources                          scan.py
    plan      compare them with the collection's state               planning.py, plan.py
    load      read each new or changed file       ┐ in parsing
    chunk     split it into chunks                ┘ processes        prepare.py
    reuse     take vectors from the collection    ┐
    embed     or send the texts to a backend      │ document by
    upsert    write the points                    │ document         ingest.py, writer.py
    mark      mark each document as complete      ┘
    delete    remove documents that are gone                         ingest.py
    report    counts, failures, cost                                 report.py

All of it happens under the collection's lock, except the scan.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from ragctl.batch.jobs import Jobs
from ragctl.catalog import BackendConfig
from ragctl.collection.notes import SourcePlace, add_billed
from ragctl.collection.state import State, read_state
from ragctl.embedding.embedder import Embedder
from ragctl.embedding.served_model import unnamed_warning
from ragctl.errors import BudgetReached, IdentityMismatch
from ragctl.hosts.usage import UsageTotals
from ragctl.index.batches import BatchBackend, batch_backend, open_jobs
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.checks import inspect_sample, is_due, report_damage, report_unrepaired
from ragctl.index.dry_run import DryRun
from ragctl.index.embedder import (
    add_canary,
    batch_sizes_note,
    connect_for,
    effective_embedding,
    encodings_note,
    note_member,
)
from ragctl.index.estimate import estimate_backends
from ragctl.index.failures import failures_note, postponed_failures
from ragctl.index.ingest import Ingest
from ragctl.index.kept import delete_from_kept
from ragctl.index.naming import Naming
from ragctl.index.partial import Changed, NamesChanged
from ragctl.index.plan import Plan
from ragctl.index.planning import RunPlan, plan_run
from ragctl.index.prepare import ProcessLimits
from ragctl.index.report import Report
from ragctl.index.saved_plan import SavedPlan
from ragctl.index.scan import Scan, scan
from ragctl.index.session import Session
from ragctl.index.verify import Damage, inspect_collection
from ragctl.pipeline import Pipeline
from ragctl.progress import Progress
from ragctl.records import Notify, ignore
from ragctl.stores import is_server
from ragctl.stores.base import Collection, RunStore
from ragctl.text import counted
from ragctl.workers import Pool


def _ignore_plan(plan: Plan, scanned: Scan) -> None:
    """Discard a plan: the default `on_plan`."""


def _with_batch(usage: UsageTotals, batch: BatchBackend | None) -> UsageTotals:
    """Return the usage of a run: that of its backends, and of its batch jobs if it makes any."""
    return usage if batch is None else UsageTotals([*usage.usages, batch.usage])


@dataclass(slots=True)
class Run:
    """One run of a pipeline.

    `on_plan` is called once the plan is made; `on_wait` with a message while another run
    holds the lock, and while a backend fails. `saved`: apply this plan unchanged, or refuse;
    damaged documents that are not in it are reported as failures. `repair`: check every point
    first, and treat damaged documents as incomplete. `remove_foreign`: a repair on a server also
    deletes the points of other programs. `clock`: seconds since 1970.
    `donor`: a collection of the same identity, whose vectors are used as well. `changed`: look only
    at these paths; the collection must exist. `session`: what is kept open for later runs.

    `report` is set once the collection is locked and is always up to date, also after an
    error. `damage`: what the run found; it treats these documents as incomplete. `naming`: how it
    named the files, once there is a plan.
    """

    pipeline: Pipeline
    store: RunStore
    environ: Mapping[str, str]
    cancellation: Cancellation = field(default_factory=Cancellation)
    progress: Progress = field(default_factory=Progress)
    on_plan: Callable[[Plan, Scan], None] = _ignore_plan
    on_wait: Notify = ignore
    saved: SavedPlan | None = None
    repair: bool = False
    remove_foreign: bool = False
    clock: Callable[[], float] = time.time
    donor: Collection | None = None
    changed: Changed | None = None
    session: Session | None = None
    report: Report | None = None
    naming: Naming | None = None
    damage: Damage = field(default_factory=Damage)
    _verified_all: bool = False

    def ingest(self) -> Report:
        """Sync the collection with the sources.

        Raises RagctlError, and NamesChanged if only changed paths were to be looked at.
        """
        pipeline, now = self.pipeline, self.clock()
        started = time.monotonic()
        self.progress.begin("scan")
        with self.cancellation.interruptible():  # a source elsewhere may be slow
            scanned = scan(pipeline) if self.changed is None else self.changed.scan(pipeline)
        scan_seconds = time.monotonic() - started
        with ExitStack() as stack:
            self.progress.begin("lock")
            patience = math.inf if pipeline.wait else 0.0
            with self.cancellation.interruptible():  # the wait for the lock may be long
                stack.enter_context(
                    self.store.lock(pipeline.collection, patience=patience, waiting=self.on_wait)
                )
            session = self.session or stack.enter_context(Session())
            collection = session.open(self.store, pipeline.collection)
            if collection is None and self.changed is not None:
                raise NamesChanged
            embedder = session.connect(pipeline, collection, self.environ, self.on_wait)
            self.report = report = Report(pipeline.collection, embedder.identity)
            report.left = None  # until there is a plan
            report.stages["scan"] = scan_seconds
            batch = batch_backend(pipeline, collection, embedder)
            usage = _with_batch(embedder.usage, batch)
            budget = BudgetTracker(
                pipeline.budget, usage, collection, now, batch.usage if batch else None
            )
            jobs: Jobs | None = None
            run_plan: RunPlan | None = None
            completed = False
            try:
                state: State | None = None
                self.progress.begin("plan")
                if collection is not None:
                    with report.stage("plan"):
                        state = self._read_state(collection)
                    if self.changed is None:
                        self._verify(collection, state, report, now)
                with report.stage("plan"):
                    run_plan = self._make_plan(scanned, collection, state, embedder, now)
                self.naming = run_plan.naming
                self._report_plan(report, run_plan, scanned)
                work_items = run_plan.plan.work_items
                pool = stack.enter_context(session.parsers(self._limits(), work_items))
                pool.warm(len(run_plan.plan.work_items))
                if run_plan.plan.work_items:
                    embedder.warm()
                if collection is None:
                    budget.check()
                    self.progress.begin("create")
                    collection = self._create(run_plan, embedder)
                    session.created(collection)
                    budget.begin(collection)
                collection.declare(pipeline.fields)
                _note_places(collection, run_plan.naming.places)
                if run_plan.plan.work_items:
                    note_member(embedder, collection)
                jobs = open_jobs(
                    pipeline,
                    collection,
                    embedder,
                    batch,
                    report,
                    self.environ,
                    sources=sorted(run_plan.naming.names),
                    clock=self.clock,
                )
                if jobs is not None:
                    stack.callback(jobs.close)
                    with self.cancellation.interruptible():
                        jobs.refresh()
                if not run_plan.plan.is_empty or self.damage.strays:
                    self._apply(collection, embedder, run_plan, report, budget, pool, jobs)
                elif collection.unfinished or (self.session is not None and self.changed is None):
                    # With a session, so that the small runs after this one find it compacted.
                    self._finish(collection, report)
                failed = {failure.source for failure in report.failures}
                report_unrepaired(self.damage, run_plan.plan, report, known=failed.__contains__)
                if jobs is not None and not pipeline.only:
                    unread = len(report.failures) > jobs.refused
                    jobs.forget(run_plan.naming.complete, unread=unread)
                completed = True
            finally:
                if jobs is not None:
                    report.waiting = jobs.waiting
                report.set_usage(usage)
                self._report_backends(report, embedder)
                if collection is not None and run_plan is not None:
                    self._write_notes(
                        collection, run_plan, report, budget, embedder, completed=completed, now=now
                    )
                report.seconds = time.monotonic() - started
        return report

    def dry_run(self) -> Report:
        """Return what `ingest` would do and send. Writes nothing and calls no backend.

        Raises IdentityMismatch if the collection is of another model; `report` then says
        what embedding all documents again would take.
        """
        return self.plan()[0]

    def plan(self) -> tuple[Report, SavedPlan]:
        """Return the report of `dry_run`, and the plan to be saved. Raises as `dry_run`."""
        pipeline, now = self.pipeline, self.clock()
        started = time.monotonic()
        self.progress.begin("scan")
        with self.cancellation.interruptible():  # a source elsewhere may be slow
            scanned = scan(pipeline)
        scan_seconds = time.monotonic() - started
        self.progress.begin("plan")
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
            report.stages["scan"] = scan_seconds
            with report.stage("plan"):
                run_plan = plan_run(pipeline, scanned, collection, embedder, now=now)
            self._report_plan(report, run_plan, scanned)
            with report.stage("read"):
                dry_run = DryRun(
                    collection, run_plan, report, why_new="a new model" if mismatch else ""
                )
                dry_run.read(self._limits(), self.progress, self.cancellation)
                report.size = dry_run.size(server=is_server(pipeline.store))
                if collection is None:
                    report.server = run_plan.settings.server.to_json()
            self._estimate(report, collection, embedder, now)
            report.seconds = time.monotonic() - started
        if mismatch is not None:
            raise mismatch
        return report, SavedPlan.of(pipeline, report, run_plan, now)

    def _read_state(self, collection: Collection) -> State:
        if self.changed is not None:
            return self.changed.state(collection, self.pipeline)
        return read_state(collection)

    def _verify(self, collection: Collection, state: State, report: Report, now: float) -> None:
        """Look for damage: in all points if that is asked for or due, else in a sample."""
        server = is_server(self.pipeline.store)
        days = self.pipeline.verify_days
        self._verified_all = self.repair or (
            days is not None and is_due(collection.notes(), days, now)
        )
        with report.stage("verify"):
            if self._verified_all:
                self.progress.begin("verify", "point", state.points)
                self.damage = inspect_collection(collection, state, progress=self.progress)
            else:
                self.damage = inspect_sample(collection, state, vectors=not server)
        if self.saved is not None or (server and not self.remove_foreign):
            self.damage.strays.clear()
        report.verified = self.damage.points
        report_damage(self.damage, report)

    def _make_plan(
        self,
        scanned: Scan,
        collection: Collection | None,
        state: State | None,
        embedder: Embedder,
        now: float,
    ) -> RunPlan:
        """Make the plan; with a saved plan, as of its time, and check that the two agree."""
        run_plan = plan_run(
            self.pipeline,
            scanned,
            collection,
            embedder,
            now=now if self.saved is None else self.saved.made,
            state=state,
            damaged=frozenset(self.damage.documents if self.saved is None else ()),
            changed=self.changed,
        )
        if self.report is not None:
            self.report.left = len(run_plan.plan.work_items)
            if self.saved is not None:
                self.saved.check(self.report, run_plan)
        return run_plan

    def _report_plan(self, report: Report, run_plan: RunPlan, scanned: Scan) -> None:
        for source, error in (*run_plan.scan_failures, *run_plan.conflicts):
            report.add_failure(source, error)
        for failed in run_plan.postponed:
            report.add_failures(postponed_failures(failed))
        for warning in run_plan.warnings:
            report.add_warning(report.identity.model, warning)
        report.skipped = scanned.skipped
        report.documents.unchanged = run_plan.plan.unchanged
        report.elsewhere = run_plan.plan.elsewhere
        self.on_plan(run_plan.plan, scanned)

    def _create(self, run_plan: RunPlan, embedder: Embedder) -> Collection:
        """Create the collection. Sends the canary texts."""
        with self.cancellation.interruptible():
            settings = add_canary(run_plan.settings, embedder)
        return self.store.create(self.pipeline.collection, settings)

    def _apply(
        self,
        collection: Collection,
        embedder: Embedder,
        run_plan: RunPlan,
        report: Report,
        budget: BudgetTracker,
        pool: Pool,
        jobs: Jobs | None,
    ) -> None:
        Ingest(
            collection,
            embedder,
            replace(run_plan.recipe, sparse=collection.settings.document_bm25().config),
            report,
            budget=budget,
            cancellation=self.cancellation,
            progress=self.progress,
            damage=self.damage,
            donor=self.donor,
            delete_from_kept=partial(delete_from_kept, self.store, self.pipeline.collection),
            jobs=jobs,
        ).run(
            run_plan.plan,
            run_plan.state,
            pool,
            prune_share=self.pipeline.prune_limit / 100 if self.pipeline.prune else None,
        )
        self._finish(collection, report)

    def _finish(self, collection: Collection, report: Report) -> None:
        self.progress.begin("finish")
        with report.stage("finish"):
            collection.finish(notify=partial(report.add_warning, collection.name))

    def _report_backends(self, report: Report, embedder: Embedder) -> None:
        """Add warnings for failed backends and truncated texts, which no count shows."""
        usages = embedder.usage.usages
        if len(usages) > 1:  # a single backend's failure is the error of the run
            for failure in embedder.failures:
                report.add_warning("backend", failure)
        for usage in usages:
            if usage.cut:
                cut = counted(usage.cut, "text was", "texts were")
                report.add_warning(usage.name, f"{cut} cut to the model's context")
        for backend in embedder.backends:
            if backend.usage.texts and backend.wire is not None and backend.wire.unnamed:
                report.add_warning(backend.name, unnamed_warning(embedder.model.name))

    def _write_notes(
        self,
        collection: Collection,
        run_plan: RunPlan,
        report: Report,
        budget: BudgetTracker,
        embedder: Embedder,
        *,
        completed: bool,
        now: float,
    ) -> None:
        """Write the notes for later runs: failures, tokens billed, spending, batch sizes."""
        notes = failures_note(
            run_plan.failed_before,
            run_plan.plan.work_items,
            report.failures,
            run_digest=run_plan.run_digest,
            postponed=run_plan.postponed,
            in_scope=run_plan.in_scope,
            completed=completed,
            now=now,
        )
        if report.backends:
            notes["billed"] = add_billed(collection.notes(), report.backends)
        if report.backends or budget.has_reservation:
            notes["spent"] = budget.note()
        sizes = batch_sizes_note(embedder, collection, now)
        if sizes is not None:
            notes["batch_sizes"] = sizes
        encodings = encodings_note(embedder, collection, now)
        if encodings is not None:
            notes["encodings"] = encodings
        if self._verified_all and completed:
            notes["verified"] = round(now)
        if completed:
            notes |= run_plan.sources_note
            failed = {failure.file for failure in report.failures}
            places = run_plan.final_places(failed)
            if places != collection.notes().get("places"):
                notes["places"] = places
        if notes:
            collection.note(notes)

    def _estimate(
        self, report: Report, collection: Collection | None, embedder: Embedder, now: float
    ) -> None:
        """Add the cost and time of the plan at each backend, and a warning if over budget."""
        usages = embedder.usage.usages
        backends = effective_embedding(self.pipeline, collection).backends or (BackendConfig(),)
        rows = [config.resolve(self.pipeline.catalog, embedder.model.name) for config in backends]
        report.backends = list(
            estimate_backends(rows, usages, report.chunks.embedded, report.tokens)
        )
        batch = batch_backend(self.pipeline, collection, embedder)
        price = usages[0].price if batch is None else batch.usage.price
        if price is not None:
            report.cost = report.tokens * price / 1e6
        elif report.tokens:
            report.cost = None
        usage = _with_batch(embedder.usage, batch)
        budget = BudgetTracker(
            self.pipeline.budget, usage, collection, now, batch.usage if batch else None
        )
        try:
            budget.check_fits("the whole plan", report.tokens)
        except BudgetReached as error:
            report.add_warning("budget", str(error))

    def _limits(self) -> ProcessLimits:
        parsing = self.pipeline.parsing
        return ProcessLimits(parsing.workers, parsing.timeout, parsing.memory_mb * 1024 * 1024)


def _note_places(collection: Collection, places: Mapping[str, SourcePlace]) -> None:
    """Record where the sources are, before their documents are written.

    A later run continues to take over replaced sources from there.
    """
    if collection.notes().get("places", {}) != places:
        collection.note({"places": dict(places)})
