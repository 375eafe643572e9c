"""`ragctl eval`."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import completion, console
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
    may_be_collection,
    opened,
    pipeline_of,
)
from ragctl.errors import UsageError
from ragctl.evaluate.variant import variant_keys
from ragctl.stores import is_server
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.embedding import Embedder
    from ragctl.evaluate.judgements import Unit
    from ragctl.evaluate.questions import Questions
    from ragctl.evaluate.sweep import Evaluation
    from ragctl.evaluate.variant import Variant
    from ragctl.pipeline import Pipeline
    from ragctl.stores.base import Collection, Store

MAX_MISSING_SHOWN = 5  # missing answers listed


def evaluate(
    questions: Annotated[
        Path | None,
        typer.Argument(
            metavar="[QUESTIONS]",
            help="JSON Lines, a BEIR folder, or TREC topics.",
            show_default=False,
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection",
            "-c",
            metavar="NAME",
            autocompletion=completion.collections,
            help="Name of the collection.",
            show_default="docs",
            rich_help_panel=panels.COMMON,
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(
            "--qrels",
            metavar="FILE",
            help="File with the relevance judgements of BEIR or TREC questions.",
            rich_help_panel=panels.COMMON,
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="hybrid|dense|sparse",
            autocompletion=completion.choices("hybrid", "dense", "sparse"),
            help="Search dense vectors, BM25 (sparse), or both.",
            rich_help_panel=panels.COMMON,
        ),
    ] = "hybrid",
    against: Annotated[
        list[str],
        typer.Option(
            "--against",
            metavar="K=V,…",
            help="A variant to compare with, such as mode=sparse or k=60,fusion=rrf.",
            rich_help_panel=panels.COMPARE,
        ),
    ] = [],  # noqa: B006 - typer's form of a repeatable option
    sweep: Annotated[
        list[str],
        typer.Option(
            "--sweep",
            metavar="K=V,V,…",
            help="Values to try, such as dim=64,128; repeated: all combinations. Keys: "
            f"{', '.join(variant_keys())}.",
            rich_help_panel=panels.COMPARE,
        ),
    ] = [],  # noqa: B006
    cuts: Annotated[
        str,
        typer.Option(
            "--k",
            metavar="N,N",
            help="Ranks at which recall is measured.",
        ),
    ] = "5,10",
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="document|chunk",
            autocompletion=completion.choices("document", "chunk"),
            help="Judge by document or by chunk.",
            show_default="chunk if every answer is located, else document",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw a plot (.png, .svg, .pdf).",
            rich_help_panel=panels.COMPARE,
        ),
    ] = None,
    make: Annotated[
        int | None,
        typer.Option(
            "--make",
            metavar="N",
            help="Draft N questions from the collection instead.",
            rich_help_panel=panels.DRAFTS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File for the questions of --make.",
            rich_help_panel=panels.DRAFTS,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", help="Random seed of --make.", rich_help_panel=panels.DRAFTS
        ),
    ] = 1,
    backend: BackendOption = [],  # noqa: B006
    base_url: BaseUrl = None,
    weights: Weights = None,
    query_model: QueryModel = None,
    pipeline: PipelineFile = None,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Measure retrieval quality and latency; compare settings.

    The figures are nDCG@10, recall and MRR. --sweep tries dimensions and other settings.
    """
    from ragctl.pipeline import DEFAULT_COLLECTION

    settings = pipeline_of(pipeline)
    name = collection or (settings.collection if settings else DEFAULT_COLLECTION)
    location = store or (settings.store if settings else None)
    variables = settings.environ if settings else environ()
    if make is not None:
        if questions is not None or sweep or against or plot:
            raise UsageError("--make drafts questions and evaluates nothing; give only --out")
        with opened(location, name, variables, read_only=True) as (_, found):
            return _make(found, make, out, seed, as_json=as_json)
    if out is not None:
        raise UsageError("--out needs --make; --plot FILE writes a plot")
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_interrupt())
        asked, variants, recall_cuts, unit = _parse(
            questions, qrels, mode, against, sweep, cuts, by
        )
        if plot is not None:
            from ragctl.evaluate.plot import check_file

            check_file(plot)
        opened_store, found = stack.enter_context(opened(location, name, variables, read_only=True))
        embedder = None
        if any(variant.mode != "sparse" for variant in variants):
            embedder = _embedder(
                found, opened_store, settings, backends(backend, base_url, weights), query_model
            )
            stack.callback(embedder.close)
        from ragctl.cli.progress import ProgressBar
        from ragctl.evaluate.sweep import evaluate as measure

        bar = stack.enter_context(ProgressBar(shown=not as_json))
        evaluation = measure(
            opened_store,
            found,
            asked,
            variants,
            embedder=embedder,
            unit=unit,
            cuts=recall_cuts,
            progress=bar,
        )
        bar.close()
        _show(evaluation, found, asked, embedder, plot, swept=bool(sweep), as_json=as_json)
    return 0


def _parse(
    questions: Path | None,
    qrels: Path | None,
    mode: str,
    against: list[str],
    sweep: list[str],
    cuts: str,
    by: str | None,
) -> "tuple[Questions, list[Variant], tuple[int, ...], Unit | None]":
    """Check the arguments before anything is opened. Raises UsageError."""
    from ragctl.evaluate.measures import check_extra
    from ragctl.evaluate.question_files import read_questions
    from ragctl.evaluate.variant import Variant, expand_sweeps, parse_variant

    check_extra()
    if questions is None:
        raise UsageError("name a file of questions, or draft some: --make 100 --out FILE")
    if may_be_collection(questions):
        raise UsageError(f"no questions at {questions}: no such file; did you mean -c {questions}?")
    if against and sweep:
        raise UsageError("give --against or --sweep, not both")
    if by not in (None, "document", "chunk"):
        raise UsageError(f"--by {by!r}: document or chunk")
    base = Variant.of(mode=mode)
    variants = expand_sweeps(sweep, base) if sweep else [base]
    for text in against:
        variant = parse_variant(text, base, "against")
        if variant in variants:
            raise UsageError(f"--against {text}: the same as {variant}; nothing to compare")
        variants.append(variant)
    return read_questions(questions, qrels), variants, _parse_cuts(cuts), by  # type: ignore[return-value]


def _parse_cuts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,2}|1000", part) for part in parts):
        raise UsageError(f"--k {text}: write whole numbers from 1 to 1000, separated by commas")
    return tuple(sorted({int(part) for part in parts}))


def _embedder(
    found: "Collection",
    store: "Store",
    settings: "Pipeline | None",
    chosen: "tuple[BackendConfig, ...]",
    query_model: str | None,
) -> "Embedder":
    from ragctl.embedding.catalogs import user_catalog
    from ragctl.hosts.retry import Patience
    from ragctl.search.query import embedder_of, query_backends

    variables = settings.environ if settings else environ()
    patience = settings.embedding.patience if settings else None
    if settings:
        query_model = query_model or settings.embedding.query_model
        chosen = chosen or query_backends(settings.embedding, settings.catalog, query_model)
    return embedder_of(
        found,
        backends=chosen,
        query_model=query_model,
        catalog=settings.catalog if settings else user_catalog(variables),
        environ=variables,
        remote=is_server(store.location),
        threshold=settings.embedding.canary if settings else None,
        patience=Patience(total=patience) if patience is not None else Patience(),
        notify=console.print_wait,
    )


def _show(
    evaluation: "Evaluation",
    found: "Collection",
    asked: "Questions",
    embedder: "Embedder | None",
    plot: Path | None,
    *,
    swept: bool,
    as_json: bool,
) -> None:
    from ragctl.evaluate import output
    from ragctl.evaluate import plot as plots

    bill = embedder.usage if embedder else None
    if plot is not None:
        plots.draw_plot(plots.plot_points(evaluation), plot, output.title(evaluation, found))
    _warn_of_missing(evaluation, len(asked.questions), asked.unjudged)
    if as_json:
        total = len(asked.questions)
        console.print_json(output.to_json(evaluation, found, questions=total, bill=bill))
    else:
        for line in output.header_lines(evaluation, found, bill):
            console.say(one_line(line))
        for rows in output.tables(evaluation):
            console.say("")
            console.table(rows)
        if swept:
            console.say("\n" + plots.as_text(plots.plot_points(evaluation), console.width()))
        if plot is not None:
            console.say(f"\nplot: {plot}")


def _warn_of_missing(evaluation: "Evaluation", total: int, unjudged: int) -> None:
    missing = evaluation.judgements.missing
    for each in missing[:MAX_MISSING_SHOWN]:
        console.warn(f"question {each.question}: {each.source}: {each.why}", event="missing")
    if len(missing) > MAX_MISSING_SHOWN:
        console.warn(
            f"… and {len(missing) - MAX_MISSING_SHOWN:,} more (--json lists all)", event="missing"
        )
    lost = len(evaluation.judgements.unanswerable)
    if lost:
        have, are = ("has", "is") if lost == 1 else ("have", "are")
        console.warn(
            f"{lost:,} of {counted(total, 'question')} {have} no answer in this collection and "
            f"{are} left out of the figures",
            event="missing",
        )
    if unjudged:
        console.warn(
            f"left out: {counted(unjudged, 'question')} without judgements",
            event="unjudged",
        )


def _make(found: "Collection", count: int, out: Path | None, seed: int, *, as_json: bool) -> int:
    from ragctl.evaluate import drafting

    if out is None:
        raise UsageError("--make needs --out FILE")
    rows = drafting.draft_questions(found, count, seed)
    drafting.write_questions(rows, out)
    languages: dict[str, int] = {}
    for row in rows:
        languages[str(row["lang"])] = languages.get(str(row["lang"]), 0) + 1
    if as_json:
        console.print_json(
            {
                "file": str(out),
                "questions": len(rows),
                "languages": dict(languages),
                "says": drafting.SHOW,
                "does_not_say": drafting.DO_NOT_SHOW,
            }
        )
        return 0
    counts = ", ".join(f"{language} {number:,}" for language, number in languages.items())
    fewer = f" (the collection has no more than these of {count:,})" if len(rows) < count else ""
    console.say(f"{counted(len(rows), 'question')} in {out}{fewer}: {counts}")
    console.say(f"\n{drafting.SHOW}\n\n{drafting.DO_NOT_SHOW}")
    return 0
