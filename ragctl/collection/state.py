"""The state of a collection: its documents, read from their marks.

Two reads are enough: the marked points (one for each document) and the number of points of
each version. A document is complete when its version has as many points as its mark says.
Otherwise a run was killed while it wrote or removed the document.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ragctl.collection.conditions import Where, own_match, own_matches
from ragctl.collection.payload import IndexedKey, PayloadKey, Point

_MARK_FIELDS: tuple[PayloadKey, ...] = (
    "source",
    "file",
    "root",
    "digest",
    "version",
    "recipe",
    "chunks",
    "parts",
    "size",
    "mtime_ns",
)


class PointReader(Protocol):
    """The reads of a collection that `read_state` needs."""

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """Return the number of points for each value; see stores.base.Collection."""

    def scroll(
        self, where: Where = (), *, fields: Sequence[PayloadKey] | None = None
    ) -> Iterator[Point]:
        """Yield every point that matches; see stores.base.Collection."""


class StoredDocument(NamedTuple):
    """One document in the collection. `complete`: exactly the points of its version are stored."""

    source: str
    file: str
    root: str
    digest: str  # "" for a document without a mark
    recipe: str
    parts: int
    size: int
    mtime_ns: int
    chunks: int
    complete: bool


@dataclass(frozen=True, slots=True)
class State:
    """Every document of a collection, by source and by file."""

    documents: Mapping[str, StoredDocument] = field(default_factory=dict)
    files: Mapping[str, tuple[StoredDocument, ...]] = field(default_factory=dict)


def read_state(collection: PointReader) -> State:
    """Return the documents of `collection`, including those without a mark."""
    counts = collection.facet("version", of_all=True)
    documents: dict[str, StoredDocument] = {}
    shared: dict[str, str] = {}  # one object for equal strings of many documents
    marked = own_match("mark", *collection.facet("mark"))
    for point in collection.scroll((marked,), fields=_MARK_FIELDS):
        mark = point.payload
        source, file, root, recipe = mark["source"], mark["file"], mark["root"], mark["recipe"]
        all_stored = counts.pop(mark["version"], 0) == max(1, mark["chunks"])
        documents[source] = StoredDocument(
            source=source,
            file=source if file == source else shared.setdefault(file, file),
            root=shared.setdefault(root, root),
            digest=mark["digest"],
            recipe=shared.setdefault(recipe, recipe),
            parts=mark["parts"],
            size=mark["size"],
            mtime_ns=mark["mtime_ns"],
            chunks=mark["chunks"],
            # Two marks: a run was killed after it wrote the new one and before it removed the old.
            complete=all_stored and source not in documents,
        )
    for source, file, root in _unmarked(collection, list(counts)):
        known = documents.get(source)
        documents[source] = StoredDocument(
            source=source,
            file=file,
            root=root,
            digest=known.digest if known else "",
            recipe="",
            parts=0,
            size=-1,
            mtime_ns=-1,
            chunks=known.chunks if known else 0,
            complete=False,
        )
    return State(documents, by_file(documents.values()))


def as_incomplete(state: State, sources: frozenset[str]) -> State:
    """Return the state with these documents counted as incomplete."""
    if not sources:
        return state
    documents = {
        source: document._replace(complete=document.complete and source not in sources)
        for source, document in state.documents.items()
    }
    return State(documents, by_file(documents.values()))


def by_file(documents: Iterable[StoredDocument]) -> dict[str, tuple[StoredDocument, ...]]:
    """Return the documents grouped by their file."""
    files: dict[str, list[StoredDocument]] = {}
    for document in documents:
        files.setdefault(document.file, []).append(document)
    return {file: tuple(found) for file, found in files.items()}


def _unmarked(collection: PointReader, versions: list[str]) -> set[tuple[str, str, str]]:
    """Return (source, file, root) of the points of these versions."""
    found: set[tuple[str, str, str]] = set()
    for where in own_matches("version", versions):
        for point in collection.scroll(where, fields=("source", "file", "root")):
            payload = point.payload
            found.add((payload["source"], payload["file"], payload["root"]))
    return found
