"""`ragctl migrate`, `rollback` and `prune-generations`."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragctl.cli import completion, console
from ragctl.cli import help as panels
from ragctl.cli.flags import pipeline_flags
from ragctl.cli.options import AsJson, StoreLocation, environ, open_store
from ragctl.cli.running import signals
from ragctl.cli.summary import dollars, print_notes
from ragctl.errors import DocumentError, UsageError
from ragctl.pipeline.pipeline import SOURCE_KEYS, STORED_KEYS
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.pipeline import Pipeline
    from ragctl.transfer.migration_report import MigrationReport

NOT_SWITCHED_EXIT_CODE = 10
"""Exit code when the new generation is complete, but not better."""

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=completion.collections, help="Name of the collection."
    ),
]
Keep = Annotated[
    int,
    typer.Option(
        "--keep",
        metavar="N",
        min=0,
        help="Earlier generations to keep.",
        rich_help_panel=panels.COMMON,
    ),
]


@pipeline_flags(*STORED_KEYS, *SOURCE_KEYS, "budget")
def migrate(
    flags: Mapping[str, Any],
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PIPELINE.toml",
            autocompletion=completion.collections,
            help="The collection, or a pipeline file with its new settings.",
        ),
    ],
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="PATH",
            rich_help_panel=panels.DOCUMENTS,
            help="Documents of the collection, for a change that reads them again: chunk size, "
            "overlap, BM25 languages. All of them must be named.",
        ),
    ] = [],  # noqa: B006 - a repeated option of typer
    only_if_better: Annotated[
        Path | None,
        typer.Option(
            "--only-if-better",
            metavar="QUESTIONS",
            rich_help_panel=panels.COMMON,
            help="Switch only if nDCG@10 on these questions is significantly higher.",
        ),
    ] = None,
    keep: Keep = 1,
    embed_again: Annotated[
        bool,
        typer.Option(
            "--embed-again",
            rich_help_panel=panels.MODEL,
            help="Embed the texts again: with the same model, or instead of cutting vectors.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show tokens, price, time and disk; change nothing.",
            rich_help_panel=panels.COMMON,
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Change model, dimension, chunk size or quantisation.

    A new generation is made from the stored chunk texts while searches and runs
    go on; then the name is switched to it. A smaller dimension of the same model
    is cut from the stored vectors: no document text is sent.
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.transfer.migrate import Migration

    pipeline, has_sources = _pipeline(target, flags, source)
    bar = ProgressBar(shown=not as_json)
    with closing(open_store(pipeline.store, pipeline.environ)) as store, closing(bar):
        judge = None
        if only_if_better is not None:
            from ragctl.evaluate.question_files import read_questions
            from ragctl.transfer.judge import Judge

            judge = Judge(
                store,
                read_questions(only_if_better, None),
                pipeline.environ,
                pipeline.catalog,
                notify=console.print_wait,
                progress=bar,
            )
        migration = Migration(
            pipeline,
            store,
            pipeline.environ,
            has_sources=has_sources,
            judge=judge,
            keep=keep,
            embed_again=embed_again,
            progress=bar,
            notify=console.print_wait,
        )
        with signals(migration.cancellation):
            result = migration.dry_run() if dry_run else migration.run()
    if as_json:
        console.print_json(result.to_json())
    else:
        print_notes(result.report)
        console.say(one_line(_summary(result, dry_run=dry_run)))
    if result.report.failures:
        return DocumentError.exit_code
    if result.verdict is not None and not result.verdict.accepted:
        return NOT_SWITCHED_EXIT_CODE
    return 0


def rollback(
    name: Name,
    to: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="N", help="Number of the generation.", show_default="the previous"
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until a run on the collection has ended.")
    ] = False,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Switch a collection back to its previous generation.

    The next run brings it up to date with the sources.
    """
    from ragctl.transfer.generations import rollback as switch_back

    with closing(open_store(store)) as opened:
        before, after = switch_back(
            opened, name, to=to, patience=math.inf if wait else 0.0, waiting=console.print_wait
        )
    if as_json:
        console.print_json({"collection": name, "from": before, "to": after})
    else:
        console.say(f"{name}: generation {after} is current (it was {before})")
    return 0


def prune_generations(
    name: Name,
    keep: Keep = 1,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Delete the generations that are not current."""
    from ragctl.transfer.generations import prune_generations as prune

    with closing(open_store(store)) as opened:
        if not opened.generations(name):
            raise UsageError(f"no collection {name!r} in {opened.location}")
        deleted = prune(opened, name, keep=keep)
        left = [each.number for each in opened.generations(name)]
    if as_json:
        console.print_json({"collection": name, "deleted": list(deleted), "left": list(left)})
    else:
        gone = ", ".join(map(str, deleted)) or "none"
        console.say(f"{name}: generations deleted: {gone}; left: {', '.join(map(str, left))}")
    return 0


def _pipeline(
    target: str, flags: Mapping[str, Any], paths: Sequence[str]
) -> "tuple[Pipeline, bool]":
    """Return the settings wanted, and whether their sources are those of the collection."""
    from ragctl.pipeline import from_flags, read_pipeline
    from ragctl.pipeline.globs import named_source

    patterns = flags.get("sources", {})
    if target.endswith(".toml") or Path(target).is_file():
        if paths or patterns:
            raise UsageError(f"{target} names the sources; leave --source and its patterns out")
        return read_pipeline(Path(target), environ(), flags), True
    if patterns and not paths:
        raise UsageError("--include and --exclude need --source")
    sources = [{**patterns, **named_source(path)} for path in paths or ["."]]
    return from_flags({**flags, "collection": target, "sources": sources}, environ()), bool(paths)


def _summary(result: "MigrationReport", *, dry_run: bool) -> str:
    report, before, after = result.report, result.before, result.after
    change = f"{before.identity.model} {before.dim}d → {after.identity.model} {after.dim}d"
    if result.is_empty:
        return f"{report.collection}: nothing to migrate: it has these settings already"
    if dry_run:
        cost = f", {dollars(report.cost)} at list price" if report.cost else ""
        size = "" if report.size is None else f"; {report.size.disk_bytes / 1e6:,.1f} MB of disk"
        waits = [row["seconds"] for row in report.backends if row.get("seconds")]
        wait = f"; at least {waits[0]:,.0f} s at its rate limits" if waits else ""
        return (
            f"{report.collection}: planned: {change}: {_how(result)}; "
            f"{counted(report.chunks.embedded, 'chunk')} to embed "
            f"({counted(report.tokens, 'token')}{cost}), "
            f"{counted(report.chunks.reused, 'chunk')} reused{wait}{size}"
        )
    cost = f", {dollars(report.cost)}" if report.cost else ""
    verdict = "" if result.verdict is None else f"{result.verdict.reason}; "
    state = (
        f"generation {result.generation} is current"
        if result.switched
        else f"not switched; generation {result.generation} is kept for the next try"
    )
    return (
        f"{report.collection}: {change}: {verdict}{state}; "
        f"{counted(report.chunks.embedded, 'chunk')} "
        f"embedded ({counted(report.tokens, 'token')}{cost}), "
        f"{counted(report.chunks.reused, 'chunk')} reused; {report.seconds:.1f} s"
    )


def _how(result: "MigrationReport") -> str:
    return {
        "keep": "vectors are kept",
        "cut": "vectors are cut, no document text is sent",
        "embed": "the stored texts are embedded",
        "sources": "the sources are read, chunked and embedded",
    }[result.how]
