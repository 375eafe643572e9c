"""`ragctl search`."""

import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragctl.cli import completion, console, hits
from ragctl.cli import help as panels
from ragctl.cli.ending import sigterm_as_interrupt
from ragctl.cli.options import (
    AsJson,
    BackendOption,
    BaseUrl,
    PipelineFile,
    QueryModel,
    StoreLocation,
    Weights,
    backends,
    environ,
)
from ragctl.cli.others import default_note
from ragctl.cli.search_flags import with_search_flags
from ragctl.errors import DocumentError, UsageError
from ragctl.search.foreign_options import ForeignOptions
from ragctl.search.options import SearchOptions
from ragctl.text import counted

if TYPE_CHECKING:
    from ragctl.search.batch import Tally
    from ragctl.search.library import Searcher


def _option(name: str, metavar: str, text: str, panel: str, default: str | bool = False) -> Any:
    return typer.Option(
        *name.split(),
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=default,
        autocompletion=completion.completer(name.split()[0].removeprefix("--")),
    )


@with_search_flags
def search(
    words: Annotated[
        list[str], typer.Argument(metavar="[QUERY]...", help="The question, in one or more words.")
    ] = [],  # noqa: B006 - typer's form of a repeatable argument
    collection: Annotated[
        str | None,
        _option("--collection -c", "NAME", "Name of the collection.", panels.COMMON, "docs"),
    ] = None,
    *,
    options: SearchOptions,
    page: Annotated[
        int | None,
        _option(
            "--page", "N", "The Nth page of --limit hits, instead of --offset.", panels.RESULTS
        ),
    ] = None,
    queries: Annotated[
        str | None,
        _option(
            "--queries",
            "FILE",
            "File with one question per line, as JSONL or plain text; - is standard input.",
            panels.QUESTIONS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        _option(
            "--out", "FILE", "Write the answers to --queries to a file, as JSONL.", panels.QUESTIONS
        ),
    ] = None,
    trec: Annotated[
        Path | None,
        _option("--trec", "FILE", "Also write the rankings as a TREC run.", panels.QUESTIONS),
    ] = None,
    backend: BackendOption = [],  # noqa: B006 - typer's form of a repeatable option
    base_url: BaseUrl = None,
    weights: Weights = None,
    query_model: QueryModel = None,
    pipeline: PipelineFile = None,
    store: StoreLocation = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Print whole texts on a terminal, not excerpts.",
            rich_help_panel=panels.RESULTS,
            show_default=False,
        ),
    ] = False,
    as_json: AsJson = False,
    foreign: ForeignOptions,
) -> int:
    """Search a collection with the model that made it.

    Scores of a hybrid search reflect ranks, not similarity.
    """
    from ragctl.search.library import open_collection

    question = " ".join(words)
    if bool(words) == (queries is not None):
        raise UsageError("give a question, or a file of questions with --queries")
    if queries is None and (out or trec):
        raise UsageError("--out and --trec need --queries")
    options = foreign.adapt(_on_page(options, page))
    with ExitStack() as stack:
        searcher = stack.enter_context(
            open_collection(
                collection,
                store=store,
                pipeline=pipeline,
                environ=environ(),
                backends=backends(backend, base_url, weights),
                query_model=query_model,
                foreign=foreign,
                notify=console.print_wait,
            )
        )
        if queries is not None:
            return _answer_file(searcher, queries, options, out=out, trec=trec, as_json=as_json)
        (outcome,) = searcher.answers([question], options)
        is_default = collection is None and pipeline is None
        note = default_note(searcher.location, searcher.name) if is_default else ""
    if not isinstance(outcome, list):
        raise outcome
    if as_json:
        from ragctl.search.batch import hit_to_json

        console.print_json(
            {
                "query": question,
                "collection": searcher.name,
                "hits": [hit_to_json(hit) for hit in outcome],
            }
        )
        return 0
    if console.is_terminal() and not full and outcome:
        by_rank = options.mode == "hybrid" and options.fusion == "rrf" and options.rerank is None
        widened = options.context or options.expand is not None
        notes = (
            hits.EXCERPTS if widened else "",
            hits.RANK_SCORES if by_rank else "",
            note,
        )
        hits.print_excerpts(outcome, question, notes)
        return 0
    if outcome:
        hits.print_full(outcome, question)
    else:
        console.warn("no hits")
    if note:
        console.warn(note, level="info", event="collection")
    return 0


def _on_page(options: SearchOptions, page: int | None) -> SearchOptions:
    """Return the options with the offset of a page. Raises UsageError."""
    if page is None:
        return options
    if options.offset:
        raise UsageError("--page and --offset cannot be combined")
    if page < 1:
        raise UsageError(f"--page {page}: pages are numbered from 1")
    return replace(options, offset=(page - 1) * options.limit)


def _answer_file(
    searcher: "Searcher",
    queries: str,
    options: SearchOptions,
    *,
    out: Path | None,
    trec: Path | None,
    as_json: bool,
) -> int:
    """Write the answers to a file or to standard output, then print a summary line."""
    from ragctl.cli.progress import ProgressBar
    from ragctl.search.batch import answer_all, output_file, read_questions

    if as_json and out is None:
        raise UsageError("--queries already prints JSON lines; with --out, --json is the summary")
    _check_different(("--queries", queries), ("--out", out), ("--trec", trec))
    if options.rerank is not None:
        searcher.reranker(options.rerank, options.rerank_url)  # fails before a file is opened
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_interrupt())
        file = stack.enter_context(_open_questions(queries))
        shown = out is not None or not sys.stdout.isatty()
        bar = stack.enter_context(ProgressBar(shown=shown))
        bar.begin("search", "question")
        tally = answer_all(
            searcher,
            read_questions(file),
            options,
            out=sys.stdout if out is None else stack.enter_context(output_file(out)),
            trec=None if trec is None else stack.enter_context(output_file(trec)),
            on_failure=lambda name, reason: console.warn(
                f"failed: {name}: {reason}", level="error", event="failed", message=reason
            ),
            on_progress=bar.advance,
        )
    _print_summary(searcher, tally, time.monotonic() - started, out=out, as_json=as_json)
    return DocumentError.exit_code if tally.failed else 0


def _check_different(*files: tuple[str, str | Path | None]) -> None:
    """Raise UsageError if two options name the same file, which would be overwritten."""
    seen: dict[Path, str] = {}
    for option, name in files:
        if name is None or name == "-":
            continue
        path = Path(name).resolve()
        if path in seen and (path.is_file() or not path.exists()):
            raise UsageError(f"{seen[path]} and {option} name the same file: {name}")
        seen[path] = option


def _open_questions(queries: str) -> Any:
    if queries == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(queries).open("rb")
    except OSError as error:
        raise UsageError(f"{queries}: cannot be read ({error.strerror})") from error


def _print_summary(
    searcher: "Searcher", tally: "Tally", seconds: float, *, out: Path | None, as_json: bool
) -> None:
    if as_json:
        console.print_json(
            {
                "collection": searcher.name,
                "questions": tally.questions,
                "answered": tally.answered,
                "failed": tally.failed,
                "hits": tally.hits,
                "seconds": round(seconds, 3),
            }
        )
        return
    failed = f", {tally.failed:,} failed" if tally.failed else ""
    line = (
        f"{searcher.name}: {counted(tally.answered, 'question')} answered{failed}; "
        f"{counted(tally.hits, 'hit')}; "
        f"{seconds:.1f} s"
    )
    if out is None:
        console.warn(line, level="info", event="summary")
    else:
        console.say(line)
