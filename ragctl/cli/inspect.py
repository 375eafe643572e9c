"""`ragctl collections` and `ragctl show`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.cli import completion, console
from ragctl.cli.options import AsJson, CollectionName, StoreLocation, open_store, opened
from ragctl.errors import DocumentError, Locked, StoreError, UsageError
from ragctl.text import counted, one_line, without_controls

if TYPE_CHECKING:
    from ragctl.collection.payload import Payload, PayloadKey
    from ragctl.records import Json
    from ragctl.stores.base import Collection, Store

SIMILARITY = 0.7
"""Of names that are suggested for an unknown one, from 0 to 1."""

_LIST_PATIENCE_SECONDS = 10.0  # for each collection: a broken one must not hold up the list
_ROW_KEYS = ("model", "dimension", "documents", "points", "generations", "error")


def collections(store: StoreLocation = None, as_json: AsJson = False) -> int:
    """List collections, with the model and size of each."""
    patience = _LIST_PATIENCE_SECONDS
    with closing(open_store(store, read_only=True, patience=patience)) as opened_store:
        rows = [
            row for name in opened_store.names() if (row := _row(opened_store, name)) is not None
        ]
    if as_json:
        console.print_json({"store": opened_store.location, "collections": cast("Json", rows)})
    elif not rows:
        console.warn(
            f"no collections in {opened_store.location}; create one with: ragctl ingest FOLDER"
        )
    elif console.is_terminal():
        _print_table(rows)
    else:
        _print_lines(rows)
    return 0


def _print_table(rows: "Sequence[Mapping[str, Json]]") -> None:
    """Print the readable collections as a table, and a line for each of the others."""
    keys = ("collection", "model", "dimension", "documents", "points", "generations")
    readable = [row for row in rows if row["error"] is None]
    if readable:
        columns = [key for key in keys if key != "generations" or any(map(_kept_count, readable))]
        console.table([columns, *([_cell(row[key]) for key in columns] for row in readable)])
    _print_lines([row for row in rows if row["error"] is not None])


def _cell(value: "Json") -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _print_lines(rows: "Sequence[Mapping[str, Json]]") -> None:
    """Print a line for each collection."""
    for row in rows:
        if row["error"] is not None:
            console.say(one_line(f"{row['collection']} unreadable: {row['error']}"))
        else:
            console.say(
                f"{row['collection']}  {row['model']} {row['dimension']}d  "
                f"{counted(cast(int, row['documents']), 'document')}  "
                f"{counted(cast(int, row['points']), 'point')}{_kept_count(row)}"
            )


def _kept_count(row: Mapping[str, "Json"]) -> str:
    """Return the end of a line about the generations that are kept; "" without any."""
    total = row["generations"]
    kept = total - 1 if isinstance(total, int) else 0
    return f"  {counted(kept, 'kept generation')}" if kept > 0 else ""


def _row(store: "Store", name: str) -> dict[str, "Json"] | None:
    """Return a collection's row; None if it has been dropped in the meantime."""
    row: dict[str, Json] = dict.fromkeys(_ROW_KEYS)
    try:
        found = store.open(name)
    except StoreError as error:
        return {"collection": name, **row, "error": str(error)}
    if found is None:
        return None
    with closing(found):
        row |= {"model": found.settings.identity.model, "dimension": found.settings.dim}
        try:
            row |= {"documents": sum(found.facet("mark").values()), "points": found.count()}
            row["generations"] = len(store.generations(name))
        except (Locked, StoreError) as error:
            row["error"] = str(error)
    return {"collection": name, **row}


def show(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            autocompletion=completion.documents,
            help="Name of the document, as search prints it.",
        ),
    ],
    collection: CollectionName = "docs",
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Show a document as it is indexed: metadata and chunks."""
    from ragctl.collection.conditions import own_match
    from ragctl.collection.ownership import is_own, is_sound

    with opened(store, collection, read_only=True) as (_, found):
        source = _full_name(found, source)
        stored = [point.payload for point in found.scroll((own_match("source", source),))]
        points = [payload for payload in stored if is_sound(payload)]
        damaged = sum(map(is_own, stored)) - len(points)
        if not points:
            if damaged:
                raise DocumentError(f"{source}: its points are damaged; run ragctl verify")
            raise UsageError(f"no document {source!r} in {collection!r}{_similar(found, source)}")
    if damaged:
        console.warn(f"{source}: left out {counted(damaged, 'damaged point')}; run ragctl verify")
    points.sort(key=lambda payload: payload["ordinal"])
    chunks = [payload for payload in points if payload["text"]]
    if as_json:
        head: tuple[PayloadKey, ...] = ("source", "title", "lang", "source_name", "size", "meta")
        body: tuple[PayloadKey, ...] = (
            *("ordinal", "start", "end", "page", "heading", "tokens", "text"),
        )
        console.print_json(
            {
                "collection": collection,
                **{key: cast("Json", points[0].get(key)) for key in head},
                "chunks": [{key: cast("Json", chunk.get(key)) for key in body} for chunk in chunks],
            }
        )
        return 0
    console.say(
        one_line(f"{source}: {counted(len(chunks), 'chunk')}, language {points[0]['lang']}")
    )
    for field, value in _fields(points[0]):
        console.say(one_line(f"  {field}: {value}"))
    for chunk in chunks:
        page = f", page {chunk['page']}" if chunk["page"] is not None else ""
        heading = f"  [{' > '.join(chunk['heading'])}]" if chunk["heading"] else ""
        title = f"#{chunk['ordinal']}  {chunk['start']}-{chunk['end']}{page}{heading}"
        console.say(f"\n{one_line(title)}")
        console.say(without_controls(chunk["text"]), indent=0)
    return 0


def _fields(payload: "Payload") -> "Iterator[tuple[str, str]]":
    """Yield the title and the metadata of a document, as text."""
    if payload["title"]:
        yield "title", payload["title"]
    for name, value in payload["meta"].items():
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _full_name(collection: "Collection", name: str) -> str:
    """Return the name of the document that `name` means: its name, or its path in its source.

    Raises UsageError for a path that several sources have; returns an unknown name as it is.
    """
    from ragctl.collection.conditions import own_match
    from ragctl.collection.ownership import HAS_OWN_KEY

    def is_document(name: str) -> bool:
        points = collection.scroll((own_match("source", name), HAS_OWN_KEY), fields=("source",))
        return next(iter(points), None) is not None

    if is_document(name):
        return name
    names = collection.facet("source", of_all=True)
    found = sorted(each for each in names if each.partition("/")[2] == name and is_document(each))
    if len(found) > 1:
        raise UsageError(f"{name!r} is in several sources: {', '.join(found)}; name one of them")
    return found[0] if found else name


def _similar(collection: "Collection", source: str) -> str:
    """Return the end of an error about an unknown source: similar names in the collection."""
    import difflib

    close = difflib.get_close_matches(
        source, list(collection.facet("source", of_all=True)), n=3, cutoff=SIMILARITY
    )
    return f"; did you mean {' or '.join(close)}?" if close else ""
