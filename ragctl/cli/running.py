"""A run from the command line: signals, how it ended, and who is told."""

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ragctl.cli import console
from ragctl.cli.ending import ending_of
from ragctl.cli.options import open_store
from ragctl.cli.summary import print_outcome
from ragctl.errors import DocumentError

if TYPE_CHECKING:
    from ragctl.cli.progress import Bar
    from ragctl.index.cancellation import Cancellation
    from ragctl.index.saved_plan import SavedPlan
    from ragctl.pipeline import Pipeline
    from ragctl.reporting import RunOutcome


def carry_out(
    pipeline: "Pipeline",
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    saved: "SavedPlan | None" = None,
) -> int:
    """Carry a pipeline out, print and tell how it ended, and return its exit code."""
    from ragctl.cli.progress import Bar
    from ragctl.index.cancellation import Cancellation

    console.about(collection=pipeline.collection)
    if quiet:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # of libraries
    bar = Bar(shown=sys.stderr.isatty() and not (as_json or quiet or console.logs_json()))
    cancellation = Cancellation()
    with signals(cancellation):
        outcome, error = _ended(pipeline, cancellation, bar, saved, dry_run=dry_run, quiet=quiet)
        try:
            print_outcome(outcome, dry_run=dry_run, quiet=quiet, as_json=as_json)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads it; how the run ended stands
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the program ends
        if not dry_run:
            _tell(outcome, pipeline)
    if error is not None:
        raise error
    return outcome.exit_code


def _ended(
    pipeline: "Pipeline",
    cancellation: "Cancellation",
    bar: "Bar",
    saved: "SavedPlan | None",
    *,
    dry_run: bool,
    quiet: bool,
) -> tuple["RunOutcome", BaseException | None]:
    """Carry a pipeline out; how it ended, and the error that ended it."""
    from ragctl.index.run import Run
    from ragctl.records import ignore
    from ragctl.reporting import RunOutcome

    job, error, code, message = None, None, 0, None
    started, clock = time.time(), time.monotonic()
    try:
        with cancellation.interruptible():
            opened = open_store(pipeline.store, pipeline.environ)
        with closing(opened) as store, closing(bar):
            job = Run(
                pipeline,
                store,
                pipeline.environ,
                cancellation=cancellation,
                progress=bar,
                on_plan=bar.planned,
                on_wait=ignore if quiet else _waits,
                saved=saved,
            )
            report = job.dry_run() if dry_run else job.ingest()
        if report.failed_more_than(pipeline.fail_on):
            code = DocumentError.exit_code
    except (Exception, KeyboardInterrupt) as failure:  # noqa: BLE001 - raised again by the caller
        ending = ending_of(failure)
        error, code, message = failure, ending.exit_code, ending.message
    seconds = time.monotonic() - clock
    told = job.report if job else None
    return RunOutcome(pipeline.collection, started, seconds, code, message, told), error


def _waits(text: str) -> None:
    console.warn(text, level="info", event="waiting")


def _tell(outcome: "RunOutcome", pipeline: "Pipeline") -> None:
    """Tell whatever watches the run. Ctrl-C leaves off: it cannot change how the run ended."""
    from ragctl.reporting import publish

    def warn(text: str) -> None:
        console.warn(f"warning: {text}", event="untold", message=text)

    try:
        publish(outcome, pipeline.reporting, warn)
    except KeyboardInterrupt:
        warn("interrupted while telling how the run ended")


@contextmanager
def signals(cancellation: "Cancellation") -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): finish what is in flight. Second: at once."""

    def handle(number: int, frame: object) -> None:
        if cancellation.requested:
            raise KeyboardInterrupt
        console.warn("finishing what is in flight; once more to drop it", event="stopping")
        cancellation.cancel()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
