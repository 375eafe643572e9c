"""The state of a collection, or of some of its documents, read from their marks.

Two reads are enough: the marked points (one for each document) and the number of points of
each version. A document is complete when its version has as many points as its mark says.
Otherwise a run was killed while it wrote or removed the document. Points of other programs are
no documents.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from ragctl.collection.conditions import AnyOf, Prefix, Where, own_matches
from ragctl.collection.ownership import OWN_KEYS, is_own, wrong_keys
from ragctl.collection.payload import IndexedKey, Payload, PayloadKey, Point

_MARK_FIELDS: tuple[PayloadKey, ...] = (
    "source",
    "file",
    "source_name",
    "digest",
    "version",
    "recipe",
    "chunks",
    "parts",
    "size",
    "mtime_ns",
    "stamp",
)
_READ_FIELDS: tuple[PayloadKey, ...] = tuple(dict.fromkeys((*_MARK_FIELDS, "mark", *OWN_KEYS)))
_VERSION = re.compile(r"[0-9a-f]{32}")


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
    source_name: str
    digest: str  # "" for a document without a mark
    recipe: str
    parts: int
    size: int
    mtime_ns: int
    chunks: int
    complete: bool
    stamp: str = ""

    @property
    def path(self) -> str:
        """The path of its file below its source."""
        return self.file.removeprefix(f"{self.source_name}/")


@dataclass(frozen=True, slots=True)
class State:
    """Documents of a collection, by source and by file. `points`: all points of documents.

    `whole`: returns the state of the whole collection, if this is that of some documents.
    """

    documents: Mapping[str, StoredDocument] = field(default_factory=dict)
    files: Mapping[str, tuple[StoredDocument, ...]] = field(default_factory=dict)
    points: int = 0
    whole: "Callable[[], State] | None" = None

    def sizes(self) -> Counter[str]:
        """Return the number of documents of each source in the whole collection."""
        state = self if self.whole is None else self.whole()
        return Counter(document.source_name for document in state.documents.values())


def read_state(collection: PointReader) -> State:
    """Return the documents of `collection`, including those without a mark."""
    versions = collection.facet("version", of_all=True)
    counts = {name: count for name, count in versions.items() if _VERSION.fullmatch(name)}
    marks = _payloads(collection, "mark", list(collection.facet("mark")))
    return _state(marks, counts, lambda left: _payloads(collection, "version", left))


def read_documents(
    collection: PointReader, sources: Sequence[str], prefixes: Sequence[str] = ()
) -> State:
    """Return the state of some documents, including those without a mark.

    `sources`: their names. `prefixes`: beginnings of the names of others. Reads their points only.
    """
    wheres = list(own_matches("source", sources))
    if prefixes:
        wheres.append((AnyOf(tuple(Prefix("source", prefix) for prefix in prefixes)),))
    points = {
        point.id: point.payload
        for where in wheres
        for point in collection.scroll(where, fields=_READ_FIELDS)
        if is_own(point.payload)
    }
    counts = Counter(
        version
        for payload in points.values()
        if isinstance(version := payload.get("version"), str) and _VERSION.fullmatch(version)
    )
    marks = [payload for payload in points.values() if "mark" in payload]

    def without_mark(versions: list[str]) -> Iterator[Payload]:
        return (payload for payload in points.values() if payload.get("version") in versions)

    state = _state(marks, dict(counts), without_mark)
    return replace(state, whole=lambda: read_state(collection))


def _state(
    marks: Iterable[Payload],
    counts: dict[str, int],
    payloads_of: Callable[[list[str]], Iterable[Payload]],
) -> State:
    """Return the state of the documents with these marks, and of those without a mark.

    `counts`: number of points by version. `payloads_of` returns the payloads of some versions.
    """
    documents: dict[str, StoredDocument] = {}
    shared: dict[str, str] = {}  # one object for equal strings of many documents
    points = 0
    for mark in marks:
        if wrong_keys(mark, _MARK_FIELDS):
            continue  # damaged: read below, as if it had no mark
        source, file, recipe = mark["source"], mark["file"], mark["recipe"]
        source_name = mark["source_name"]
        stored = counts.pop(mark["version"], 0)
        points += stored
        all_stored = stored == max(1, mark["chunks"])
        documents[source] = StoredDocument(
            source=source,
            file=source if file == source else shared.setdefault(file, file),
            source_name=shared.setdefault(source_name, source_name),
            digest=mark["digest"],
            recipe=shared.setdefault(recipe, recipe),
            parts=mark["parts"],
            size=mark["size"],
            mtime_ns=mark["mtime_ns"],
            chunks=mark["chunks"],
            # Two marks: a run was killed after it wrote the new one and before it removed the old.
            complete=all_stored and source not in documents,
            stamp=mark["stamp"],
        )
    for payload in payloads_of(list(counts)):
        source = payload["source"]
        points += 1
        known = documents.get(source)
        if known is not None and not known.complete and not known.recipe:
            continue
        documents[source] = StoredDocument(
            source=source,
            file=source if wrong_keys(payload, ("file",)) else payload["file"],
            source_name="" if wrong_keys(payload, ("source_name",)) else payload["source_name"],
            digest=known.digest if known else "",
            recipe="",
            parts=0,
            size=-1,
            mtime_ns=-1,
            chunks=known.chunks if known else 0,
            complete=False,
        )
    return State(documents, by_file(documents.values()), points)


def as_incomplete(state: State, sources: frozenset[str]) -> State:
    """Return the state with these documents counted as incomplete."""
    if not sources:
        return state
    documents = {
        source: document._replace(complete=document.complete and source not in sources)
        for source, document in state.documents.items()
    }
    return replace(state, documents=documents, files=by_file(documents.values()))


def by_file(documents: Iterable[StoredDocument]) -> dict[str, tuple[StoredDocument, ...]]:
    """Return the documents grouped by their file."""
    files: dict[str, list[StoredDocument]] = {}
    for document in documents:
        files.setdefault(document.file, []).append(document)
    return {file: tuple(found) for file, found in files.items()}


def _payloads(collection: PointReader, key: IndexedKey, values: list[str]) -> Iterator[Payload]:
    """Yield the payloads of ragctl's points with these values, reading _READ_FIELDS."""
    for where in own_matches(key, values):
        for point in collection.scroll(where, fields=_READ_FIELDS):
            if is_own(point.payload):
                yield point.payload
