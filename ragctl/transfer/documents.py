"""What two collections differ in, document by document, and the points of their documents."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ragctl.collection.conditions import Where, own_matches
from ragctl.collection.notes import Notes
from ragctl.collection.payload import IndexedKey, PayloadKey, Point
from ragctl.collection.points import version
from ragctl.collection.settings import Settings
from ragctl.collection.state import State, StoredDocument, by_file, read_state
from ragctl.errors import UsageError
from ragctl.stores.base import Collection

GROUP_POINTS = 500
"""Points of the documents that are read and written together."""


class Original(Protocol):
    """What is read of a collection to sync another one with it; see stores.base.Collection."""

    name: str
    settings: Settings

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """See Collection.facet."""

    def scroll(
        self,
        where: Where = (),
        *,
        fields: Sequence[PayloadKey] | None = None,
        vectors: bool = False,
    ) -> Iterator[Point]:
        """See Collection.scroll."""

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""

    def notes(self) -> Notes:
        """See Collection.notes."""

    def close(self) -> None:
        """See Collection.close."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a target lacks to equal its source.

    `changed`: documents to write, new ones included. `removed`: sources of documents that the
    source collection does not have. `unfinished`: documents that are incomplete in the source
    collection: a run is writing them now, or was killed. `unchanged`: number of equal documents.
    """

    changed: tuple[StoredDocument, ...]
    removed: tuple[str, ...]
    unfinished: tuple[StoredDocument, ...]
    unchanged: int

    @property
    def is_empty(self) -> bool:
        """Whether the target equals the source, as far as the source is complete."""
        return not self.changed and not self.removed


def compare(source: Original, target: Collection) -> tuple[Difference, State]:
    """Return what `target` lacks, and its state. Reads the marks of both."""
    return compare_with(read_state(source), target)


def compare_with(
    wanted: State, target: Collection, *, source_name: str | None = None
) -> tuple[Difference, State]:
    """Return what `target` lacks to equal a source in state `wanted`, and the target's state.

    `source_name`: the target also has documents from elsewhere; return and compare only those
    of this source. Raises UsageError if one from elsewhere has the name of a document of it.
    """
    stored = read_state(target)
    if source_name is not None:
        stored = _of_source(source_name, stored, wanted.documents, target.name)
    changed, unfinished, unchanged = [], [], 0
    for name, document in wanted.documents.items():
        if not document.complete:
            unfinished.append(document)
        elif stored.documents.get(name) != document:
            changed.append(document)
        else:
            unchanged += 1
    removed = tuple(sorted(set(stored.documents) - set(wanted.documents)))
    return Difference(tuple(changed), removed, tuple(unfinished), unchanged), stored


def _of_source(
    source_name: str, stored: State, wanted: Mapping[str, StoredDocument], name: str
) -> State:
    documents = {
        key: each for key, each in stored.documents.items() if each.source_name == source_name
    }
    for key in wanted:
        if key in stored.documents and key not in documents:
            raise UsageError(
                f"collection {name!r} has a document {key!r} from "
                f"{stored.documents[key].source_name}; "
                "copy to another name, or delete that document with `ragctl delete`"
            )
    return State(documents, by_file(documents.values()), stored.points)


def in_groups(documents: Sequence[StoredDocument]) -> Iterator[list[StoredDocument]]:
    """Yield the documents in groups of about GROUP_POINTS points."""
    group: list[StoredDocument] = []
    points = 0
    for document in documents:
        count = max(1, document.chunks)
        if group and points + count > GROUP_POINTS:
            yield group
            group, points = [], 0
        group.append(document)
        points += count
    if group:
        yield group


def read_points(
    collection: Original, documents: Sequence[StoredDocument], *, vectors: bool
) -> dict[str, list[Point]]:
    """Return the points of each document, in order of their chunks."""
    points: dict[str, list[Point]] = {document.source: [] for document in documents}
    for where in own_matches("source", list(points)):
        for point in collection.scroll(where, vectors=vectors):
            points[point.payload["source"]].append(point)
    for found in points.values():
        found.sort(key=lambda point: point.payload["ordinal"])
    return points


def is_whole(points: Sequence[Point], document: StoredDocument) -> bool:
    """Return whether these are exactly the points of the document's version.

    False if a run changed or removed the document since its mark was read.
    """
    expected = version(document.source, document.digest)
    return (
        len(points) == max(1, document.chunks)
        and all(point.payload["version"] == expected for point in points)
        and "mark" in points[0].payload
        and [point.payload["ordinal"] for point in points] == list(range(len(points)))
    )
