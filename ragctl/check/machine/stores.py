"""Whether each store answers, which runs write to it, and the health of each collection."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from shlex import quote

from ragctl.check.machine.lines import Line, failed, good, note
from ragctl.check.machine.parts import Part
from ragctl.check.target import check_folder
from ragctl.collection.settings import Settings, how_to_recover
from ragctl.collection.state import State, read_state
from ragctl.embedding.catalogs import user_catalog
from ragctl.errors import Locked, StoreError, UnreadableCollection, UsageError
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Collection, Generation, LockHolder, ServerState, Store
from ragctl.text import counted

PATIENCE_SECONDS = 3.0
"""Wait for a server's answer, or for another process that uses a shard."""

MAX_EXAMINED_DOCUMENTS = 20_000
"""With more, the marks are not read one by one, to stay within the time limit."""

MAX_COLLECTIONS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A store to examine.

    Attributes:
        location: a folder, or a server's URL.
        reason: where its location comes from, such as "RAGCTL_HOME".
        environ: where its API key is looked up.
        default: whether commands without --store use it.
    """

    location: str
    reason: str
    environ: Mapping[str, str]
    default: bool = False

    def open(self) -> Store:
        """Return the store, which nothing contacts yet. Raises UsageError."""
        return open_store(
            self.location, environ=self.environ, patience=PATIENCE_SECONDS, read_only=True
        )

    def part(self) -> Part:
        """Return the examination of this store."""
        advice = f"its location comes from {self.reason}"
        return Part("store", self.location, partial(examine_store, self), advice)

    @property
    def option(self) -> str:
        """The --store option for commands in advice, with a space in front; "" by default."""
        return "" if self.default else f" --store {quote(self.location)}"


def examine_store(place: Place) -> Iterator[Line | Part]:
    """Yield whether a store answers and who writes to it; its collections are further parts."""
    began = time.monotonic()
    with closing(place.open()) as store:
        server = is_server(store.location)
        if not server:
            folder = Path(store.location)
            check_folder(folder)
            if not folder.exists():
                advice = "ragctl ingest FOLDER makes it, with the first collection"
                yield note("store", place.location, f"does not exist yet ({place.reason})", advice)
                return
        names = store.names()
        spent = (time.monotonic() - began) * 1000
        kind = f"Qdrant {'.'.join(map(str, store.version))}, " if server else ""  # type: ignore[attr-defined]
        text = f"{kind}{counted(len(names), 'collection')}, {spent:.0f} ms ({place.reason})"
        yield good("store", place.location, text, {"collections": list(names)})
        yield from _locks(place, store, names)
    slots = threading.Semaphore(MAX_COLLECTIONS_AT_ONCE)
    for name in names:
        yield Part("collection", name, partial(examine_collection, place, name), slots=slots)


def _locks(place: Place, store: Store, names: Sequence[str]) -> Iterator[Line]:
    held = False
    for name in names:
        try:
            holder = store.lock_holder(name)
        except StoreError:
            continue  # the collection's own lines say what is wrong with it
        if holder is not None:
            held = True
            yield _held("lock", name, holder)
    if names and not held:
        yield good("lock", place.location, "no run is writing")


def _held(subject: str, name: str, holder: LockHolder, what: str = "being written") -> Line:
    since = "" if holder.since is None else f" since {moment(holder.since)}"
    return note(
        subject,
        name,
        f"{what} by {holder.who}{since}",
        "wait until that run has ended, or end its process; the next run continues",
        {"holder": holder.who, "since": holder.since},
    )


def moment(seconds: float) -> str:
    """Return a time in local time, with the date unless it is today."""
    then = datetime.fromtimestamp(seconds)
    today = then.date() == datetime.now().date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def examine_collection(place: Place, name: str) -> Iterator[Line]:
    """Yield the health of a collection: one line if all is well, else one for each problem."""
    with closing(place.open()) as store:
        try:
            found = store.open(name)
        except UnreadableCollection as error:
            yield _damaged(place, name, error)
            yield from _generations(place, store, name, None)
            return
        if found is None:
            return  # deleted meanwhile
        with closing(found):
            yield from _examine(place, store, found)


def _damaged(place: Place, name: str, error: StoreError) -> Line:
    """Return the line about a collection that cannot be read.

    An error of another kind than damage, such as another format, says itself what to do.
    """
    usual = f"; {how_to_recover(name)}"
    text = str(error)
    advice = how_to_recover(name) if text.endswith(usual) else None
    if place.option:
        advice = f"{f'{advice}; ' if advice else ''}these commands need{place.option}"
    return failed("collection", name, text.removesuffix(usual), advice, code=error.exit_code)


def _examine(place: Place, store: Store, found: Collection) -> Iterator[Line]:
    settings, name = found.settings, found.name
    try:
        points = found.count()  # before the others: documents may be added meanwhile
        documents = sum(found.facet("mark").values())
        state = read_state(found) if documents <= MAX_EXAMINED_DOCUMENTS else None
    except UnreadableCollection as error:
        yield _damaged(place, name, error)
        yield from _generations(place, store, name, None)
        return
    except Locked as error:
        yield note("collection", name, str(error), "run ragctl check again")
        return
    identity = settings.identity
    text = (
        f"{counted(documents, 'document')}, {counted(points, 'point')}; "
        f"{identity.model}, {settings.dim} dimensions"
    )
    yield good(
        "collection",
        name,
        text,
        {
            "documents": documents,
            "points": points,
            "model": identity.model,
            "dimension": settings.dim,
            "store": store.location,
        },
    )
    if state is not None:
        yield from _documents(place, store, name, state, points)
    yield from _failures(place, found)
    yield from _generations(place, store, name, documents)
    if (server := found.server_state()) is not None:
        yield from _server(name, server)
    yield from _key(place, name, settings)


def _documents(place: Place, store: Store, name: str, state: State, points: int) -> Iterator[Line]:
    incomplete = sum(not document.complete for document in state.documents.values())
    if incomplete and store.lock_holder(name) is None:
        text = f"{counted(incomplete, 'document')} incomplete: a run was ended before its time"
        yield note(
            "collection", name, text, "run it again: it continues", {"incomplete": incomplete}
        )
    foreign = max(0, points - state.points)
    if foreign:
        text = f"{counted(foreign, 'point')} of other programs, or damaged; no search returns them"
        advice = f"ragctl verify -c {quote(name)}{place.option} names them"
        yield note("collection", name, text, advice, {"foreign_points": foreign})


def _failures(place: Place, found: Collection) -> Iterator[Line]:
    failures = len(found.notes().get("failures", {}))
    if failures:
        text = f"{counted(failures, 'file')} could not be indexed by recent runs"
        advice = f"ragctl failures -c {quote(found.name)}{place.option} lists them"
        yield note("collection", found.name, text, advice, {"failed_files": failures})


def _generations(place: Place, store: Store, name: str, documents: int | None) -> Iterator[Line]:
    """Yield the generations that are not current: kept, unfinished, or being filled now.

    `documents`: those of the current one; None if it cannot be read.
    """
    try:
        generations = store.generations(name)
    except StoreError as error:
        yield failed("collection", name, str(error), None, code=error.exit_code)
        return
    current = next((each.number for each in generations if each.current), 0)
    prune = f"ragctl prune-generations {quote(name)} --keep 0{place.option} deletes it"
    for each in generations:
        if each.current:
            continue
        what = f"generation {each.number} ({_form(each)})"
        if each.settings is None:
            yield note("collection", name, f"{what}: {each.error}", prune)
        elif (holder := store.lock_holder(name, generation=each.number)) is not None:
            yield _held("collection", name, holder, f"{what} is being filled")
        elif each.number < current:
            advice = f"ragctl rollback {quote(name)}{place.option} goes back to it; {prune}"
            yield note("collection", name, f"{what} is kept", advice, {"kept": each.number})
        else:
            yield _newer(store, name, each, what, documents, prune)


def _form(generation: Generation) -> str:
    settings = generation.settings
    return "unreadable" if settings is None else f"{settings.identity.model}, {settings.dim}d"


def _newer(
    store: Store, name: str, generation: Generation, what: str, documents: int | None, prune: str
) -> Line:
    """Return the line about a generation after the current one.

    A migration that was ended leaves it with fewer documents, a rollback with all of them.
    """
    with_them = None
    try:
        found = store.open(name, generation=generation.number)
        if found is not None:
            with closing(found):
                with_them = sum(found.facet("mark").values())
    except StoreError as error:
        return note("collection", name, f"{what}: {error}", prune)
    if documents is None or with_them is None or with_them >= documents:
        text = f"{what} is newer than the current one, and kept"
        return note("collection", name, text, prune, {"kept": generation.number})
    text = f"{what} is an unfinished migration: {with_them:,} of {counted(documents, 'document')}"
    advice = f"run that ragctl migrate again: it continues; or {prune}"
    return note("collection", name, text, advice, {"unfinished": generation.number})


def _server(name: str, state: ServerState) -> Iterator[Line]:
    if state.optimizer == "red":
        text = f"the server's optimiser failed: {state.optimizer_error or 'no reason given'}"
        advice = "see the server's log; after the repair, write to the collection once"
        yield failed("collection", name, text, advice, code=StoreError.exit_code)
    elif state.optimizer == "grey":
        text = "the server's optimisations wait for the next write"
        yield note("collection", name, text, "nothing: searches work, and the next run starts them")
    if state.graph_deferred:
        text = "no HNSW graph yet: it is built when a run has ended"
        advice = "let the run end, or run it again; until then searches compare every vector"
        yield note("collection", name, text, advice)
    for shard in state.shards or ():
        if shard.state.lower() != "active":
            text = f"shard {shard.number} on node {shard.node} is {shard.state}"
            yield failed(
                *("collection", name, text, "see the state of that node, and its log"),
                code=StoreError.exit_code,
            )


def _key(place: Place, name: str, settings: Settings) -> Iterator[Line]:
    """Yield a note if a backend of the collection needs an API key that is not set here."""
    try:
        catalog = user_catalog(place.environ)
    except UsageError:
        return  # the line about keys says it
    for config in settings.origin.backends:
        try:
            row = catalog.backend(config.name or "")
        except UsageError:
            continue  # a row of a pipeline
        if row.key_required and not any(place.environ.get(key, "").strip() for key in row.keys):
            text = f"its backend {row.name} needs an API key, and {row.keys[0]} is not set"
            advice = f"export {row.keys[0]}=… , or name a file with --env-file"
            yield note("collection", name, text, advice, {"missing_key": row.keys[0]})
