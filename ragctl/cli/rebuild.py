"""`ragctl rebuild`."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import completion, console
from ragctl.cli.options import AsJson, StoreLocation, environ, open_store
from ragctl.cli.summary import print_notes, summary
from ragctl.errors import DocumentError
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ragctl.cli.progress import ProgressBar
    from ragctl.index.cancellation import Cancellation
    from ragctl.index.report import Report
    from ragctl.pipeline import Pipeline
    from ragctl.records import Json
    from ragctl.stores.base import Store
    from ragctl.transfer.rebuild import RebuildReport
    from ragctl.transfer.rebuild_sources import Recovery

MAX_SHOWN_LINES = 10


def rebuild(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PIPELINE.toml",
            autocompletion=completion.collections,
            help="The collection, or its pipeline file.",
        ),
    ],
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Rebuild a damaged collection; keep every intact vector.

    The damaged files are read part by part into a new generation, which then replaces them. What is
    missing is read from the pipeline, or from the sources of earlier runs. Exits with 3 if they are
    not on this machine.
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.cli.running import signals
    from ragctl.index.cancellation import Cancellation
    from ragctl.pipeline import read_pipeline
    from ragctl.transfer.rebuild import rebuild as salvage
    from ragctl.transfer.rebuild_settings import PipelineSettings
    from ragctl.transfer.rebuild_sources import Recovery

    pipeline: Pipeline | None = None
    otherwise: PipelineSettings | None = None
    name, location, variables = target, store, environ()
    if target.endswith(".toml") or Path(target).is_file():
        pipeline = read_pipeline(Path(target), environ())
        name, variables = pipeline.collection, pipeline.environ
        location = store or pipeline.store
        pipeline = replace(pipeline, store=location)
        otherwise = PipelineSettings(pipeline, variables, console.print_wait)
    cancellation = Cancellation()
    bar = ProgressBar(shown=not as_json)
    with closing(open_store(location, variables)) as opened, closing(bar), signals(cancellation):
        result = salvage(
            opened,
            name,
            otherwise=otherwise,
            cancellation=cancellation,
            waiting=console.print_wait,
            progress=bar,
        )
        if not as_json:
            _print(result)
        recovery = Recovery([pipeline]) if pipeline else _recovery(opened, result, variables)
        reports = [_run(each, opened, cancellation, bar) for each in recovery.pipelines]
    if as_json:
        runs: list[Json] = [report.to_json() for report in reports]
        console.print_json({**result.to_json(), "runs": runs, "advice": list(recovery.advice)})
    else:
        for report in reports:
            print_notes(report)
            console.say(summary(report))
        for line in recovery.advice:
            console.warn(one_line(line))
    failed = recovery.advice or any(report.failures for report in reports)
    return DocumentError.exit_code if failed else 0


def _recovery(
    store: "Store", result: "RebuildReport", variables: "Mapping[str, str]"
) -> "Recovery":
    from ragctl.transfer.rebuild_sources import Recovery, plan_recovery

    collection = store.open(result.collection)
    if collection is None:  # deleted meanwhile
        return Recovery()
    with closing(collection):
        notes = collection.notes()
    return plan_recovery(notes, result, store=store.location, environ=variables)


def _run(
    pipeline: "Pipeline", store: "Store", cancellation: "Cancellation", bar: "ProgressBar"
) -> "Report":
    from ragctl.index.run import Run

    return Run(
        pipeline,
        store,
        pipeline.environ,
        cancellation=cancellation,
        progress=bar,
        on_wait=console.print_wait,
    ).ingest()


def _print(result: "RebuildReport") -> None:
    for line in result.lost[:MAX_SHOWN_LINES]:
        console.warn(one_line(f"lost: {line}"))
    if len(result.lost) > MAX_SHOWN_LINES:
        console.warn(f"lost: {len(result.lost) - MAX_SHOWN_LINES} more (--json lists all)")
    console.say(
        one_line(
            f"{result.collection}: rebuilt as generation {result.generation}: "
            f"{counted(result.points, 'point')} kept, {result.damaged:,} damaged; "
            f"{counted(result.complete, 'document')} complete, {result.incomplete:,} incomplete"
        )
    )
