"""`ragctl copy`."""

import math
import re
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import AsJson, StoreLocation, open_store
from ragctl.cli.running import signals
from ragctl.errors import UsageError
from ragctl.stores import is_server
from ragctl.text import one_line


def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="A collection's name, or STORE#NAME: a folder or URL and a name."
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
            help="Collection, if SRC is a store. Default: docs.",
        ),
    ] = None,
    prune_limit: Annotated[
        float,
        typer.Option(
            "--prune-limit",
            metavar="PERCENT",
            min=0,
            max=100,
            help="Refuse to delete more than this percentage of the copy's documents.",
        ),
    ] = 30.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until a run on the copy has ended.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")
    ] = False,
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Copy a collection to another store or name, vectors included; nothing is embedded.

    Repeated, it writes only what differs. Example: ragctl copy docs /mnt/backup
    """
    from ragctl.transfer.copy import Copying, Place

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
        copying = Copying(
            Place(stores[0], name),
            Place(stores[1], other),
            prune_share=prune_limit / 100,
            patience=math.inf if wait else 0.0,
            notify=lambda line: console.warn(line, level="info", event="waiting"),
        )
        with signals(copying.cancellation):
            report = copying.run()
    if as_json:
        console.print_json(report.to_json())
    elif not quiet:
        counts = ", ".join(
            f"{count:,} {what}"
            for what in ("added", "updated", "unchanged", "removed")
            if (count := getattr(report.documents, what))
        )
        console.say(
            one_line(
                f"{other} in {stores[1].location}: {counts or 'no documents'}; "
                f"{report.chunks.reused:,} points written, {report.chunks.deleted:,} deleted; "
                f"verified; {report.seconds:.1f} s"
            )
        )
    return 0


def _resolved(location: str) -> str:
    """Return a store's location in a form that can be compared."""
    return location.rstrip("/") if is_server(location) else str(Path(location).resolve())


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
