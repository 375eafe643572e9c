"""`ragctl copy`."""

import math
import re
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import completion, console
from ragctl.cli import help as panels
from ragctl.cli.options import (
    AsJson,
    BackendOption,
    BaseUrl,
    Dimension,
    StoreLocation,
    Weights,
    backends,
    environ,
    open_store,
)
from ragctl.cli.running import signals
from ragctl.cli.search_flags import with_search_flags
from ragctl.cli.summary import print_notes
from ragctl.errors import UsageError
from ragctl.records import ignore
from ragctl.search.foreign_options import ForeignOptions
from ragctl.stores import is_server
from ragctl.text import counted, one_line

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig
    from ragctl.pipeline import Pipeline


@with_search_flags
def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            autocompletion=completion.collections,
            help="A collection's name, or STORE#NAME: a folder or URL and a name.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="DST", help="The same for the copy; without #NAME it keeps the name."
        ),
    ],
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection",
            "-c",
            metavar="NAME",
            autocompletion=completion.collections,
            help="Collection, if SRC is a store.",
            show_default="docs",
            rich_help_panel=panels.COMMON,
        ),
    ] = None,
    prune_limit: Annotated[
        float,
        typer.Option(
            "--prune-limit",
            metavar="PERCENT",
            min=0,
            max=100,
            help="Refuse to delete more than this percentage of the copy's documents; up to 10 "
            "documents may always be deleted.",
            rich_help_panel=panels.COMMON,
        ),
    ] = 30.0,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until a run on the copy has ended.", rich_help_panel=panels.COMMON
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print nothing unless something goes wrong.",
            rich_help_panel=panels.COMMON,
        ),
    ] = False,
    backend: BackendOption = [],  # noqa: B006 - typer's form of a repeatable option
    base_url: BaseUrl = None,
    weights: Weights = None,
    dim: Dimension = None,
    position_field: Annotated[
        str | None,
        typer.Option(
            "--position-field",
            metavar="PATH",
            help="Payload field with the position of a chunk in its document.",
            show_default="start_index, start_char_idx, chunk_index or position, after page; "
            "else the order of ids",
            rich_help_panel=panels.FOREIGN,
        ),
    ] = None,
    unverified: Annotated[
        bool,
        typer.Option(
            "--unverified",
            help="Do not check that the model reproduces its vectors.",
            rich_help_panel=panels.FOREIGN,
        ),
    ] = False,
    store: StoreLocation = None,
    as_json: AsJson = False,
    *,
    foreign: ForeignOptions,
) -> int:
    """Copy a collection, vectors included; nothing is embedded.

    Repeated, it writes only what differs.

    With --model it copies a collection of another program on a Qdrant server into one of ragctl,
    after the model has reproduced a few of its vectors.
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.transfer.copy import Copying, Place
    from ragctl.transfer.foreign import ForeignCopying

    layout = foreign.layout()
    used = {"--backend": backend, "--base-url": base_url, "--weights": weights, "--dim": dim}
    used |= {"--position-field": position_field, "--unverified": unverified}
    if layout is None and (given := [flag for flag, value in used.items() if value]):
        raise UsageError(f"{given[0]}: name the model that made the vectors, too, with --model")
    first, name = split_place(source, store)
    second, other = split_place(target, store)
    if name is not None and collection not in (None, name):
        raise UsageError(f"SRC names the collection {name!r}, --collection says {collection!r}")
    name = name or collection or "docs"
    other = other or name
    with ExitStack() as stack:
        stores = [
            stack.enter_context(closing(open_store(location))) for location in (first, second)
        ]
        if _resolved(stores[0].location) == _resolved(stores[1].location) and name == other:
            raise UsageError(f"SRC and DST are the same collection {name!r}; name another one")
        bar = ProgressBar(shown=not (as_json or quiet))
        copying: Copying | ForeignCopying = Copying(
            Place(stores[0], name),
            Place(stores[1], other),
            prune_share=prune_limit / 100,
            patience=math.inf if wait else 0.0,
            notify=ignore if quiet else console.print_wait,
            progress=bar,
        )
        if layout is not None:
            copying = ForeignCopying(
                copying.source,
                copying.target,
                replace(layout, position=position_field),
                _pipeline(layout.model, other, dim, backends(backend, base_url, weights)),
                environ(),
                unverified=unverified,
                prune_share=copying.prune_share,
                patience=copying.patience,
                notify=copying.notify,
                progress=bar,
            )
        with signals(copying.cancellation), bar:
            report = copying.run()
    if as_json:
        console.print_json(report.to_json())
    else:
        print_notes(report, quiet=quiet)
    if not as_json and not quiet:
        counts = ", ".join(
            f"{count:,} {what}"
            for what in ("added", "updated", "unchanged", "removed")
            if (count := getattr(report.documents, what))
        )
        console.say(
            one_line(
                f"{other} in {stores[1].location}: {counts or 'no documents'}; "
                f"{counted(report.chunks.reused, 'point')} written, {report.chunks.deleted:,} "
                "deleted; "
                f"verified; {report.seconds:.1f} s"
            )
        )
    return 0


def _resolved(location: str) -> str:
    """Return a store's location in a form that can be compared."""
    return location.rstrip("/") if is_server(location) else str(Path(location).resolve())


def _pipeline(
    model: str, collection: str, dim: int | None, chosen: "tuple[BackendConfig, ...]"
) -> "Pipeline":
    """Return the settings of the copy of another program's collection."""
    from ragctl.pipeline import from_flags

    embedding = {"model": model} if dim is None else {"model": model, "dimension": dim}
    tables = {"collection": collection, "embedding": embedding, "sources": [{"path": "."}]}
    pipeline = from_flags(tables, environ())
    return replace(pipeline, embedding=replace(pipeline.embedding, backends=chosen))


def split_place(text: str, store: str | None) -> tuple[str | None, str | None]:
    """Return the store and the collection that SRC or DST names; None for what it leaves out.

    A word without a slash is a collection, also where a folder of documents has that name; unless
    the folder is a store.
    """
    location, mark, name = text.partition("#")
    if mark:
        if not name:
            raise UsageError(f"{text!r}: write STORE#NAME")
        return location or store, name
    is_place = "://" in text or re.search(r"[/\\]", text) or text in (".", "..")
    if is_place or (Path(text) / "collections").is_dir():
        return text, None
    return store, text
