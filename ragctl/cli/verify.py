"""`ragctl verify`."""

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import AsJson, environ, open_store
from ragctl.errors import DocumentError

if TYPE_CHECKING:
    from ragctl.index.report import Report
    from ragctl.index.verify import Damage
    from ragctl.pipeline import Pipeline
    from ragctl.records import Json

_SHOWN = 50  # faults


def verify(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Embed what is missing, remove what is too much.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Compare a collection with its marks, point by point, and with its sources.

    Exit code 3 where the two differ (with --repair: where they still do).
    """
    from ragctl.pipeline import read_pipeline

    pipeline = replace(read_pipeline(file, environ()), retry_failed=True)
    report = _repair(pipeline) if repair else None
    damage, pending = _look(pipeline)
    differ = bool(damage.faults or pending.changes or pending.failures)
    if as_json:
        console.print_json(_json(damage, pending, report))
    else:
        _print(damage, pending, report)
    return DocumentError.exit_code if differ else 0


def _repair(pipeline: "Pipeline") -> "Report":
    from ragctl.cli.progress import Bar
    from ragctl.cli.running import signals
    from ragctl.index.run import Run

    bar = Bar(shown=sys.stderr.isatty())
    with closing(open_store(pipeline.store, pipeline.environ)) as store, closing(bar):
        job = Run(pipeline, store, pipeline.environ, progress=bar, planned=bar.planned, repair=True)
        with signals(job.stop):
            return job.ingest()


def _look(pipeline: "Pipeline") -> "tuple[Damage, Report]":
    """What is wrong inside the collection, and what a run would still do to it."""
    from ragctl.index.run import Run
    from ragctl.index.verify import Damage, inspect

    with closing(open_store(pipeline.store, pipeline.environ)) as store:
        collection = store.open(pipeline.collection)
        damage = Damage()
        if collection is not None:
            with closing(collection):
                damage = inspect(collection)
        return damage, Run(pipeline, store, pipeline.environ).estimate()


def _json(damage: "Damage", pending: "Report", report: "Report | None") -> "dict[str, Json]":
    changes = pending.changes or []
    return {
        "collection": pending.collection,
        "points": damage.points,
        "faults": [fault.to_json() for fault in damage.faults],
        "changes": [change.to_json() for change in changes],
        "failures": pending.to_json()["failures"],
        "repaired": None if report is None else report.to_json(),
    }


def _print(damage: "Damage", pending: "Report", report: "Report | None") -> None:
    from ragctl.cli.summary import print_notes, summary

    if report is not None:
        print_notes(report)
        console.say(summary(report))
    lines = [f"{fault.kind}: {fault.source or '-'}: {fault.what}" for fault in damage.faults]
    damaged = damage.documents
    lines += [
        f"not as its source: {change.source}: {change.why}"
        for change in pending.changes or []
        if change.source not in damaged
    ]
    lines += [f"failed: {failure.source}: {failure.error}" for failure in pending.failures]
    for line in lines[:_SHOWN]:
        console.say(console.one_line(line))
    if len(lines) > _SHOWN:
        console.say(f"… and {len(lines) - _SHOWN:,} more (--json lists all)")
    standing = pending.documents.unchanged
    found = f"{damage.points:,} points looked at; {standing:,} documents stand"
    if lines:
        advice = "" if report is not None else "; --repair embeds what is missing"
        console.say(f"{pending.collection}: {found}; {len(lines):,} differences{advice}")
    else:
        console.say(f"{pending.collection}: {found}; all is as it should be")
