"""`ragctl ingest` and `ragctl run`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.cli import console
from ragctl.cli.options import (
    AsJson,
    Backend,
    BaseUrl,
    Dimension,
    ModelName,
    StoreLocation,
    Task,
    Weights,
    environ,
    open_store,
)
from ragctl.cli.settings import setting, sources, tables
from ragctl.errors import DocumentError

if TYPE_CHECKING:
    from ragctl.index.report import Report
    from ragctl.index.stop import Stop
    from ragctl.pipeline import Pipeline

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done and sent; write and send nothing."),
]
_FAILURES_SHOWN = 20


Wait = Annotated[bool | None, setting("policy.wait", "", "--wait")]
FailOn = Annotated[float | None, setting("policy.fail_on", "PERCENT")]
MaxTokens = Annotated[int | None, setting("budget.max_tokens", "N")]
MaxCost = Annotated[float | None, setting("budget.max_cost", "DOLLARS")]
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
    backend: Backend = [],  # noqa: B006 - typer's way to say a repeated option
    base_url: BaseUrl = None,
    weights: Weights = None,
    task: Task = None,
    late_chunking: Annotated[
        bool | None,
        setting("embedding.late_chunking", "", "--late-chunking/--no-late-chunking"),
    ] = None,
    truncate: Annotated[bool | None, setting("embedding.truncate", "", "--truncate")] = None,
    store: StoreLocation = None,
    chunk_size: Annotated[int | None, setting("chunking.size", "N")] = None,
    overlap: Annotated[int | None, setting("chunking.overlap", "N")] = None,
    include: Annotated[list[str], setting("sources.include", "PATTERN")] = [],  # noqa: B006
    exclude: Annotated[list[str], setting("sources.exclude", "PATTERN")] = [],  # noqa: B006
    meta: Annotated[list[str], setting("meta", "K=V")] = [],  # noqa: B006
    language: Annotated[list[str], setting("bm25.languages", "CODE")] = [],  # noqa: B006
    prune: Annotated[bool | None, setting("prune.enabled", "", "--prune/--no-prune")] = None,
    prune_limit: Annotated[float | None, setting("prune.limit", "PERCENT")] = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    fail_on: FailOn = None,
    wait: Wait = None,
    only: Only = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    report_file: Annotated[Path | None, setting("report.report_file", "FILE")] = None,
    metrics_file: Annotated[Path | None, setting("report.metrics_file", "FILE")] = None,
    jsonl_text: Annotated[str | None, setting("parsing.jsonl_text", "FIELD")] = None,
    jsonl_id: Annotated[str | None, setting("parsing.jsonl_id", "FIELD")] = None,
    jsonl_meta: Annotated[list[str], setting("parsing.jsonl_metadata", "FIELD")] = [],  # noqa: B006
    encoding: Annotated[str | None, setting("parsing.encoding", "NAME")] = None,
    parse_timeout: Annotated[float | None, setting("parsing.timeout", "SECONDS")] = None,
    parse_memory: Annotated[int | None, setting("parsing.memory_mb", "MB")] = None,
    max_file: Annotated[int | None, setting("parsing.max_file_mb", "MB")] = None,
    workers: Annotated[int | None, setting("parsing.workers", "N")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Make a collection true to folders of documents: embed what changed, drop what is gone.

    What is left out is taken from the collection, if it exists: model, backend, chunk size.
    """
    from ragctl.pipeline import from_flags

    given = context.params  # by the names that the keys' flags have
    told = {"sources": sources(given, paths), **tables(given)}
    pipeline = replace(from_flags(told, environ()), only=tuple(only), retry_failed=retry_failed)
    return _carry_out(pipeline, dry_run=dry_run, as_json=as_json)


def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    fail_on: FailOn = None,
    wait: Wait = None,
    only: Only = [],  # noqa: B006
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Carry out a pipeline file: the settings of `ingest`, written down once."""
    from ragctl.pipeline import read_pipeline

    pipeline = replace(
        read_pipeline(file, environ(), tables(context.params)),
        only=tuple(only),
        retry_failed=retry_failed,
    )
    return _carry_out(pipeline, dry_run=dry_run, as_json=as_json)


def _carry_out(pipeline: "Pipeline", *, dry_run: bool, as_json: bool) -> int:
    from ragctl.cli.progress import Bar
    from ragctl.index.run import Run

    bar = Bar(shown=sys.stderr.isatty() and not as_json)
    with closing(open_store(pipeline.store, pipeline.environ)) as store, closing(bar):
        job = Run(pipeline, store, pipeline.environ, progress=bar, planned=bar.planned)
        try:
            with signals(job.stop):
                report = job.estimate() if dry_run else job.ingest()
        except BaseException:
            bar.close()
            if job.report is not None:
                print_report(job.report, dry_run=dry_run, as_json=as_json, ended=False)
            raise
        bar.close()
        print_report(report, dry_run=dry_run, as_json=as_json, ended=True)
    return DocumentError.exit_code if report.failed_beyond(pipeline.fail_on) else 0


@contextmanager
def signals(stop: "Stop") -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): finish what is in flight. Second: at once."""

    def handle(number: int, frame: object) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        console.warn("finishing what is in flight; once more to drop it")
        stop.request()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def print_report(report: "Report", *, dry_run: bool, as_json: bool, ended: bool) -> None:
    """What failed and what to know of on standard error, the summary or the JSON on the other."""
    for failure in report.failures[:_FAILURES_SHOWN]:
        console.warn(f"failed: {failure.source}: {failure.error}")
    if len(report.failures) > _FAILURES_SHOWN:
        console.warn(f"failed: {len(report.failures) - _FAILURES_SHOWN} more (--json lists all)")
    for warning in report.warnings:
        console.warn(f"warning: {warning.source}: {warning.error}")
    if as_json:
        console.print_json(report.to_json())
    else:
        console.say(_summary(report, dry_run=dry_run, ended=ended))
        for line in _accounts(report):
            console.say(line)


def _accounts(report: "Report") -> list[str]:
    """Who embedded how much: told where there is a choice of providers, or a free quota."""
    lines = []
    for account in report.providers:
        free, so_far = account["free_tokens"], account.get("tokens_so_far")
        if len(report.providers) < 2 and free is None:
            continue
        line = (
            f"  {account['backend']}: {account['texts']:,} texts, "
            f"{'about ' if account['tokens_estimated'] else ''}{account['tokens']:,} tokens"
        )
        if account["cost"] is not None:
            line += f", {_dollars(cast(float, account['cost']))} at list price"
        if free is not None and so_far is not None:
            line += f"; {so_far:,} so far of {free:,} free with a new account"
        lines.append(console.one_line(line))
    return lines


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6f}".rstrip("0").rstrip(".")


def _summary(report: "Report", *, dry_run: bool, ended: bool) -> str:
    documents, chunks = report.documents, report.chunks
    counts = [
        f"{count:,} {name}"
        for name in ("added", "updated", "renamed", "unchanged", "removed", "failed")
        if (count := getattr(documents, name))
    ]
    parts = [
        f"{', '.join(counts) or 'nothing to do'}",
        f"{chunks.embedded:,} chunks {'to embed' if dry_run else 'embedded'} "
        f"({report.tokens:,} tokens"
        + (f", {report.requests:,} requests" if report.requests else "")
        + (f", {_dollars(report.cost)})" if report.cost else ")"),
    ]
    if chunks.reused:
        parts.append(f"{chunks.reused:,} reused")
    if chunks.deleted:
        parts.append(f"{chunks.deleted:,} deleted")
    if report.left:
        parts.append(f"{report.left:,} files left for the next run")
    if report.skipped:
        parts.append(f"{report.skipped:,} files of unknown type skipped")
    if report.elsewhere:
        parts.append(f"{report.elsewhere:,} documents of other folders kept")
    head = f"{report.collection}: " + ("" if ended else "ended early: ")
    if dry_run:
        head += "would be: "
    return f"{head}{'; '.join(parts)}; {report.seconds:.1f} s"
