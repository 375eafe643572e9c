"""`ragctl plan` and `ragctl failures`."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.cli import console
from ragctl.cli.ingest import Checksum, Moved
from ragctl.cli.options import (
    AsJson,
    CollectionName,
    PipelineFile,
    StoreLocation,
    env_file_named,
    environ,
    open_store,
    opened,
    pipeline_of,
)
from ragctl.cli.skipped import list_skipped_files
from ragctl.cli.summary import dollars, print_notes, size_lines, summary
from ragctl.errors import ChangesPending, DocumentError
from ragctl.text import counted, one_line, readable_time

if TYPE_CHECKING:
    from ragctl.index.report import Change, Report
    from ragctl.records import Json

MAX_SHOWN_CHANGES = 100


def plan(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save the plan, for `ragctl run --plan FILE`."),
    ] = None,
    only: Annotated[
        list[str],
        typer.Option(
            "--only", metavar="PATTERN", help="Plan only files that match; leave all others alone."
        ),
    ] = [],  # noqa: B006 - a repeated option of typer
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Retry failed files now, even if they are not due yet."
        ),
    ] = False,
    moved: Moved = False,
    checksum: Checksum = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with 10 if the plan contains changes (3 if files fail)."
        ),
    ] = False,
    skipped: Annotated[
        bool,
        typer.Option(
            "--skipped", help="List what is left out, and why, instead of making the plan."
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show what a run would do and cost; write and send nothing."""
    from dataclasses import replace

    from ragctl.cli.progress import ProgressBar
    from ragctl.cli.running import fails_on, signals
    from ragctl.index.run import Run
    from ragctl.pipeline import read_pipeline

    pipeline = replace(
        read_pipeline(file, environ()),
        only=tuple(only),
        retry_failed=retry_failed,
        moved=moved,
        checksum=checksum,
        env_file=env_file_named(),
    )
    if skipped:
        return list_skipped_files(pipeline, as_json=as_json)
    batch = pipeline.embedding.batch
    bar = ProgressBar(shown=not as_json)
    store = open_store(pipeline.store, pipeline.environ, read_only=True)
    with closing(store), closing(bar):
        run = Run(pipeline, store, pipeline.environ, progress=bar)
        try:
            with signals(run.cancellation):
                report, saved = run.plan()
        except BaseException:
            bar.close()
            if run.report is not None and run.report.changes is not None:
                _print(run.report, as_json=as_json, batch=batch)
            raise
    if out is not None:
        saved.write(out, report)
    _print(report, as_json=as_json, batch=batch)
    if fails_on(report, pipeline):
        return DocumentError.exit_code
    if exit_code and report.changes:
        return ChangesPending.exit_code
    return 0


def _print(report: "Report", *, as_json: bool, batch: bool = False) -> None:
    print_notes(report)
    if as_json:
        console.print_json(report.to_json())
        return
    changes = report.changes or []
    for change in changes[:MAX_SHOWN_CHANGES]:
        console.say(one_line(_row(change)))
    if len(changes) > MAX_SHOWN_CHANGES:
        console.say(f"… and {len(changes) - MAX_SHOWN_CHANGES:,} more (--json lists all)")
    console.say(summary(report, dry_run=True))
    for line in _prices(report, batch=batch):
        console.say(one_line(line))
    for line in size_lines(report):
        console.say(line)


def _prices(report: "Report", *, batch: bool) -> Iterator[str]:
    """Yield each backend's requests, cost, and minimum time. `batch`: the first takes batches."""
    if not report.tokens:
        return
    for position, row in enumerate(report.backends):
        if row["in_process"]:
            yield f"{row['backend']}: in this process, at no cost"
            continue
        price = "price unknown" if row["cost"] is None else dollars(cast(float, row["cost"]))
        seconds = cast("float | None", row["seconds"])
        time = "" if seconds is None else f", {seconds:,.0f} s at its rate limits"
        requests = counted(cast(int, row["requests"]), "request")
        line = f"{row['backend']}: {requests}, {price}{time}"
        jobs = cast("dict[str, Json] | None", row["batch"])
        if jobs is not None:
            cost = "price unknown" if jobs["cost"] is None else dollars(cast(float, jobs["cost"]))
            line += f"; as a batch {cost}, within {jobs['hours']} hours"
            if batch and position == 0:
                line = (
                    f"{row['backend']}: a batch, {cost}, within {jobs['hours']} hours; without "
                    f"batch = true {price}"
                )
        yield line


def _row(change: "Change") -> str:
    effort = (
        f"; {counted(change.embedded, 'chunk')} to embed ({counted(change.tokens, 'token')})"
        if change.embedded
        else ""
    )
    reused = f"; {counted(change.reused, 'chunk')} reused" if change.reused else ""
    waiting = f"; {counted(change.waiting, 'chunk')} waiting" if change.waiting else ""
    what = "unchanged" if change.what == "restamped" else change.what
    return f"{what}: {change.source}: {change.why}{effort}{reused}{waiting}"


def failures(
    collection: CollectionName = "docs",
    store: StoreLocation = None,
    pipeline: PipelineFile = None,
    as_json: AsJson = False,
) -> int:
    """List documents that failed, why, and when they are retried."""
    from datetime import UTC, datetime

    from ragctl.index.failures import read_failures
    from ragctl.records import Json

    settings = pipeline_of(pipeline)
    name = settings.collection if settings else collection
    variables = settings.environ if settings else None
    location = settings.store if settings else store
    with opened(location, name, variables, read_only=True) as (_, found):
        failed = sorted(read_failures(found.notes()).values(), key=lambda failure: failure.file)

    def timestamp(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    rows: list[dict[str, Json]] = [
        {
            "file": failure.file,
            "errors": [{"source": s, "error": reason} for s, reason in failure.errors],
            "tries": failure.tries,
            "first": timestamp(failure.first),
            "last": timestamp(failure.last),
            "next": timestamp(failure.due) if failure.tries > 1 else None,
        }
        for failure in failed
    ]
    if as_json:
        console.print_json({"collection": name, "failures": cast(Json, rows)})
        return 0
    for failure, row in zip(failed, rows, strict=True):
        when = f"after {readable_time(failure.due)}" if row["next"] else "in the next run"
        since = f"{failure.tries} times since {readable_time(failure.first)}"
        tries = "once" if failure.tries == 1 else since
        for source, reason in failure.errors:
            console.say(
                one_line(f"{source}: {reason.removesuffix('.')} (failed {tries}; next try {when})")
            )
    if not failed:
        console.say(f"{name}: no document failed")
    return 0
