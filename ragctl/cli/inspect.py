"""`ragctl status`, `collections`, `show` and `delete`."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.cli import console
from ragctl.cli.options import AsJson, CollectionName, StoreLocation, open_store, opened
from ragctl.errors import DocumentError, Locked, StoreError, UnreadableCollection, UsageError
from ragctl.stores import is_server
from ragctl.text import counted, one_line, without_controls

if TYPE_CHECKING:
    from ragctl.collection.payload import PayloadKey
    from ragctl.collection.settings import Settings
    from ragctl.collection.state import State
    from ragctl.records import Json
    from ragctl.stores.base import Collection, Generation, ServerState, Store

_MAX_LISTED = 5  # documents named in one line
_LABEL_WIDTH = 12
_ROW_KEYS = ("model", "dimension", "documents", "points", "generations", "error")


@dataclass(frozen=True, slots=True)
class _Status:
    """The output of `status`. `languages`: documents by language code. `points`: all points."""

    collection: str
    store: str
    settings: "Settings"
    state: "State"
    languages: Mapping[str, int]
    points: int
    server: "ServerState | None"
    generations: "Sequence[Generation]"

    @property
    def foreign_points(self) -> int:
        """Points that belong to no document: of other programs, or with a damaged payload."""
        return max(0, self.points - self.state.points)

    @property
    def chunks(self) -> int:
        return sum(document.chunks for document in self.state.documents.values())

    @property
    def incomplete(self) -> list[str]:
        return sorted(d.source for d in self.state.documents.values() if not d.complete)

    @property
    def without_text(self) -> list[str]:
        documents = self.state.documents.values()
        return sorted(d.source for d in documents if d.complete and not d.chunks)

    @property
    def roots(self) -> list[str]:
        return sorted({document.root for document in self.state.documents.values()})

    def to_json(self) -> dict[str, "Json"]:
        return {
            "collection": self.collection,
            "store": self.store,
            "identity": self.settings.identity.to_json(),
            "origin": self.settings.origin.to_json(),
            "documents": len(self.state.documents),
            "chunks": self.chunks,
            "incomplete": cast("Json", self.incomplete),
            "without_text": cast("Json", self.without_text),
            "languages": cast("Json", dict(sorted(self.languages.items()))),
            "roots": cast("Json", self.roots),
            "foreign_points": self.foreign_points,
            "server": None if self.server is None else self.server.to_json(),
            "generations": [_generation_json(each) for each in self.generations],
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of the printed form: label and text."""
        settings = self.settings
        languages = ", ".join(f"{code} {n:,}" for code, n in sorted(self.languages.items()))
        rows = [
            ("collection", f"{self.collection} in {self.store}"),
            ("model", f"{settings.identity.model}, {settings.dim} dimensions"),
            ("backend", ", ".join(config.label for config in settings.origin.backends)),
            ("documents", f"{len(self.state.documents):,}"),
            ("chunks", f"{self.chunks:,}"),
            ("languages", languages or "none yet"),
            ("folders", ", ".join(self.roots) or "none yet"),
        ]
        if kept := [_kept_text(each) for each in self.generations if not each.current]:
            number = settings.generation
            rows.append(("generations", f"{number} is current; kept: {', '.join(kept)}"))
        if settings.origin.unverified:
            note = "not verified: copied from another program with --unverified"
            rows.append(("vectors", note))
        if self.incomplete:
            rows.append(("incomplete", _counted(self.incomplete, "run ingest again")))
        if self.without_text:
            rows.append(("without text", _counted(self.without_text, "nothing to search")))
        if self.foreign_points:
            note = "no search returns them; `ragctl verify` names them"
            rows.append(("foreign", f"points of other programs: {self.foreign_points:,} ({note})"))
        if self.server is not None:
            rows += _server_rows(self.server)
        return rows


def _kept_text(generation: "Generation") -> str:
    settings = generation.settings
    what = f"{settings.identity.model}, {settings.dim}d" if settings else "unreadable"
    return f"{generation.number} ({what})"


def _generation_json(generation: "Generation") -> dict[str, "Json"]:
    settings = generation.settings
    return {
        "number": generation.number,
        "current": generation.current,
        "identity": None if settings is None else settings.identity.to_json(),
    }


def _server_rows(server: "ServerState") -> Iterator[tuple[str, str]]:
    """Yield the lines about a server: label and text."""
    if server.shards is None:
        yield "shards", "not known: the key may not read the state of the cluster"
    else:
        shards = {each.number for each in server.shards}
        inactive = [
            f"shard {each.number} on node {each.node} is {each.state}"
            for each in server.shards
            if each.state != "active"
        ]
        text = f"{len(shards)} ({counted(len(server.shards), 'replica')} in all)"
        yield "shards", "; ".join((text, *inactive))
    notes = {
        "yellow": "the server is optimising",
        "grey": "optimisations wait for the next write",
        "red": server.optimizer_error or "optimisations failed",
    }
    note = f" ({notes[server.optimizer]})" if server.optimizer in notes else ""
    deferred = "; no HNSW graph until a run has ended" if server.graph_deferred else ""
    yield "optimiser", f"{server.optimizer}{note}"
    yield "HNSW graph", f"{counted(server.indexed_vectors, 'vector')}{deferred}"


def _counted(sources: list[str], note: str) -> str:
    more = " …" if len(sources) > _MAX_LISTED else ""
    return f"{len(sources)} ({note}): {', '.join(sources[:_MAX_LISTED])}{more}"


def status(
    collection: CollectionName = "docs", store: StoreLocation = None, as_json: AsJson = False
) -> int:
    """Show what a collection holds and how it was made."""
    from ragctl.collection.state import read_state

    with opened(store, collection, read_only=True) as (opened_store, found):
        points = found.count()  # before the others: documents may be added meanwhile
        result = _Status(
            collection,
            opened_store.location,
            found.settings,
            read_state(found),
            found.facet("mark"),
            points,
            found.server_state(),
            opened_store.generations(collection),
        )
    if as_json:
        console.print_json(result.to_json())
    else:
        for label, text in result.rows():
            console.say(f"{label:{_LABEL_WIDTH}}  {one_line(text)}")
    return 0


def collections(store: StoreLocation = None, as_json: AsJson = False) -> int:
    """List the collections of a store, with the model and size of each."""
    with closing(open_store(store, read_only=True)) as opened_store:
        rows = [
            row for name in opened_store.names() if (row := _row(opened_store, name)) is not None
        ]
    if as_json:
        console.print_json({"store": opened_store.location, "collections": cast("Json", rows)})
    elif not rows:
        console.warn(
            f"no collections in {opened_store.location}; create one with: ragctl ingest FOLDER"
        )
    for row in rows if not as_json else ():
        if row["error"] is not None:
            console.say(one_line(f"{row['collection']} unreadable: {row['error']}"))
        else:
            console.say(
                f"{row['collection']}  {row['model']} {row['dimension']}d  "
                f"{counted(cast(int, row['documents']), 'document')}  "
                f"{counted(cast(int, row['points']), 'point')}{_kept_count(row)}"
            )
    return 0


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
        str, typer.Argument(metavar="SOURCE", help="Name of the document, as search prints it.")
    ],
    collection: CollectionName = "docs",
    store: StoreLocation = None,
    as_json: AsJson = False,
) -> int:
    """Show a document as it is indexed: its metadata and its chunks in order."""
    from ragctl.collection.conditions import own_match
    from ragctl.collection.ownership import is_own, is_sound

    with opened(store, collection, read_only=True) as (_, found):
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
        head: tuple[PayloadKey, ...] = ("source", "title", "lang", "root", "size", "meta")
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
    for chunk in chunks:
        page = f", page {chunk['page']}" if chunk["page"] is not None else ""
        heading = f"  [{' > '.join(chunk['heading'])}]" if chunk["heading"] else ""
        title = f"#{chunk['ordinal']}  {chunk['start']}-{chunk['end']}{page}{heading}"
        console.say(f"\n{one_line(title)}")
        console.say(without_controls(chunk["text"]))
    return 0


def _similar(collection: "Collection", source: str) -> str:
    """Return the end of an error about an unknown source: similar names in the collection."""
    import difflib

    close = difflib.get_close_matches(source, list(collection.facet("source", of_all=True)), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def delete(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...", help="Documents, or FOLDER/ for all documents below it."
        ),
    ] = None,
    collection: CollectionName = "docs",
    everything: Annotated[
        bool, typer.Option("--all", help="Delete the whole collection, with its settings.")
    ] = False,
    store: StoreLocation = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> int:
    """Delete documents from a collection, or the whole collection.

    The next ingest indexes documents again whose files still exist.
    """
    if bool(sources) == everything:
        raise UsageError("name documents to delete, or use --all for the whole collection")
    deleted: list[str] = []
    points: int | None = None
    try:
        with opened(store, collection) as (opened_store, _), opened_store.lock(collection):
            # Opened again under the lock: the name may have been switched before.
            found = opened_store.open(collection)
            if found is None:
                raise UsageError(f"collection {collection!r} was deleted meanwhile")
            with closing(found):
                deleted, points = _delete(opened_store, found, sources, yes)
    except StoreError as error:
        with closing(open_store(store)) as opened_store:
            # What fails at a server fails again; a folder is deleted whatever the engine says.
            hopeless = is_server(opened_store.location)
            if not everything or (hopeless and not isinstance(error, UnreadableCollection)):
                raise
            with opened_store.lock(collection):
                _confirm(f"delete collection {collection!r}, which cannot be read", yes)
                opened_store.drop(collection)
    if as_json:
        console.print_json(
            {"collection": collection, "documents": cast("Json", deleted), "points": points}
        )
    elif points is None:
        console.say(f"{collection}: deleted")
    else:
        console.say(
            f"{collection}: {counted(len(deleted), 'document')} deleted "
            f"({counted(points, 'point')})"
        )
    return 0


def _delete(
    store: "Store", collection: "Collection", sources: Iterable[str] | None, yes: bool
) -> tuple[list[str], int]:
    """Delete documents, or the collection if `sources` is None; return names and points."""
    from ragctl.collection.state import read_state
    from ragctl.index.kept import delete_from_kept
    from ragctl.index.writer import Writer

    state = read_state(collection)
    chosen = sorted(state.documents) if not sources else _choose(sources, state)
    others = 0 if sources else max(0, collection.count() - state.points)
    also = f" and {counted(others, 'point')} of other programs" if others else ""
    _confirm(f"delete {counted(len(chosen), 'document')}{also} from {collection.name!r}", yes)
    if not sources:
        points = collection.count()
        collection.close()
        store.drop(collection.name)
        return chosen, points
    delete_from_kept(store, collection.name, chosen)
    writer = Writer(collection)
    writer.delete_documents(chosen)
    writer.flush()
    collection.finish()
    return chosen, writer.written.deleted


def _choose(sources: Iterable[str], state: "State") -> list[str]:
    """Return the documents that the arguments name. Raises UsageError if one matches nothing."""
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


def _confirm(action: str, yes: bool) -> None:
    """Ask on the terminal. Raises UsageError without one, and Abort when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"to {action} without confirmation on a terminal, add --yes")
    typer.confirm(f"{action[0].upper()}{action[1:]}?", abort=True)
