"""A pipeline carried out from end to end, under the collection's lock."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ragctl.catalog import BackendConfig
from ragctl.collection.notes import Notes, add_billed
from ragctl.embedding.base import Embedder
from ragctl.errors import BudgetReached, IdentityMismatch
from ragctl.index import failures
from ragctl.index.budget import Ledger
from ragctl.index.estimate import Estimate
from ragctl.index.forecast import forecast
from ragctl.index.ingest import Ingest
from ragctl.index.plan import Plan
from ragctl.index.prepare import ProcessLimits, parsers
from ragctl.index.report import Progress, Report
from ragctl.index.saved import SavedPlan
from ragctl.index.scan import Scan, scan
from ragctl.index.stop import Stop
from ragctl.index.survey import Survey, connect_for, settled, survey, with_canary
from ragctl.index.verify import Damage, inspect
from ragctl.pipeline import Pipeline
from ragctl.records import Notify, ignore
from ragctl.stores import is_server
from ragctl.stores.base import Collection, Store
from ragctl.workers import Pool


def _quiet(plan: Plan, found: Scan) -> None:
    """Called when the plan is made; nobody is watching."""


@dataclass(slots=True)
class Run:
    """One run of a pipeline. Once there is a `report`, it is true at any moment.

    `waiting` is told when another run is waited for. `saved`: apply this plan exactly,
    or refuse. `repair`: look at every point first,
    and embed again what is damaged. `clock`: seconds since 1970.
    """

    pipeline: Pipeline
    store: Store
    environ: Mapping[str, str]
    stop: Stop = field(default_factory=Stop)
    progress: Progress = field(default_factory=Progress)
    planned: Callable[[Plan, Scan], None] = _quiet
    waiting: Notify = ignore
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
            with self.stop.waiting():  # may be long
                stack.enter_context(
                    self.store.lock(pipeline.collection, patience=patience, waiting=self.waiting)
                )
            collection = self.store.open(pipeline.collection)
            if collection is not None:
                stack.callback(collection.close)
            embedder = connect_for(pipeline, collection, self.environ)
            stack.callback(embedder.close)
            self.report = report = Report(pipeline.collection, embedder.identity)
            report.stages["scan"] = scanned
            ledger = Ledger(pipeline.budget, embedder.usage, collection, now)
            surveyed: Survey | None = None
            ended = False
            try:
                if self.repair and collection is not None:
                    with report.stage("verify"):
                        self.damage = inspect(collection)
                with report.stage("plan"):
                    surveyed = self._survey(found, collection, embedder, now)
                self._begin(report, surveyed, found)
                pool = stack.enter_context(parsers(self._limits(), surveyed.plan.tasks))
                pool.warm(len(surveyed.plan.tasks))
                if surveyed.plan.tasks:
                    embedder.warm()
                if collection is None:
                    ledger.check()
                    collection = self._create(surveyed, embedder)
                    stack.callback(collection.close)
                    ledger.begin(collection)
                collection.declare(pipeline.fields)
                if not surveyed.plan.nothing_to_do or self.damage.strays:
                    self._write(collection, embedder, surveyed, report, ledger, pool)
                ended = True
            finally:
                report.bill(embedder.usage)
                self._tell(report, embedder)
                if collection is not None and surveyed is not None:
                    self._note(collection, surveyed, report, ledger, ended=ended, now=now)
                report.seconds = time.monotonic() - started
        return report

    def _survey(
        self, found: Scan, collection: Collection | None, embedder: Embedder, now: float
    ) -> Survey:
        asof = now if self.saved is None else self.saved.made
        damaged = frozenset(self.damage.documents)
        surveyed = survey(self.pipeline, found, collection, embedder, now=asof, damaged=damaged)
        if self.saved is not None and self.report is not None:
            self.saved.check(self.report, surveyed)
        return surveyed

    def _create(self, surveyed: Survey, embedder: Embedder) -> Collection:
        with self.stop.waiting():
            settings = with_canary(surveyed.settings, embedder)
        return self.store.create(self.pipeline.collection, settings)

    def _note(
        self,
        collection: Collection,
        surveyed: Survey,
        report: Report,
        ledger: Ledger,
        *,
        ended: bool,
        now: float,
    ) -> None:
        """Keep in the collection what later runs must know: failures, and what was spent."""
        notes: Notes = failures.noted(
            surveyed.known,
            surveyed.plan.tasks,
            report.failures,
            terms=surveyed.terms,
            held=surveyed.held,
            looked_at=surveyed.looked_at,
            ended=ended,
            now=now,
        )
        if report.backends:
            notes["billed"] = add_billed(collection.settings.notes, report.backends)
        if report.backends or ledger.set_aside:
            notes["spent"] = ledger.noted()
        if notes:
            collection.note(notes)

    def _tell(self, report: Report, embedder: Embedder) -> None:
        """Warn of what the backends did that nobody would see in the counts."""
        accounts = embedder.usage.accounts
        if len(accounts) > 1:  # of one alone the error itself tells
            for failure in embedder.failures:
                report.warn("backend", failure)
        for account in accounts:
            if account.cut:
                report.warn(account.name, f"{account.cut} texts were cut to the model's context")

    def estimate(self) -> Report:
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
                surveyed = survey(pipeline, found, collection, embedder, now=now)
            self._begin(report, surveyed, found)
            with report.stage("read"):
                estimate = Estimate(
                    collection, surveyed, report, why_new="a new model" if mismatch else ""
                )
                estimate.read(self._limits(), self.progress, self.stop)
                report.size = estimate.size(server=is_server(pipeline.store))
            self._forecast(report, collection, embedder, now)
            report.seconds = time.monotonic() - started
        if mismatch is not None:
            raise mismatch
        return report, SavedPlan.of(pipeline, report, surveyed, now)

    def _forecast(
        self, report: Report, collection: Collection | None, embedder: Embedder, now: float
    ) -> None:
        """The price and the time of a plan at each backend, and whether the budget has room."""
        accounts = embedder.usage.accounts
        model = embedder.model
        backends = settled(self.pipeline, collection).backends or (BackendConfig(),)
        rows = [config.row(self.pipeline.catalog, model.name) for config in backends]
        report.backends = list(forecast(rows, accounts, report.chunks.embedded, report.tokens))
        if accounts[0].price is not None:
            report.cost = report.tokens * accounts[0].price / 1e6
        try:
            Ledger(self.pipeline.budget, embedder.usage, collection, now).take(
                "all of it", report.tokens
            )
        except BudgetReached as over:
            report.warn("budget", str(over))

    def _begin(self, report: Report, surveyed: Survey, found: Scan) -> None:
        for source, error in (*surveyed.failures, *surveyed.conflicts):
            report.fail(source, error)
        for failed in surveyed.held:
            for failure in failures.told(failed):
                report.fail(failure.source, failure.error, failure.file, failure.waits)
        for advice in surveyed.advice:
            report.warn(report.identity.model, advice)
        report.skipped = found.unknown
        report.documents.unchanged = surveyed.plan.unchanged
        report.elsewhere = surveyed.plan.elsewhere
        self.planned(surveyed.plan, found)

    def _write(
        self,
        collection: Collection,
        embedder: Embedder,
        surveyed: Survey,
        report: Report,
        ledger: Ledger,
        pool: Pool,
    ) -> None:
        Ingest(
            collection,
            embedder,
            replace(surveyed.recipe, sparse=collection.settings.document_bm25().config),
            report,
            ledger=ledger,
            stop=self.stop,
            progress=self.progress,
            damage=self.damage,
        ).run(
            surveyed.plan,
            surveyed.state,
            pool,
            prune_share=self.pipeline.prune_limit / 100 if self.pipeline.prune else None,
        )
        with report.stage("finish"):
            collection.finish()

    def _limits(self) -> ProcessLimits:
        parsing = self.pipeline.parsing
        return ProcessLimits(parsing.workers, parsing.timeout, parsing.memory_mb * 1024 * 1024)
