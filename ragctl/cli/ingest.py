"""`ragctl ingest` and `ragctl run`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

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
)
from ragctl.cli.running import run_pipeline
from ragctl.cli.settings import setting, sources, tables
from ragctl.errors import UsageError

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done and sent; write and send nothing."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")
]
Wait = Annotated[bool | None, setting("policy.wait", "", "--wait")]
FailOn = Annotated[float | None, setting("policy.fail_on", "PERCENT")]
Prune = Annotated[bool | None, setting("prune.enabled", "", "--prune/--no-prune")]
PruneLimit = Annotated[float | None, setting("prune.limit", "PERCENT")]
MaxTokens = Annotated[int | None, setting("budget.max_tokens", "N")]
MaxCost = Annotated[float | None, setting("budget.max_cost", "DOLLARS")]
ReportFile = Annotated[Path | None, setting("report.report_file", "FILE")]
MetricsFile = Annotated[Path | None, setting("report.metrics_file", "FILE")]
Only = Annotated[
    list[str],
    typer.Option("--only", metavar="PATTERN", help="This time only files like this."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Also try what failed before and is not due yet.")
]


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders or files.")],
    collection: Annotated[str | None, setting("collection", "NAME", "--collection", "-c")] = None,
    model: ModelName = None,
    dim: Dimension = None,
    backend: BackendOption = [],  # noqa: B006 - typer's way to say a repeated option
    base_url: BaseUrl = None,
    weights: Weights = None,
    task: Task = None,
    late_chunking: Annotated[
        bool | None,
        setting("embedding.late_chunking", "", "--late-chunking/--no-late-chunking"),
    ] = None,
    truncate: Annotated[bool | None, setting("embedding.truncate", "", "--truncate")] = None,
    store: StoreLocation = None,
    quantization: Annotated[str | None, setting("quantization", "KIND")] = None,
    chunk_size: Annotated[int | None, setting("chunking.size", "N")] = None,
    overlap: Annotated[int | None, setting("chunking.overlap", "N")] = None,
    include: Annotated[list[str], setting("sources.include", "PATTERN")] = [],  # noqa: B006
    exclude: Annotated[list[str], setting("sources.exclude", "PATTERN")] = [],  # noqa: B006
    meta: Annotated[list[str], setting("meta", "K=V")] = [],  # noqa: B006
    language: Annotated[list[str], setting("bm25.languages", "CODE")] = [],  # noqa: B006
    prune: Prune = None,
    prune_limit: PruneLimit = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    fail_on: FailOn = None,
    wait: Wait = None,
    only: Only = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    report_file: ReportFile = None,
    metrics_file: MetricsFile = None,
    jsonl_text: Annotated[str | None, setting("parsing.jsonl_text", "FIELD")] = None,
    jsonl_id: Annotated[str | None, setting("parsing.jsonl_id", "FIELD")] = None,
    jsonl_meta: Annotated[list[str], setting("parsing.jsonl_metadata", "FIELD")] = [],  # noqa: B006
    encoding: Annotated[str | None, setting("parsing.encoding", "NAME")] = None,
    parse_timeout: Annotated[float | None, setting("parsing.timeout", "SECONDS")] = None,
    parse_memory: Annotated[int | None, setting("parsing.memory_mb", "MB")] = None,
    max_file: Annotated[int | None, setting("parsing.max_file_mb", "MB")] = None,
    workers: Annotated[int | None, setting("parsing.workers", "N")] = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Make a collection true to folders of documents: embed what changed, drop what is gone.

    What is left out is taken from the collection, if it exists: model, backend, chunk size.
    """
    from ragctl.pipeline import from_flags

    given = context.params  # by the names that the keys' flags have
    told = {"sources": sources(given, paths), **tables(given)}
    pipeline = replace(from_flags(told, environ()), only=tuple(only), retry_failed=retry_failed)
    return run_pipeline(pipeline, dry_run=dry_run, quiet=quiet, as_json=as_json)


def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Apply this saved plan exactly, or refuse."),
    ] = None,
    prune: Prune = None,
    prune_limit: PruneLimit = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    fail_on: FailOn = None,
    wait: Wait = None,
    only: Only = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    report_file: ReportFile = None,
    metrics_file: MetricsFile = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Carry out a pipeline file: the settings of `ingest`, written down once."""
    from ragctl.pipeline import read_pipeline

    pipeline = read_pipeline(file, environ(), tables(context.params))
    saved = None
    if plan is not None:
        from ragctl.index.saved_plan import read_plan

        if only or retry_failed:
            raise UsageError("--only and --retry-failed are the plan's: give them to ragctl plan")
        saved = read_plan(plan)
        only, retry_failed = saved.only, saved.retry_failed
    pipeline = replace(pipeline, only=tuple(only), retry_failed=retry_failed)
    return run_pipeline(pipeline, dry_run=dry_run, quiet=quiet, as_json=as_json, saved=saved)
