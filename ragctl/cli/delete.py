"""`ragctl delete`: documents of a collection, or the whole collection."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.cli import completion, console
from ragctl.cli.inspect import SIMILARITY
from ragctl.cli.options import AsJson, CollectionName, StoreLocation, open_store, opened
from ragctl.errors import StoreError, UnreadableCollection, UsageError
from ragctl.stores import is_server
from ragctl.text import counted

if TYPE_CHECKING:
    from ragctl.collection.state import State
    from ragctl.records import Json
    from ragctl.stores.base import Collection, Store

MAX_ASKED = 3
"""Documents that a question names."""


def delete(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            autocompletion=completion.documents,
            help="Documents, or FOLDER/ for all documents below it.",
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
    """Delete documents, or a whole collection.

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
        console.say(f"{collection}: the whole collection was deleted")
    else:
        documents, stored = counted(len(deleted), "document"), counted(points, "point")
        console.say(
            f"{collection}: the whole collection was deleted ({documents}, {stored})"
            if everything
            else f"{collection}: {documents} deleted ({stored})"
        )
    return 0


def _delete(
    store: "Store", collection: "Collection", sources: Iterable[str] | None, yes: bool
) -> tuple[list[str], int]:
    """Delete documents, or the collection if `sources` is None; return names and points."""
    from ragctl.batch.waiting import Waiting
    from ragctl.collection.state import read_state
    from ragctl.index.kept import delete_from_kept
    from ragctl.index.writer import Writer

    state = read_state(collection)
    chosen = sorted(state.documents) if not sources else _choose(sources, state, collection.name)
    others = 0 if sources else max(0, collection.count() - state.points)
    also = f" and {counted(others, 'point')} of other programs" if others else ""
    documents = counted(len(chosen), "document")
    action = f"delete {_sample(chosen)} from {collection.name!r}"
    if not sources:
        action = f"delete the whole collection {collection.name!r} ({documents}{also})"
        if lost := str(Waiting.of(collection.notes().get("batches", ()))):
            console.warn(
                f"{collection.name}: {lost} will be lost; the host bills them all the same"
            )
    _confirm(action, yes)
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


def _sample(sources: Sequence[str]) -> str:
    """Return some documents for a question: all of a few, else the number and the first ones."""
    first = ", ".join(sources[:MAX_ASKED])
    if len(sources) <= MAX_ASKED:
        return first
    return f"{counted(len(sources), 'document')} ({first} …)"


def _choose(sources: Iterable[str], state: "State", collection: str) -> list[str]:
    """Return the documents that the arguments name. Raises UsageError if one matches nothing."""
    chosen: set[str] = set()
    for source in sources:
        found = {
            document.source
            for document in state.documents.values()
            if source in (document.source, document.file)
            or (source.endswith("/") and document.source.startswith(source))
        } or _by_path(source, state)
        if not found:
            names = difflib.get_close_matches(source, [*state.documents], n=1, cutoff=SIMILARITY)
            hint = f"; did you mean {names[0]}?" if names else ""
            raise UsageError(f"no document {source!r} in {collection!r}; nothing was deleted{hint}")
        chosen |= found
    return sorted(chosen)


def _by_path(path: str, state: "State") -> set[str]:
    """Return the documents with this path below their source. Raises UsageError for several."""
    found = {
        document.source: document.source_name
        for document in state.documents.values()
        if path in (document.path, document.source.removeprefix(f"{document.source_name}/"))
        or (path.endswith("/") and document.path.startswith(path))
    }
    names = sorted(set(found.values()))
    if len(names) > 1:
        raise UsageError(
            f"{path!r} is in several sources ({', '.join(names)}); begin with the name of one, as "
            f"in {names[0]}/{path}; nothing was deleted"
        )
    return set(found)


def _confirm(action: str, yes: bool) -> None:
    """Ask on the terminal. Raises UsageError without one, and Abort when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"to {action} without confirmation on a terminal, add --yes")
    typer.confirm(console.fitted(f"{action[0].upper()}{action[1:]}?"), abort=True)
