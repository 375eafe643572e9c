"""Run a pipeline from the command line: signals, output, exit code, published report."""

import contextlib
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.cli.ending import ending_of
from ragctl.cli.options import environ, open_store
from ragctl.cli.streams import ReaderGone
from ragctl.cli.summary import print_outcome
from ragctl.errors import DocumentError, RagctlError, StoreError

if TYPE_CHECKING:
    from ragctl.cli.progress import ProgressBar
    from ragctl.index.cancellation import Cancellation
    from ragctl.index.report import Report
    from ragctl.index.saved_plan import SavedPlan
    from ragctl.pipeline import Pipeline
    from ragctl.reporting import RunOutcome


def run_pipeline(
    pipeline: "Pipeline",
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    saved: "SavedPlan | None" = None,
) -> int:
    """Run a pipeline, print and publish the outcome, and return the exit code.

    Raises the error that ended the run, after printing and publishing.
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.index.cancellation import Cancellation

    console.about(collection=pipeline.collection)
    if quiet:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # of libraries
    bar = ProgressBar(shown=not (as_json or quiet))
    cancellation = Cancellation()
    with signals(cancellation):
        outcome, error = _run(pipeline, cancellation, bar, saved, dry_run=dry_run, quiet=quiet)
        with contextlib.suppress(ReaderGone):  # the outcome is published, and the exit code stays
            print_outcome(outcome, dry_run=dry_run, quiet=quiet, as_json=as_json)
            sys.stdout.flush()
        if not dry_run:
            publish_outcome(outcome, pipeline)
    if isinstance(error, SystemExit):  # a library's: it must not decide the exit code of a run
        raise RagctlError(outcome.error or "the run was ended") from error
    if error is not None:
        raise error
    return outcome.exit_code


def _run(
    pipeline: "Pipeline",
    cancellation: "Cancellation",
    bar: "ProgressBar",
    saved: "SavedPlan | None",
    *,
    dry_run: bool,
    quiet: bool,
) -> tuple["RunOutcome", BaseException | None]:
    """Run a pipeline; return its outcome, and the error that ended it."""
    from ragctl.index.run import Run
    from ragctl.records import ignore

    run: Run | None = None

    def work() -> "Report":
        nonlocal run
        with cancellation.interruptible():
            opened = open_store(pipeline.store, pipeline.environ, read_only=dry_run)
        with closing(opened) as store, closing(bar):
            run = Run(
                pipeline,
                store,
                pipeline.environ,
                cancellation=cancellation,
                progress=bar,
                on_wait=ignore if quiet else console.print_wait,
                saved=saved,
            )
            return run.dry_run() if dry_run else run.ingest()

    return outcome_of(pipeline, work, lambda: run.report if run else None)


def outcome_of(
    pipeline: "Pipeline", work: Callable[[], "Report"], report: Callable[[], "Report | None"]
) -> tuple["RunOutcome", BaseException | None]:
    """Do the work of a run; return its outcome, and the error that ended it.

    `report` returns what the run has reported so far.
    """
    from ragctl.reporting import RunOutcome

    error: BaseException | None = None
    exit_code, message = 0, None
    started, clock = time.time(), time.monotonic()
    try:
        done = work()
        if fails_on(done, pipeline):
            exit_code = DocumentError.exit_code
    except BaseException as failure:  # noqa: BLE001 - raised again by the caller
        ending = ending_of(failure)
        error, exit_code, message = failure, ending.exit_code, ending.message
    seconds = time.monotonic() - clock
    return RunOutcome(pipeline.collection, started, seconds, exit_code, message, report()), error


def fails_on(report: "Report", pipeline: "Pipeline") -> bool:
    """Return whether a run that came to its end exits with 3."""
    skipped = pipeline.fail_on_skipped and report.skipped.unasked > 0
    return skipped or report.failed_more_than(pipeline.fail_on)


def publish_outcome(outcome: "RunOutcome", pipeline: "Pipeline") -> None:
    """Publish the outcome. Ctrl-C ends the publishing, but does not change the exit code."""
    from ragctl.reporting import publish
    from ragctl.reporting.last_run import record_run

    def warn(text: str) -> None:
        console.warn(f"warning: {text}", event="undelivered", message=text)

    try:
        if pipeline.config_source.is_file:
            # Only `ragctl check` reads it: without the right to write it, a run is as good.
            with contextlib.suppress(OSError, StoreError):
                record_run(Path(pipeline.config_source.name), outcome, environ())
        publish(outcome, pipeline.reporting, warn)
    except KeyboardInterrupt:
        warn("interrupted while the report was being published")


@contextmanager
def signals(cancellation: "Cancellation") -> Iterator[None]:
    """Cancel the run at the first Ctrl-C or SIGTERM; raise KeyboardInterrupt at the second."""

    def handle(number: int, frame: object) -> None:
        if cancellation.requested:
            raise KeyboardInterrupt
        console.warn("finishing requests in flight; press Ctrl-C again to abort", event="stopping")
        cancellation.cancel()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
