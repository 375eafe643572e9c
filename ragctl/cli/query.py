"""`ragctl search`."""

import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ragctl.cli import console, hits
from ragctl.cli.ending import sigterm_as_interrupt
from ragctl.cli.options import (
    AsJson,
    BackendOption,
    BaseUrl,
    PipelineFile,
    StoreLocation,
    Weights,
    backends,
    environ,
)
from ragctl.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from ragctl.search import Reranker, SearchOptions
    from ragctl.search.library import Searcher
    from ragctl.search.many import Tally


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(*name.split(), metavar=metavar, help=text)


def _flag(name: str, text: str) -> Any:
    return typer.Option(name, help=text)


def search(
    question: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="What you want to know.")
    ] = None,
    collection: Annotated[str | None, _option("--collection -c", "NAME", "[docs]")] = None,
    limit: Annotated[int, _option("--limit -n", "N", "Hits; with --group, documents.")] = 5,
    mode: Annotated[
        str, _option("--mode", "hybrid|dense|sparse", "Which sides to ask.")
    ] = "hybrid",
    where: Annotated[
        list[str],
        _option("--where", "CONDITION", 'Only where it holds: "team=ops and year>=2024".'),
    ] = [],  # noqa: B006 - typer's way to say a repeated option
    context: Annotated[
        int, _option("--context", "N", "Neighbouring chunks on either side of a hit.")
    ] = 0,
    expand: Annotated[
        str | None, _option("--expand", "section|page|document", "Show all of what a hit is in.")
    ] = None,
    group: Annotated[
        int | None, _option("--group", "N", "Documents, with their best N chunks each.")
    ] = None,
    rerank: Annotated[
        str | None,
        _option(
            "--rerank",
            "NAME[:MODEL]",
            "Let a model judge the hits: sentences, cross-encoder, jina, cohere, voyage, tei, "
            "vllm, llama.cpp, jina-on-prem, or one of your own.",
        ),
    ] = None,
    rerank_url: Annotated[
        str | None, _option("--rerank-url", "URL", "Where the reranker is, if not where usual.")
    ] = None,
    candidates: Annotated[
        int | None,
        _option("--candidates", "N", "Hits that the reranker judges [50] and each side offers."),
    ] = None,
    fusion: Annotated[
        str, _option("--fusion", "rrf|dbsf", "Join both sides by ranks, or by scores.")
    ] = "rrf",
    k: Annotated[
        int | None, _option("--k", "N", "Of rrf: how little first ranks stand out [2].")
    ] = None,
    dense_weight: Annotated[
        float | None, _option("--dense-weight", "W", "Of rrf: the weight of meaning [the model's].")
    ] = None,
    sparse_weight: Annotated[
        float | None, _option("--sparse-weight", "W", "Of rrf: the weight of words [1].")
    ] = None,
    diversity: Annotated[
        float | None, _option("--diversity", "0..1", "Variety among the hits of meaning (MMR).")
    ] = None,
    min_score: Annotated[
        float | None, _option("--min-score", "X", "Least score, with --mode dense or sparse.")
    ] = None,
    exact: Annotated[bool, _flag("--exact", "Search without an approximate index.")] = False,
    ef: Annotated[
        int | None, _option("--ef", "N", "Candidates kept while an approximate index is walked.")
    ] = None,
    rescore: Annotated[
        bool | None,
        typer.Option(
            "--rescore/--no-rescore",
            help="Quantised: score the best again with the whole vectors [yes].",
        ),
    ] = None,
    oversampling: Annotated[
        float | None,
        _option("--oversampling", "X", "Quantised: so many times as many are scored again [2]."),
    ] = None,
    offset: Annotated[int, _option("--offset", "N", "Leave out the first N hits.")] = 0,
    page: Annotated[int | None, _option("--page", "N", "The Nth page of --limit hits.")] = None,
    queries: Annotated[
        str | None,
        _option("--queries", "FILE", "Questions, one a line, as JSONL or text; - is the input."),
    ] = None,
    out: Annotated[
        Path | None, _option("--out", "FILE", "Where the answers to --queries go, as JSONL.")
    ] = None,
    trec: Annotated[
        Path | None, _option("--trec", "FILE", "Also write their rankings as a TREC run.")
    ] = None,
    backend: BackendOption = [],  # noqa: B006
    base_url: BaseUrl = None,
    weights: Weights = None,
    pipeline: PipelineFile = None,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Search a collection with the model that made it; the best passages come first."""
    from ragctl import search as room
    from ragctl.search.library import open_collection

    if (question is None) == (queries is None):
        raise UsageError("give a question, or a file of them with --queries")
    if queries is None and (out or trec):
        raise UsageError("--out and --trec go with --queries")
    if rerank is None and rerank_url is not None:
        raise UsageError("--rerank-url goes with --rerank")
    ask = room.SearchOptions(
        limit=limit,
        mode=cast(room.Mode, mode),
        where=room.parse_where(where),
        offset=_offset(offset, page, limit),
        fusion=cast(room.FusionKind, fusion),
        k=k,
        dense_weight=dense_weight,
        sparse_weight=sparse_weight,
        exact=exact,
        ef=ef,
        diversity=diversity,
        min_score=min_score,
        group=group,
        context=context,
        expand=cast(room.Expand | None, expand),
        candidates=candidates,
        rescore=rescore,
        oversampling=oversampling,
    )
    with ExitStack() as stack:
        searcher = stack.enter_context(
            open_collection(
                collection,
                store=store,
                pipeline=pipeline,
                environ=environ(),
                backends=backends(backend, base_url, weights),
            )
        )
        judge = searcher.reranker(rerank, rerank_url)
        if queries is not None:
            return _answer(searcher, queries, ask, judge, out=out, trec=trec, as_json=as_json)
        assert question is not None
        (found,) = searcher.answers([question], ask, judge)
    if not isinstance(found, list):
        raise found
    if as_json:
        from ragctl.search.many import hit_json

        console.print_json(
            {
                "query": question,
                "collection": searcher.name,
                "hits": [hit_json(hit) for hit in found],
            }
        )
    elif not found:
        console.warn("no hits")
    elif console.is_terminal():
        hits.show(found, question)
    else:
        hits.say(found)
    return 0


def _offset(offset: int, page: int | None, limit: int) -> int:
    if page is None:
        return offset
    if offset:
        raise UsageError("--page and --offset say the same: use one of them")
    if page < 1:
        raise UsageError(f"--page {page}: pages count from 1")
    return (page - 1) * limit


def _answer(
    searcher: "Searcher",
    queries: str,
    ask: "SearchOptions",
    judge: "Reranker | None",
    *,
    out: Path | None,
    trec: Path | None,
    as_json: bool,
) -> int:
    """Many questions: answers to a file or standard output, and one line about them."""
    from ragctl.search.many import answer_all, read_questions, written

    if as_json and out is None:
        raise UsageError("--queries writes JSON lines already; --json is their summary, with --out")
    _check_apart(("--queries", queries), ("--out", out), ("--trec", trec))
    since = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_interrupt())
        file = stack.enter_context(_opened(queries))
        bar = stack.enter_context(_Bar(shown=out is not None and sys.stderr.isatty()))
        tally = answer_all(
            searcher,
            read_questions(file),
            ask,
            reranker=judge,
            out=sys.stdout if out is None else stack.enter_context(written(out)),
            trec=None if trec is None else stack.enter_context(written(trec)),
            failed=lambda name, reason: console.warn(
                f"failed: {name}: {reason}", level="error", event="failed", message=reason
            ),
            done=bar.update,
        )
    _tell(searcher, tally, time.monotonic() - since, out=out, as_json=as_json)
    return DocumentError.exit_code if tally.failed else 0


def _check_apart(*files: tuple[str, str | Path | None]) -> None:
    """Raises UsageError where two options name one file, which would be lost."""
    seen: dict[Path, str] = {}
    for option, name in files:
        if name is None or name == "-":
            continue
        path = Path(name).resolve()
        if path in seen and (path.is_file() or not path.exists()):
            raise UsageError(f"{seen[path]} and {option} name the same file: {name}")
        seen[path] = option


def _opened(queries: str) -> Any:
    if queries == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(queries).open("rb")
    except OSError as error:
        raise UsageError(f"{queries}: cannot be read ({error.strerror})") from error


def _tell(
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
        f"{searcher.name}: {tally.answered:,} questions answered{failed}; {tally.hits:,} hits; "
        f"{seconds:.1f} s"
    )
    if out is None:
        console.warn(line, level="info", event="summary")
    else:
        console.say(line)


class _Bar:
    """Progress over questions on a terminal; nothing where it is not shown."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._bar: Any = None

    def __enter__(self) -> "_Bar":
        if self._shown:
            from tqdm import tqdm

            self._bar = tqdm(unit="question", dynamic_ncols=True, leave=False)
        return self

    def update(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
