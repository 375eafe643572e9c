"""`ragctl ingest` and `ragctl run`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.cli import console
from ragctl.cli.options import (
    AsJson,
    Backend,
    BaseUrl,
    CollectionName,
    Dimension,
    ModelName,
    StoreLocation,
    Task,
    Weights,
    choices,
    environ,
    open_store,
    parse_pairs,
)
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


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders or files.")],
    collection: CollectionName = "docs",
    model: ModelName = None,
    dim: Dimension = None,
    backend: Backend = [],  # noqa: B006 - typer's way to say a repeated option
    base_url: BaseUrl = None,
    weights: Weights = None,
    task: Task = None,
    late_chunking: Annotated[
        bool | None,
        typer.Option(
            "--late-chunking/--no-late-chunking",
            help="Embed the chunks of a document in each other's context.",
        ),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut texts that are too long for the model.")
    ] = False,
    store: StoreLocation = None,
    chunk_size: Annotated[
        int | None,
        typer.Option(
            "--chunk-size", metavar="N", help="Tokens a chunk, at most. [512, or what fits]"
        ),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option("--overlap", metavar="N", help="Tokens repeated. [0]")
    ] = None,
    include: Annotated[
        list[str], typer.Option("--include", metavar="PATTERN", help="Only files like this.")
    ] = [],  # noqa: B006 - typer's way to say a repeated option
    exclude: Annotated[
        list[str], typer.Option("--exclude", metavar="PATTERN", help="No files like this.")
    ] = [],  # noqa: B006
    meta: Annotated[
        list[str], typer.Option("--meta", metavar="K=V", help="Metadata for every document.")
    ] = [],  # noqa: B006
    language: Annotated[
        list[str],
        typer.Option("--language", metavar="CODE", help="BM25 language (ru, de …). [detected]"),
    ] = [],  # noqa: B006
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Remove documents whose files are gone.")
    ] = True,
    prune_limit: Annotated[
        float,
        typer.Option("--prune-limit", metavar="PERCENT", help="Refuse to remove more than this."),
    ] = 30.0,
    jsonl_text: Annotated[
        str, typer.Option("--jsonl-text", metavar="FIELD", help="Text of a JSONL record.")
    ] = "text",
    jsonl_id: Annotated[
        str, typer.Option("--jsonl-id", metavar="FIELD", help="Id of a JSONL record.")
    ] = "id",
    jsonl_meta: Annotated[
        list[str],
        typer.Option("--jsonl-meta", metavar="FIELD", help="Metadata of a record. [all others]"),
    ] = [],  # noqa: B006
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Encoding of text files. [detected]")
    ] = None,
    parse_timeout: Annotated[
        float, typer.Option("--parse-timeout", metavar="SECONDS", help="Limit for one file.")
    ] = 60.0,
    parse_memory: Annotated[
        int, typer.Option("--parse-memory", metavar="MB", help="Limit of a parsing process.")
    ] = 2048,
    max_file: Annotated[
        int, typer.Option("--max-file", metavar="MB", help="Larger files are not read.")
    ] = 200,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Parsing processes. [cores, max 4]")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Make a collection true to folders of documents: embed what changed, drop what is gone.

    What is left out is taken from the collection, if it exists: model, backend, chunk size.
    """
    from ragctl.catalog import of_user
    from ragctl.pipeline import PDF_PASSWORD, Embedding, Parsing, Pipeline, Source, default_store

    defaults = Parsing()
    pipeline = Pipeline(
        sources=tuple(Source(path, tuple(include), tuple(exclude)) for path in paths),
        store=store or default_store(environ()),
        collection=collection,
        embedding=Embedding(
            model,
            dim,
            choices(backend, base_url, weights),
            task=task,
            late_chunking=late_chunking,
            truncate=truncate,
        ),
        chunk_size=chunk_size,
        overlap=overlap,
        languages=tuple(language),
        meta=parse_pairs(meta, "--meta"),
        prune=prune,
        prune_limit=prune_limit,
        parsing=Parsing(
            workers=defaults.workers if workers is None else workers,
            timeout=parse_timeout,
            memory_mb=parse_memory,
            max_file_mb=max_file,
            encoding=encoding,
            jsonl_text=jsonl_text,
            jsonl_id=jsonl_id,
            jsonl_metadata=tuple(jsonl_meta) or None,
        ),
        pdf_password=environ().get(PDF_PASSWORD),
        environ=environ(),
        catalog=of_user(environ()),
    )
    return _carry_out(pipeline, dry_run=dry_run, as_json=as_json)


def run(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Carry out a pipeline file: the settings of `ingest`, written down once."""
    from ragctl.pipeline import read_pipeline

    return _carry_out(read_pipeline(file, environ()), dry_run=dry_run, as_json=as_json)


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
