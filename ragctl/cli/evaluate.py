"""`ragctl eval`."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
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
    opened,
    pipeline_of,
)
from ragctl.errors import UsageError
from ragctl.stores import is_server
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.embedding import Embedder
    from ragctl.evaluate.judging import By
    from ragctl.evaluate.questions import Questions
    from ragctl.evaluate.setting import Setting
    from ragctl.evaluate.sweep import Evaluation
    from ragctl.pipeline import Pipeline
    from ragctl.stores.base import Collection, Store

_SHOWN = 5  # missing answers


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
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="[docs]")
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", metavar="FILE", help="Judgements of BEIR or TREC questions."),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="hybrid|dense|sparse", help="Which sides to ask.")
    ] = "hybrid",
    against: Annotated[
        list[str],
        typer.Option(
            "--against", metavar="K=V,…", help="A setting to compare with: mode=sparse,k=60."
        ),
    ] = [],  # noqa: B006 - typer's way to say a repeated option
    sweep: Annotated[
        list[str],
        typer.Option(
            "--sweep",
            metavar="K=V,V,…",
            help="Values to try, as dim=64,128; several: all combinations. Keys: dim, mode, "
            "fusion, weight, k, prefetch, quantization, rescore, oversampling.",
        ),
    ] = [],  # noqa: B006
    cuts: Annotated[str, typer.Option("--k", metavar="N,N", help="Where recall is cut.")] = "5,10",
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="document|chunk",
            help="What counts as found. Default: chunk where the questions name places.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="A picture (.png, .svg, .pdf).")
    ] = None,
    make: Annotated[
        int | None,
        typer.Option("--make", metavar="N", help="Draft N questions from the collection instead."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where --make writes them.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of --make.")] = 1,
    backend: BackendOption = [],  # noqa: B006
    base_url: BaseUrl = None,
    weights: Weights = None,
    pipeline: PipelineFile = None,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Measure retrieval: nDCG@10, recall, MRR, latency; compare settings, sweep dimensions."""
    from ragctl.pipeline import COLLECTION

    told = pipeline_of(pipeline)
    name = collection or (told.collection if told else COLLECTION)
    location = store or (told.store if told else None)
    variables = told.environ if told else environ()
    if make is not None:
        if questions is not None or sweep or against or plot:
            raise UsageError("--make drafts questions and evaluates nothing; give --out alone")
        with opened(location, name, variables) as (_, found):
            return _make(found, make, out, seed, as_json=as_json)
    if out is not None:
        raise UsageError("--out goes with --make; --plot FILE writes a picture")
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_interrupt())
        asked, settings, recall, unit = _wanted(questions, qrels, mode, against, sweep, cuts, by)
        if plot is not None:
            from ragctl.evaluate.plot import check_file

            check_file(plot)
        place, found = stack.enter_context(opened(location, name, variables))
        embedder = None
        if any(setting.mode != "sparse" for setting in settings):
            embedder = _embedder(found, place, told, backends(backend, base_url, weights))
            stack.callback(embedder.close)
        from ragctl.evaluate.sweep import evaluate as measure

        evaluation = measure(
            place,
            found,
            asked,
            settings,
            embedder=embedder,
            by=unit,
            cuts=recall,
            told=_tell if sys.stderr.isatty() and not as_json else lambda _: None,
        )
        _show(evaluation, found, asked, embedder, plot, swept=bool(sweep), as_json=as_json)
    return 0


def _wanted(
    questions: Path | None,
    qrels: Path | None,
    mode: str,
    against: list[str],
    sweep: list[str],
    cuts: str,
    by: str | None,
) -> "tuple[Questions, list[Setting], tuple[int, ...], By | None]":
    """What the flags say, checked before anything is opened. Raises UsageError."""
    from ragctl.evaluate.measures import check_extra
    from ragctl.evaluate.questions import read_questions
    from ragctl.evaluate.setting import Setting, parse, swept

    check_extra()
    if questions is None:
        raise UsageError("name a file of questions, or draft some: --make 100 --out FILE")
    if against and sweep:
        raise UsageError("give --against or --sweep, not both")
    if by not in (None, "document", "chunk"):
        raise UsageError(f"--by {by!r}: document or chunk")
    base = parse(f"mode={mode}", Setting(), "--mode").plain()
    settings = swept(sweep, base) if sweep else [base]
    for text in against:
        setting = parse(text, base, "--against").plain()
        if setting in settings:
            raise UsageError(f"--against {text}: the same as {setting}; nothing to compare")
        settings.append(setting)
    return read_questions(questions, qrels), settings, _cuts(cuts), by  # type: ignore[return-value]


def _cuts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,2}|1000", part) for part in parts):
        raise UsageError(f"--k {text}: whole numbers from 1 to 1000, with commas between")
    return tuple(sorted({int(part) for part in parts}))


def _embedder(
    found: "Collection", place: "Store", told: "Pipeline | None", wanted: "tuple[object, ...]"
) -> "Embedder":
    from ragctl.embedding.catalogs import user_catalog
    from ragctl.search.query import embedder_of

    variables = told.environ if told else environ()
    return embedder_of(
        found,
        backends=wanted or (told.embedding.backends if told else ()),  # type: ignore[arg-type]
        catalog=told.catalog if told else user_catalog(variables),
        environ=variables,
        remote=is_server(place.location),
        threshold=told.embedding.canary if told else None,
    )


def _tell(text: str) -> None:
    console.warn(text, level="info", event="evaluating")


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
    from ragctl.evaluate import plot as plots
    from ragctl.evaluate import report

    bill = embedder.usage if embedder else None
    if plot is not None:
        plots.draw(plots.spots(evaluation), plot, report.title(evaluation, found))
    _warn_of_missing(evaluation, len(asked.asked), asked.unjudged)
    if as_json:
        total = len(asked.asked)
        console.print_json(report.to_json(evaluation, found, questions=total, bill=bill))
    else:
        for line in report.head(evaluation, found, bill):
            console.say(one_line(line))
        for rows in report.tables(evaluation):
            console.say("")
            console.table(rows)
        if swept:
            console.say("\n" + plots.as_text(plots.spots(evaluation)))
        if plot is not None:
            console.say(f"\nplot: {plot}")


def _warn_of_missing(evaluation: "Evaluation", total: int, unjudged: int) -> None:
    missing = evaluation.judged.missing
    for each in missing[:_SHOWN]:
        console.warn(f"question {each.question}: {each.source}: {each.why}", event="missing")
    if len(missing) > _SHOWN:
        console.warn(f"… and {len(missing) - _SHOWN:,} more (--json lists all)", event="missing")
    lost = len(evaluation.judged.unanswerable)
    if lost:
        console.warn(
            f"{lost:,} of {total:,} questions have no answer in this collection and are left out "
            "of the figures",
            event="missing",
        )
    if unjudged:
        console.warn(f"{unjudged:,} questions without judgements are not asked", event="unjudged")


def _make(found: "Collection", count: int, out: Path | None, seed: int, *, as_json: bool) -> int:
    from ragctl.evaluate import make

    if out is None:
        raise UsageError("--make needs --out FILE, where the questions are written")
    rows = make.make(found, count, seed)
    make.write(rows, out)
    languages: dict[str, int] = {}
    for row in rows:
        languages[str(row["lang"])] = languages.get(str(row["lang"]), 0) + 1
    if as_json:
        console.print_json(
            {
                "file": str(out),
                "questions": len(rows),
                "languages": dict(languages),
                "says": make.CAN,
                "does_not_say": make.CANNOT,
            }
        )
        return 0
    told = ", ".join(f"{language} {number:,}" for language, number in languages.items())
    fewer = f" (the collection has no more than these of {count:,})" if len(rows) < count else ""
    console.say(f"{len(rows):,} questions in {out}{fewer}: {told}")
    console.say(f"\n{make.CAN}\n\n{make.CANNOT}")
    return 0
