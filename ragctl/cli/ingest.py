"""`ragctl ingest` and `ragctl run`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ragctl.cli import help as panels
from ragctl.cli.flags import pipeline_flags
from ragctl.cli.options import AsJson, env_file_named, environ
from ragctl.cli.running import run_pipeline
from ragctl.errors import UsageError

Only = Annotated[
    list[str],
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="Process only the files that match.",
        rich_help_panel=panels.DOCUMENTS,
    ),
]
Moved = Annotated[
    bool,
    typer.Option(
        "--moved",
        help="Accept that a known source has moved.",
        rich_help_panel=panels.DOCUMENTS,
    ),
]
Checksum = Annotated[
    bool,
    typer.Option(
        "--checksum",
        help="Compare the content of every file.",
        rich_help_panel=panels.DOCUMENTS,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Also retry failed documents that are not due yet.",
        rich_help_panel=panels.POLICY,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show what would be done; write and send nothing.",
        rich_help_panel=panels.COMMON,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only what goes wrong, and skipped files.",
        rich_help_panel=panels.COMMON,
    ),
]


@pipeline_flags()
def ingest(
    flags: Mapping[str, Any],
    only: Only = [],  # noqa: B006 - typer's way to declare a repeated option
    retry_failed: RetryFailed = False,
    moved: Moved = False,
    checksum: Checksum = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Sync a collection with folders of documents.

    Embeds what changed, and removes what is gone.
    Settings that are not given are taken from the collection, if it exists.
    """
    from ragctl.pipeline import from_flags

    pipeline = from_flags(flags, environ())
    pipeline = replace(
        pipeline,
        only=tuple(only),
        retry_failed=retry_failed,
        moved=moved,
        checksum=checksum,
        env_file=env_file_named(),
    )
    return run_pipeline(pipeline, dry_run=dry_run, quiet=quiet, as_json=as_json)


@pipeline_flags("prune", "budget", "policy", "report")
def run(
    flags: Mapping[str, Any],
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="Apply exactly this saved plan, or refuse.",
            rich_help_panel=panels.COMMON,
        ),
    ] = None,
    only: Only = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    moved: Moved = False,
    checksum: Checksum = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Run a pipeline file.

    It is like `ingest` with the settings of the file.
    """
    from ragctl.pipeline import read_pipeline

    pipeline = read_pipeline(file, environ(), flags)
    saved = None
    if plan is not None:
        from ragctl.index.saved_plan import read_plan

        if only or retry_failed:
            raise UsageError(
                "--only and --retry-failed belong to the plan: give them to ragctl plan"
            )
        saved = read_plan(plan)
        only, retry_failed = saved.only, saved.retry_failed
    pipeline = replace(
        pipeline,
        only=tuple(only),
        retry_failed=retry_failed,
        moved=moved,
        checksum=checksum,
        env_file=env_file_named(),
    )
    return run_pipeline(pipeline, dry_run=dry_run, quiet=quiet, as_json=as_json, saved=saved)
