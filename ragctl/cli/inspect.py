"""`ragctl status`, `collections`, `show` and `delete`."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ragctl.cli import console
from ragctl.cli.options import AsJson, CollectionName, StoreLocation, open_store, opened
from ragctl.errors import UsageError
from ragctl.text import one_line, without_controls

if TYPE_CHECKING:
    from ragctl.collection.state import State
    from ragctl.records import Json
    from ragctl.stores.base import Collection


def status(
    collection: CollectionName = "docs", store: StoreLocation = None, as_json: AsJson = False
) -> int:
    """What a collection holds, and what made it."""
    from ragctl.collection.state import read_state

    with opened(store, collection) as (place, found):
        state = read_state(found)
        documents = state.documents.values()
        result: dict[str, Any] = {
            "collection": collection,
            "store": place.location,
            "identity": dict(found.settings.identity),
            "origin": dict(found.settings.origin),
            "documents": len(state.documents),
            "chunks": sum(document.chunks for document in documents),
            "incomplete": sorted(d.source for d in documents if not d.whole),
            "without_text": sorted(d.source for d in documents if d.whole and not d.chunks),
            "languages": cast("Json", dict(sorted(found.facet("mark").items()))),
            "roots": sorted({d.root for d in documents}),
        }
    if as_json:
        console.print_json(result)
    else:
        _print_status(result)
    return 0


def _print_status(result: dict[str, Any]) -> None:
    identity = result["identity"]
    languages = ", ".join(f"{code} {count:,}" for code, count in result["languages"].items())
    rows = [
        ("collection", f"{result['collection']} in {result['store']}"),
        ("model", f"{identity['model']}, {identity['dimension']} dimensions"),
        ("backend", result["origin"].get("backend") or "unknown"),
        ("documents", f"{result['documents']:,}"),
        ("chunks", f"{result['chunks']:,}"),
        ("languages", languages if languages else "none yet"),
        ("folders", ", ".join(result["roots"]) or "none yet"),
    ]
    for name, what in (("incomplete", "run ingest again"), ("without_text", "nothing to search")):
        if result[name]:
            shown = ", ".join(result[name][:5]) + (" …" if len(result[name]) > 5 else "")
            rows.append((name.replace("_", " "), f"{len(result[name])} ({what}): {shown}"))
    for label, text in rows:
        console.say(f"{label:12}  {one_line(text)}")


def collections(store: StoreLocation = None, as_json: AsJson = False) -> int:
    """The collections of a store, with the model and size of each."""
    rows: list[dict[str, Any]] = []
    with closing(open_store(store)) as place:
        for name in place.names():
            found = place.open(name)
            if found is None:  # dropped just now
                continue
            with closing(found):
                rows.append(
                    {
                        "collection": name,
                        "model": found.settings.identity["model"],
                        "dimension": found.settings.dim,
                        "documents": sum(found.facet("mark").values()),
                        "points": found.count(),
                    }
                )
    if as_json:
        console.print_json(cast("Json", {"store": place.location, "collections": rows}))
    elif not rows:
        console.warn(f"no collections in {place.location}; make one with: ragctl ingest FOLDER")
    for row in rows if not as_json else ():
        console.say(
            f"{row['collection']}  {row['model']} {row['dimension']}d  "
            f"{row['documents']:,} documents  {row['points']:,} points"
        )
    return 0


def show(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As search names it.")],
    collection: CollectionName = "docs",
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """A document as it is indexed: its metadata and its chunks in order."""
    from ragctl.collection.conditions import Match

    with opened(store, collection) as (_, found):
        where = (Match("source", (source,)),)
        points = cast(list[dict[str, Any]], [point.payload for point in found.scroll(where)])
        if not points:
            raise UsageError(f"no document {source!r} in {collection!r}{_near(found, source)}")
    points.sort(key=lambda payload: payload["ordinal"])
    first, kept = points[0], ("ordinal", "start", "end", "page", "heading", "tokens", "text")
    head = {key: first.get(key) for key in ("source", "title", "lang", "root", "size", "meta")}
    chunks = [{key: point.get(key) for key in kept} for point in points if point["text"]]
    if as_json:
        console.print_json({"collection": collection, **head, "chunks": cast("Json", chunks)})
        return 0
    console.say(one_line(f"{source}: {len(chunks)} chunks, language {first['lang']}"))
    for chunk in chunks:
        page = f", page {chunk['page']}" if chunk["page"] is not None else ""
        heading = f"  [{' > '.join(chunk['heading'])}]" if chunk["heading"] else ""
        title = f"#{chunk['ordinal']}  {chunk['start']}-{chunk['end']}{page}{heading}"
        console.say(f"\n{one_line(title)}")
        console.say(without_controls(str(chunk["text"])))
    return 0


def _near(collection: "Collection", source: str) -> str:
    """How an error about an unknown source ends: the nearest ones there are."""
    import difflib

    close = difflib.get_close_matches(source, list(collection.facet("source", of_all=True)), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def delete(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="Documents, or FOLDER/ for all below it."),
    ] = None,
    collection: CollectionName = "docs",
    everything: Annotated[
        bool, typer.Option("--all", help="The whole collection, with its settings.")
    ] = False,
    store: StoreLocation = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove documents from a collection, or all of it. A later ingest finds them again."""
    from ragctl.collection.state import read_state
    from ragctl.index.writer import Writer

    if bool(sources) == everything:
        raise UsageError("name documents to delete, or --all for the whole collection")
    with opened(store, collection) as (place, found), place.lock(collection):
        state = read_state(found)
        chosen = sorted(state.documents) if everything else _choose(sources or [], state)
        _confirm(f"delete {len(chosen)} documents from {collection!r}", yes)
        if everything:
            deleted = found.count()
            found.close()
            place.drop(collection)
        else:
            writer = Writer(found)
            writer.delete_documents(chosen)
            writer.flush()
            found.finish()
            deleted = writer.deleted
    if as_json:
        console.print_json(
            {"collection": collection, "documents": cast("Json", chosen), "points": deleted}
        )
    else:
        console.say(f"{collection}: {len(chosen):,} documents deleted ({deleted:,} points)")
    return 0


def _choose(sources: list[str], state: "State") -> list[str]:
    chosen: set[str] = set()
    for source in sources:
        found = {
            document.source
            for document in state.documents.values()
            if source in (document.source, document.file)
            or (source.endswith("/") and document.source.startswith(source))
        }
        if not found:
            raise UsageError(f"no document {source!r}; nothing was deleted")
        chosen |= found
    return sorted(chosen)


def _confirm(what: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"to {what} without a terminal to ask on, add --yes")
    typer.confirm(f"{what[0].upper()}{what[1:]}?", abort=True)
