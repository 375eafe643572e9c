"""A pipeline carried out from end to end, under the collection's lock."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ragctl.embedding.base import Embedder
from ragctl.embedding.language import BM25_NAMES
from ragctl.embedding.sparse import Sparse, SparseConfig
from ragctl.index.ingest import Ingest
from ragctl.index.origin import note_bill
from ragctl.index.plan import Plan
from ragctl.index.prepare import Limits
from ragctl.index.report import Progress, Report
from ragctl.index.scan import Scan, scan
from ragctl.index.stop import Stop
from ragctl.index.survey import Survey, connect_for, survey, with_canary
from ragctl.pipeline import Pipeline
from ragctl.stores.base import Collection, Store


def _quiet(plan: Plan, found: Scan) -> None:
    """Called when the plan is made; nobody is watching."""


@dataclass(slots=True)
class Run:
    """One run of a pipeline. Once there is a `report`, it is true at any moment."""

    pipeline: Pipeline
    store: Store
    environ: Mapping[str, str]
    stop: Stop = field(default_factory=Stop)
    progress: Progress = field(default_factory=Progress)
    planned: Callable[[Plan, Scan], None] = _quiet
    report: Report | None = None

    def ingest(self) -> Report:
        """Make the collection true to the documents. Raises RagctlError."""
        started = time.monotonic()
        pipeline = self.pipeline
        found = scan(pipeline)
        with ExitStack() as stack:
            patience = math.inf if pipeline.wait else 0.0
            with self.stop.waiting():  # may be long
                stack.enter_context(self.store.lock(pipeline.collection, patience=patience))
            collection = self.store.open(pipeline.collection)
            if collection is not None:
                stack.callback(collection.close)
            embedder = connect_for(pipeline, collection, self.environ)
            stack.callback(embedder.close)
            self.report = report = Report(pipeline.collection, embedder.identity)
            try:
                surveyed = survey(pipeline, found, collection, embedder)
                self._begin(report, surveyed, found)
                if collection is None:
                    with self.stop.waiting():
                        settings = with_canary(surveyed.settings, embedder)
                    collection = self.store.create(pipeline.collection, settings)
                    stack.callback(collection.close)
                if not surveyed.plan.nothing_to_do:
                    self._write(collection, embedder, surveyed, report)
            finally:
                report.bill(embedder.usage)
                self._tell(report, embedder)
                if collection is not None and report.providers:
                    note_bill(collection, report)
                report.seconds = time.monotonic() - started
        return report

    def _tell(self, report: Report, embedder: Embedder) -> None:
        """Warn of what the providers did that nobody would see in the counts."""
        accounts = embedder.usage.accounts
        if len(accounts) > 1:  # of one alone the error itself tells
            for failure in embedder.failures:
                report.warn("provider", failure)
        for account in accounts:
            if account.cut:
                report.warn(account.name, f"{account.cut} texts were cut to the model's context")

    def estimate(self) -> Report:
        """What `ingest` would do and send; nothing is written, no provider asked."""
        from ragctl.index.estimate import estimate

        started = time.monotonic()
        found = scan(self.pipeline)
        with ExitStack() as stack:
            collection = self.store.open(self.pipeline.collection)
            if collection is not None:
                stack.callback(collection.close)
            embedder = connect_for(self.pipeline, collection, self.environ, dry=True)
            self.report = report = Report(self.pipeline.collection, embedder.identity)
            surveyed = survey(self.pipeline, found, collection, embedder)
            self._begin(report, surveyed, found)
            estimate(collection, surveyed, self._limits(), report, self.progress, self.stop)
            first = embedder.usage.accounts[0]
            if first.price is not None:
                report.cost = report.tokens * first.price / 1e6
            report.seconds = time.monotonic() - started
        return report

    def _begin(self, report: Report, surveyed: Survey, found: Scan) -> None:
        for source, error in (*found.failures, *surveyed.conflicts):
            report.fail(source, error)
        for advice in surveyed.advice:
            report.warn(str(report.identity["model"]), advice)
        report.skipped = found.unknown
        report.documents.unchanged = surveyed.plan.unchanged
        report.elsewhere = surveyed.plan.elsewhere
        self.planned(surveyed.plan, found)

    def _write(
        self, collection: Collection, embedder: Embedder, surveyed: Survey, report: Report
    ) -> None:
        sparse = SparseConfig.from_json(surveyed.settings.sparse)
        if not sparse.languages:  # each document under its own
            sparse = replace(sparse, languages=tuple(BM25_NAMES))
        Ingest(
            collection,
            embedder,
            Sparse(sparse),
            surveyed.recipe,
            report,
            stop=self.stop,
            progress=self.progress,
        ).run(
            surveyed.plan,
            surveyed.state,
            self._limits(),
            prune_share=self.pipeline.prune_limit / 100 if self.pipeline.prune else None,
        )
        collection.finish()

    def _limits(self) -> Limits:
        parsing = self.pipeline.parsing
        return Limits(parsing.workers, parsing.timeout, parsing.memory_mb * 1024 * 1024)
