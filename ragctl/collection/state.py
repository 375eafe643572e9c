"""What a collection holds, document by document, read from its marks.

Two reads tell all: the marked points (one a document) and the number of points
of each version. A document whose version has not exactly the points its mark
promises was left half written, or half removed, by a run that was killed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast

from ragctl.collection.conditions import Match, Where
from ragctl.collection.payload import Point

_MARK_FIELDS = (
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
_SOME = 500  # values in one filter


class PointReader(Protocol):
    """The reads of a stored collection that its state is made from."""

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
        """Exact number of points for each value of a keyword field."""

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        """Every point that matches."""


class Stored(NamedTuple):
    """One document in the collection. Not `whole`: its points are not those of one state."""

    source: str
    file: str
    root: str
    digest: str
    recipe: str
    parts: int
    size: int
    mtime_ns: int
    chunks: int
    whole: bool


@dataclass(frozen=True, slots=True)
class State:
    """Every document of a collection, by source and by file."""

    documents: Mapping[str, Stored] = field(default_factory=dict)
    files: Mapping[str, tuple[Stored, ...]] = field(default_factory=dict)


def read_state(collection: PointReader) -> State:
    """The documents of `collection`; also those whose mark was never written."""
    counts = collection.facet("version", of_all=True)
    documents: dict[str, Stored] = {}
    alike: dict[str, str] = {}  # of equal strings in many documents one is kept
    marks = Match("mark", tuple(collection.facet("mark")))
    for point in collection.scroll((marks,), fields=_MARK_FIELDS):
        mark = cast(dict[str, str], point.payload)
        numbers = cast(dict[str, int], point.payload)
        source = mark["source"]
        whole = counts.pop(mark["version"], 0) == max(1, numbers["chunks"])
        documents[source] = Stored(
            source=source,
            file=source if mark["file"] == source else alike.setdefault(mark["file"], mark["file"]),
            root=alike.setdefault(mark["root"], mark["root"]),
            digest=mark["digest"],
            recipe=alike.setdefault(mark["recipe"], mark["recipe"]),
            parts=numbers["parts"],
            size=numbers["size"],
            mtime_ns=numbers["mtime_ns"],
            chunks=numbers["chunks"],
            # two marks: a run was killed between writing the new and removing the old
            whole=whole and source not in documents,
        )
    for source, file, root in _unmarked(collection, list(counts)):
        known = documents.get(source)
        documents[source] = Stored(
            source=source,
            file=file,
            root=root,
            digest=known.digest if known else "",
            recipe="",
            parts=0,
            size=-1,
            mtime_ns=-1,
            chunks=known.chunks if known else 0,
            whole=False,
        )
    return State(documents, by_file(documents.values()))


def as_incomplete(state: State, sources: frozenset[str]) -> State:
    """The state in which these documents are not whole."""
    if not sources:
        return state
    documents = {
        source: document._replace(whole=document.whole and source not in sources)
        for source, document in state.documents.items()
    }
    return State(documents, by_file(documents.values()))


def _unmarked(collection: PointReader, versions: list[str]) -> set[tuple[str, str, str]]:
    found: set[tuple[str, str, str]] = set()
    for first in range(0, len(versions), _SOME):
        where = (Match("version", tuple(versions[first : first + _SOME])),)
        for point in collection.scroll(where, fields=("source", "file", "root")):
            payload = cast(dict[str, str], point.payload)
            found.add((payload["source"], payload["file"], payload["root"]))
    return found


def by_file(documents: Iterable[Stored]) -> dict[str, tuple[Stored, ...]]:
    files: dict[str, list[Stored]] = {}
    for document in documents:
        files.setdefault(document.file, []).append(document)
    return {file: tuple(found) for file, found in files.items()}
