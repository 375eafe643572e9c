"""`ragctl watch`."""

import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragctl.cli import console
from ragctl.cli import help as panels
from ragctl.cli.flags import pipeline_flags
from ragctl.cli.ingest import Quiet
from ragctl.cli.options import env_file_named, environ, open_store
from ragctl.cli.running import outcome_of, publish_outcome
from ragctl.cli.summary import did_anything, print_outcome
from ragctl.errors import Interrupted, Locked

if TYPE_CHECKING:
    from ragctl.index.partial import Changed
    from ragctl.index.watch import Attempt
    from ragctl.pipeline import Pipeline
    from ragctl.reporting import RunOutcome
    from ragctl.stores.base import Store

DEFAULT_MINUTES = 10.0
MIN_MINUTES, MAX_MINUTES = 0.01, 7 * 24 * 60.0
LAST_BATCH_SECONDS = 20
"""So long the batch at hand may take after SIGTERM or Ctrl-C."""


@pipeline_flags("prune", "budget", "policy", "report")
def watch(
    flags: Mapping[str, Any],
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    every: Annotated[
        float,
        typer.Option(
            "--every",
            metavar="MINUTES",
            min=MIN_MINUTES,
            max=MAX_MINUTES,
            help="Time between two full runs, which find what was missed.",
            rich_help_panel=panels.COMMON,
        ),
    ] = DEFAULT_MINUTES,
    quiet: Quiet = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON for each run that changed something.",
            rich_help_panel=panels.COMMON,
        ),
    ] = False,
) -> int:
    """Run a pipeline whenever its documents change.

    Begins with a full run, repeats it from time to time, and in between indexes each file as it is
    saved. Other runs can write the collection in between. Ends with SIGTERM (exit code 0) or
    Ctrl-C.
    """
    from ragctl.index.watch import Watch
    from ragctl.pipeline import read_pipeline

    pipeline = read_pipeline(file, environ(), flags)
    pipeline = replace(pipeline, env_file=env_file_named(), wait=False)
    console.about(collection=pipeline.collection)
    if quiet:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # of libraries
    with ExitStack() as stack:
        opened = open_store(pipeline.store, pipeline.environ, keep_open=True)
        store = stack.enter_context(closing(opened))
        runs = stack.enter_context(closing(_Runs(pipeline, store, quiet=quiet, as_json=as_json)))
        stack.enter_context(_signals(runs))
        Watch(pipeline, runs.run, runs, runs.notify, every * 60).loop()
    return Interrupted.exit_code if runs.signal == signal.SIGINT else 0


class _Runs:
    """The runs of one watcher: they share a session, and each is printed and published.

    `signal`: the one that ended the watching; `cancellation` ends the run at hand as well.
    """

    def __init__(self, pipeline: "Pipeline", store: "Store", *, quiet: bool, as_json: bool) -> None:
        from ragctl.index.cancellation import Cancellation
        from ragctl.index.session import Session

        self.cancellation: Cancellation = Cancellation()
        self.signal: int | None = None
        self.is_full = False
        self.running = False
        self._pipeline = pipeline
        self._store = store
        self._session: Session = Session(kept=True)
        self._quiet = quiet
        self._as_json = as_json
        self._trouble: object = None  # what was wrong with the last run
        self._waiting = False
        self._began = False

    def is_set(self) -> bool:
        """Return whether to stop watching."""
        return self.signal is not None

    def notify(self, text: str) -> None:
        """Print what is waited for."""
        if not self._quiet:
            console.print_wait(text)

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def run(self, changed: "Changed | None") -> "Attempt":
        """Do a full run, or one of changed paths; print and publish what it changed."""
        from ragctl.cli.progress import ProgressBar
        from ragctl.index.partial import NamesChanged
        from ragctl.index.run import Run
        from ragctl.index.watch import FATAL_AT_FIRST, Attempt

        self.is_full, self.running = changed is None, True
        if self.is_full:
            self._session.refresh()
        shown = self.is_full and not (self._quiet or self._as_json)
        with closing(ProgressBar(shown=shown)) as bar:
            run = Run(
                self._pipeline,
                self._store,
                self._pipeline.environ,
                cancellation=self.cancellation,
                progress=bar,
                on_wait=self.notify,
                changed=changed,
                session=self._session,
            )
            outcome, error = outcome_of(self._pipeline, run.ingest, lambda: run.report)
        self.running = False
        if error is None:
            self._session.warm()
        elif not isinstance(error, Locked):
            self._session.close()
        if not isinstance(error, Exception | None):
            raise error
        if isinstance(error, Locked):
            self._wait_for_lock(str(error))
        elif not isinstance(error, NamesChanged):
            self._waiting = False
            ends = not self._began and isinstance(error, FATAL_AT_FIRST)
            self._tell(outcome, ends=ends)
        return Attempt(run.naming, error)

    def _wait_for_lock(self, message: str) -> None:
        if not self._waiting:
            self.notify(f"{message}; waiting until it ends")
            self._waiting = True

    def _tell(self, outcome: "RunOutcome", *, ends: bool) -> None:
        """Print and publish an outcome, if it says something new.

        `ends`: its error ends the program, which prints it.
        """
        report = outcome.report
        changed = report is not None and did_anything(report)
        failed = () if report is None else tuple((f.source, f.postponed) for f in report.failures)
        trouble = (outcome.exit_code, outcome.error, failed)
        news = changed or trouble != self._trouble or not self._began
        self._trouble, self._began = trouble, True
        if news:
            print_outcome(
                outcome, dry_run=False, quiet=self._quiet, as_json=self._as_json, indent=None
            )
            if outcome.error is not None and not ends:
                console.warn(
                    f"ragctl: {outcome.error}",
                    level="error",
                    event="error",
                    message=outcome.error,
                    exit_code=outcome.exit_code,
                )
            sys.stdout.flush()
        if news or self.is_full:
            pipeline = self._pipeline
            reporting = pipeline.reporting
            if not news:  # the files say that the watcher lives; nobody is called
                reporting = replace(reporting, on_success=None, on_failure=None)
            publish_outcome(outcome, replace(pipeline, reporting=reporting))


@contextmanager
def _signals(runs: _Runs) -> Iterator[None]:
    """Stop watching at the first Ctrl-C or SIGTERM, cancel the run at the second.

    A full run is cancelled at the first; a batch gets LAST_BATCH_SECONDS. At the third, raise
    KeyboardInterrupt.
    """

    def handle(number: int, frame: object) -> None:
        if runs.cancellation.requested:
            raise KeyboardInterrupt
        again = runs.signal is not None
        if not again:
            runs.signal = number
            console.warn("stopping; press Ctrl-C again to abort", event="stopping")
        if again or (runs.running and runs.is_full):
            runs.cancellation.cancel()
        elif hasattr(signal, "alarm"):
            signal.alarm(LAST_BATCH_SECONDS)

    def expire(number: int, frame: object) -> None:
        runs.cancellation.cancel()

    handlers: dict[int, Any] = {signal.SIGINT: handle, signal.SIGTERM: handle}
    if hasattr(signal, "SIGALRM"):
        handlers[signal.SIGALRM] = expire
    before = {number: signal.signal(number, new) for number, new in handlers.items()}
    try:
        yield
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        for number, old in before.items():
            signal.signal(number, old)
