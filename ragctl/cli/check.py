"""`ragctl check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import (
    AsJson,
    BackendOption,
    BaseUrl,
    Dimension,
    ModelName,
    StoreLocation,
    Task,
    Weights,
    environ,
    told_by,
)
from ragctl.cli.settings import tables
from ragctl.errors import UsageError
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.check import Checked

_WORDS = {"ok": "ok", "fail": "FAIL", "note": "note"}


def check(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE.toml]", help="Instead of flags.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="[docs]")
    ] = None,
    model: ModelName = None,
    dim: Dimension = None,
    backend: BackendOption = [],  # noqa: B006 - typer's way to say a repeated option
    base_url: BaseUrl = None,
    weights: Weights = None,
    task: Task = None,
    store: StoreLocation = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="N", help="For the store, and for each backend.")
    ] = 20.0,
    as_json: AsJson = False,
) -> int:
    """Try the store and each backend with a text or two; write nothing.

    What is left out is taken from the collection, if it exists. The exit code is
    that of the worst failure.
    """
    from ragctl import check as room
    from ragctl.pipeline import from_flags

    if seconds <= 0:
        raise UsageError(f"--seconds {seconds:g}: more than 0")
    flags = (collection, model, dim, base_url, weights, task, store)
    pipeline = told_by(file)
    if pipeline is None:
        # A check reads no documents.
        pipeline = from_flags({"sources": [{"path": "."}], **tables(context.params)}, environ())
    elif backend or any(flag is not None for flag in flags):
        raise UsageError("give a pipeline file or flags, not both: the file says it all")
    checked = room.check(pipeline, seconds=seconds)
    if as_json:
        console.print_json(checked.to_json())
    else:
        _print(checked)
    return checked.exit_code


def _print(checked: "Checked") -> None:
    """A line for each finding in four columns, and one that sums them up."""
    rows = [
        (_WORDS[finding.status], who, finding.what, one_line(finding.text))
        for who, finding in checked.findings
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    for *cells, text in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        console.say("  ".join((*padded, text)))
    what = f"{checked.model} at {checked.dim} dimensions" if checked.model else "no model"
    failures = checked.failures
    if not failures:
        console.say(f"{what}: all good")
    else:
        console.say(f"{what}: {failures} failure{'' if failures == 1 else 's'}")
