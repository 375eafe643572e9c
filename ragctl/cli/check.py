"""`ragctl check`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragctl.cli import console
from ragctl.cli.flags import pipeline_flags
from ragctl.cli.options import AsJson, environ, pipeline_of
from ragctl.errors import UsageError
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.check import CheckReport

MAX_MACHINE_SECONDS = 8.0  # for examining this machine, all in all
STATUS_WORDS = {"ok": "ok", "fail": "FAIL", "note": "note", "skip": "skip"}


@pipeline_flags(
    *("collection", "store", "embedding.model", "embedding.dimension", "embedding.task"),
    *("embedding.backend", "embedding.base_url", "embedding.weights"),
)
def check(
    flags: Mapping[str, Any],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="PIPELINE.toml", help="A pipeline file, instead of flags."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", metavar="N", help="Time limit for the store and for each backend."
        ),
    ] = 20.0,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify", help="Test every property of each backend, with at most 12 texts."
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="BACKEND",
            help="With --certify: compare with this backend; NAME, NAME=URL or NAME=FOLDER.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Examine this machine, or test a store and its backends.

    Without arguments: versions, disk, keys, stores, running runs, collections and scheduled
    pipelines, each with what to do if something is wrong. With a pipeline file or flags: what a
    run needs; settings that are not given are taken from the collection, if it exists. Nothing
    is written. The exit code is that of the worst failure.
    """
    from ragctl.check import Certify, check_pipeline
    from ragctl.pipeline import from_flags

    if seconds <= 0:
        raise UsageError(f"--seconds {seconds:g}: more than 0")
    if against is not None and not certify:
        raise UsageError("--against needs --certify")
    if file is None and not flags and not certify:
        from ragctl.cli.check_machine import check_machine

        return check_machine(min(seconds, MAX_MACHINE_SECONDS), as_json=as_json)
    pipeline = pipeline_of(file)
    if pipeline is None:
        # A check reads no documents, but a pipeline has to name some.
        pipeline = from_flags({"sources": [{"path": "."}], **flags}, environ())
    elif flags:
        raise UsageError("give a pipeline file or flags, not both: the file has all settings")
    checked = check_pipeline(
        pipeline,
        seconds=seconds,
        certify=Certify(_reference(against), console.warn) if certify else None,
    )
    if as_json:
        console.print_json(checked.to_json())
    else:
        _print(checked)
    return checked.exit_code


def _reference(against: str | None) -> "BackendConfig | None":
    """Return the backend that --against names. Raises UsageError."""
    from ragctl.catalog import BackendConfig

    if against is None:
        return None
    name, given, place = against.partition("=")
    if not name or (given and not place):
        raise UsageError(f"--against {against!r}: expected NAME, NAME=URL or NAME=FOLDER")
    if place.startswith(("http://", "https://")):
        return BackendConfig(name, base_url=place.rstrip("/"))
    return BackendConfig(name, weights=str(Path(place).absolute()) if place else None)


def _print(checked: "CheckReport") -> None:
    """Print a line per finding, in four columns, and a summary line."""
    rows = [
        (STATUS_WORDS[finding.status], subject, finding.what, one_line(finding.text))
        for subject, finding in checked.findings
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    for *cells, text in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        console.say("  ".join((*padded, text)), indent=sum(widths) + 2 * len(widths))
    what = f"{checked.model} at {checked.dim} dimensions" if checked.model else "no model"
    failures = checked.failures
    if not failures:
        skipped = sum(finding.status == "skip" for _, finding in checked.findings)
        rest = f"; {skipped} not checked" if skipped else ""
        console.say(f"{what}: all good{rest}")
    else:
        console.say(f"{what}: {counted(failures, 'failure')}")
