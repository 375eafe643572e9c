"""Options that several commands share."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.stores.base import Collection, Store

CollectionName = Annotated[
    str, typer.Option("--collection", "-c", metavar="NAME", help="The collection.")
]
StoreLocation = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH|URL",
        help="A folder for embedded collections, or http://host:6333 of a Qdrant server. "
        "Default: $RAGCTL_HOME, else this user's data folder.",
    ),
]
Backend = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="Who runs the embedding model."),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="The backend's address, instead of its own."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def open_store(location: str | None) -> "Store":
    from ragctl.pipeline import default_store
    from ragctl.stores import open_store as connect

    return connect(location or default_store(os.environ), environ=os.environ)


@contextmanager
def opened(location: str | None, name: str) -> Iterator[tuple["Store", "Collection"]]:
    """A store and a collection in it; UsageError names those that there are."""
    with closing(open_store(location)) as store:
        collection = store.open(name)
        if collection is None:
            names = store.names()
            there = f"there are: {', '.join(names)}" if names else "it is empty"
            raise UsageError(
                f"no collection {name!r} in {store.location} ({there}); "
                "make one with: ragctl ingest FOLDER"
            )
        with closing(collection):
            yield store, collection


def parse_pairs(pairs: list[str], option: str) -> dict[str, str]:
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} {pair!r}: write key=value")
        values[key.strip()] = value
    return values
