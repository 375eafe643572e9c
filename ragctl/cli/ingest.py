"""`ragctl ingest` and `ragctl run`."""

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ragctl.cli import console
from ragctl.cli.ending import ending_of
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
    from ragctl.cli.progress import Bar
    from ragctl.index.report import Report
    from ragctl.index.stop import Stop
    from ragctl.pipeline import Pipeline
    from ragctl.telling import Outcome

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done and sent; write and send nothing."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")
]
_FAILURES_SHOWN = 20
_LONG = ("collection", "identity", "failures", "warnings")  # not in the log's summary


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
    quiet: Quiet = False,
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
    return _carry_out(pipeline, dry_run=dry_run, quiet=quiet, as_json=as_json)


def run(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Carry out a pipeline file: the settings of `ingest`, written down once."""
    from ragctl.pipeline import read_pipeline

    return _carry_out(read_pipeline(file, environ()), dry_run=dry_run, quiet=quiet, as_json=as_json)


def _carry_out(pipeline: "Pipeline", *, dry_run: bool, quiet: bool, as_json: bool) -> int:
    from ragctl.cli.progress import Bar
    from ragctl.index.stop import Stop

    console.about(collection=pipeline.collection)
    if quiet:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)  # of libraries
    bar = Bar(shown=sys.stderr.isatty() and not (as_json or quiet or console.logs_json()))
    stop = Stop()
    with _signals(stop):
        outcome, error = _ended(pipeline, stop, bar, dry_run=dry_run)
        try:
            _print(outcome, dry_run=dry_run, quiet=quiet, as_json=as_json)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads it; how the run ended stands
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the program ends
        if not dry_run:
            _tell(outcome, pipeline)
    if error is not None:
        raise error
    return outcome.exit_code


def _ended(
    pipeline: "Pipeline", stop: "Stop", bar: "Bar", *, dry_run: bool
) -> tuple["Outcome", BaseException | None]:
    """Carry a pipeline out; how it ended, and the error that ended it."""
    from ragctl.index.run import Run
    from ragctl.telling import Outcome

    job, error, code, message = None, None, 0, None
    started, clock = time.time(), time.monotonic()
    try:
        with stop.waiting():
            opened = open_store(pipeline.store, pipeline.environ)
        with closing(opened) as store, closing(bar):
            job = Run(
                pipeline, store, pipeline.environ, stop=stop, progress=bar, planned=bar.planned
            )
            report = job.estimate() if dry_run else job.ingest()
        if report.failures:
            code = DocumentError.exit_code
    except (Exception, KeyboardInterrupt) as failure:  # noqa: BLE001 - raised again by the caller
        ending = ending_of(failure)
        error, code, message = failure, ending.exit_code, ending.message
    seconds = time.monotonic() - clock
    told = job.report if job else None
    return Outcome(pipeline.collection, started, seconds, code, message, told), error


def _tell(outcome: "Outcome", pipeline: "Pipeline") -> None:
    """Tell whatever watches the run. Ctrl-C leaves off: it cannot change how the run ended."""
    from ragctl.telling import tell

    def warn(text: str) -> None:
        console.warn(f"warning: {text}", event="untold", message=text)

    try:
        tell(outcome, pipeline.reporting, warn)
    except KeyboardInterrupt:
        warn("interrupted while telling how the run ended")


@contextmanager
def _signals(stop: "Stop") -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): finish what is in flight. Second: at once."""

    def handle(number: int, frame: object) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        console.warn("finishing what is in flight; once more to drop it", event="stopping")
        stop.request()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _print(outcome: "Outcome", *, dry_run: bool, quiet: bool, as_json: bool) -> None:
    """What people see of a run. Quiet: only what is wrong, and then on standard error."""
    report = outcome.report
    if report is not None:
        _print_notes(report, quiet=quiet)
    if as_json:
        console.print_json(outcome.to_json())
    elif report is not None:
        wrong = outcome.exit_code != 0 or bool(report.failures)
        ended = outcome.error is None
        line = _summary(report, dry_run=dry_run, ended=ended)
        if quiet and not wrong:
            return
        if console.logs_json():
            body = outcome.to_json()
            told: Any = {key: value for key, value in body.items() if key not in _LONG}
            console.warn(line, level="error" if wrong else "info", event="summary", **told)
        elif quiet:
            console.warn(line)
        else:
            console.say(line)
            for account in _accounts(report):
                console.say(account)


def _print_notes(report: "Report", *, quiet: bool) -> None:
    shown = len(report.failures) if console.logs_json() else _FAILURES_SHOWN
    for failure in report.failures[:shown]:
        console.warn(
            f"failed: {failure.source}: {failure.error}",
            level="error",
            event="failed",
            message=failure.error,
            source=failure.source,
        )
    if len(report.failures) > shown:
        console.warn(f"failed: {len(report.failures) - shown} more (--json lists all)")
    for warning in report.warnings if not quiet else ():
        console.warn(
            f"warning: {warning.source}: {warning.error}",
            message=warning.error,
            source=warning.source,
        )


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
    if report.skipped:
        parts.append(f"{report.skipped:,} files of unknown type skipped")
    if report.elsewhere:
        parts.append(f"{report.elsewhere:,} documents of other folders kept")
    head = f"{report.collection}: " + ("" if ended else "ended early: ")
    if dry_run:
        head += "would be: "
    return f"{head}{'; '.join(parts)}; {report.seconds:.1f} s"
