"""`ragctl search`."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import (
    AsJson,
    Backend,
    BaseUrl,
    PipelineFile,
    StoreLocation,
    Weights,
    choices,
    environ,
    opened,
    told_by,
)
from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.records import Hit, Json

_WIDTH = 420  # characters of a passage shown on a terminal


def search(
    question: Annotated[str, typer.Argument(metavar="QUERY", help="What you want to know.")],
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="[docs]")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="Hits.")] = 5,
    mode: Annotated[
        str, typer.Option("--mode", metavar="hybrid|dense|sparse", help="Which sides to ask.")
    ] = "hybrid",
    where: Annotated[
        list[str], typer.Option("--where", metavar="K=V", help="Only where metadata says so.")
    ] = [],  # noqa: B006 - typer's way to say a repeated option
    backend: Backend = [],  # noqa: B006
    base_url: BaseUrl = None,
    weights: Weights = None,
    pipeline: PipelineFile = None,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Search a collection with the model that made it; the best passages come first."""
    from ragctl import search as room
    from ragctl.catalog import of_user
    from ragctl.pipeline import COLLECTION

    if mode not in room.MODES:
        raise UsageError(f"--mode {mode!r}: one of {', '.join(room.MODES)}")
    conditions = room.parse_where(where)
    told = told_by(pipeline)
    collection = collection or (told.collection if told else COLLECTION)
    variables = told.environ if told else environ()
    with ExitStack() as stack:
        place, found = stack.enter_context(
            opened(store or (told.store if told else None), collection, variables)
        )
        embedder = None
        if mode != "sparse":
            embedder = room.embedder_of(
                found,
                choices=choices(backend, base_url, weights)
                or (told.embedding.providers if told else ()),
                catalog=told.catalog if told else of_user(variables),
                environ=variables,
                remote="://" in place.location,
                threshold=told.embedding.canary if told else None,
            )
            stack.callback(embedder.close)
        hits = room.search(
            found,
            question,
            embedder=embedder,
            limit=limit,
            mode=mode,
            where=conditions,
        )
    if as_json:
        console.print_json(
            {"query": question, "collection": collection, "hits": [hit_json(hit) for hit in hits]}
        )
    elif not hits:
        console.warn("no hits")
    elif console.is_terminal():
        _show(hits, question)
    else:
        _print(hits)
    return 0


def hit_json(hit: "Hit") -> dict[str, "Json"]:
    return {
        "source": hit.source,
        "score": hit.score,
        "text": hit.text,
        "start": hit.start,
        "end": hit.end,
        "page": hit.page,
        "heading": list(hit.heading),
        "ordinal": hit.ordinal,
        "meta": dict(hit.meta),
    }


def place(hit: "Hit") -> str:
    """Where it stands: source, and page or line."""
    if hit.page is not None:
        return f"{hit.source}, page {hit.page}"
    return f"{hit.source}:{hit.line}" if hit.line is not None else hit.source


def _show(hits: list["Hit"], question: str) -> None:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from ragctl.cli.marking import excerpt, spans

    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(justify="right", style="dim", no_wrap=True)
    for rank, hit in enumerate(hits, 1):
        head = Text(console.one_line(place(hit)), style="bold cyan")
        if hit.heading:
            head.append(f"  {console.one_line(' › '.join(hit.heading))}", style="dim")
        passage = Text(excerpt(console.clean(hit.text), question, _WIDTH))
        for start, end in spans(passage.plain, question):
            passage.stylize("bold yellow", start, end)
        table.add_row(escape(str(rank)), head, f"{hit.score:.4f}")
        table.add_row("", Padding(passage, (0, 0, 1, 0)), "")
    console.out().print(table)


def _print(hits: list["Hit"]) -> None:
    for rank, hit in enumerate(hits, 1):
        heading = f"  [{' > '.join(hit.heading)}]" if hit.heading else ""
        console.say(f"{rank}. {console.one_line(place(hit) + heading)}  ({hit.score:.4f})")
        for line in console.clean(hit.text).splitlines():
            console.say(f"   {line}".rstrip())
        console.say("")
