"""`ragctl rebuild`."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import AsJson, StoreLocation, environ, open_store
from ragctl.cli.summary import print_notes, summary
from ragctl.errors import DocumentError
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.pipeline import Pipeline
    from ragctl.transfer.rebuild import RebuildReport

MAX_SHOWN_LINES = 10


def rebuild(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PIPELINE.toml",
            help="The collection; with its pipeline file, what is missing is embedded at once.",
        ),
    ],
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Rebuild a damaged collection; keep every intact vector.

    The damaged files are read part by part into a new generation, which then replaces them.
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.cli.running import signals
    from ragctl.index.cancellation import Cancellation
    from ragctl.index.run import Run
    from ragctl.pipeline import read_pipeline
    from ragctl.transfer.rebuild import rebuild as salvage

    pipeline: Pipeline | None = None
    name, location, variables = target, store, environ()
    if target.endswith(".toml") or Path(target).is_file():
        pipeline = read_pipeline(Path(target), environ())
        name, variables = pipeline.collection, pipeline.environ
        location = store or pipeline.store
    report = None
    cancellation = Cancellation()
    bar = ProgressBar(shown=not as_json)
    with closing(open_store(location, variables)) as opened, closing(bar), signals(cancellation):
        result = salvage(
            opened,
            name,
            cancellation=cancellation,
            waiting=console.print_wait,
            progress=bar,
        )
        if pipeline is not None:
            report = Run(
                pipeline,
                opened,
                pipeline.environ,
                cancellation=cancellation,
                progress=bar,
                on_wait=console.print_wait,
            ).ingest()
    if as_json:
        run = None if report is None else report.to_json()
        console.print_json({**result.to_json(), "run": run})
    else:
        for line in result.lost[:MAX_SHOWN_LINES]:
            console.warn(one_line(f"lost: {line}"))
        if len(result.lost) > MAX_SHOWN_LINES:
            console.warn(f"lost: {len(result.lost) - MAX_SHOWN_LINES} more (--json lists all)")
        console.say(one_line(_summary(result, advise=report is None)))
        if report is not None:
            print_notes(report)
            console.say(summary(report))
    return DocumentError.exit_code if report is not None and report.failures else 0


def _summary(result: "RebuildReport", *, advise: bool) -> str:
    line = (
        f"{result.collection}: rebuilt as generation {result.generation}: "
        f"{counted(result.points, 'point')} "
        f"kept, {result.damaged:,} damaged; {counted(result.complete, 'document')} complete, "
        f"{result.incomplete:,} incomplete"
    )
    if advise and (result.incomplete or result.damaged or result.lost):
        line += "; run ingest or the pipeline again: it embeds only what is missing"
    return line
