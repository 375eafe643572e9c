"""What two collections differ in, document by document, and the points of their documents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragctl.collection.conditions import own_matches
from ragctl.collection.payload import Point
from ragctl.collection.points import version
from ragctl.collection.state import State, StoredDocument, read_state
from ragctl.stores.base import Collection

GROUP_POINTS = 500
"""Points of the documents that are read and written together."""


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


def compare(source: Collection, target: Collection) -> tuple[Difference, State]:
    """Return what `target` lacks, and its state. Reads the marks of both."""
    wanted, stored = read_state(source), read_state(target)
    return difference_between(wanted, stored), stored


def difference_between(wanted: State, stored: State) -> Difference:
    """Return what a target in state `stored` lacks to equal a source in state `wanted`."""
    changed, unfinished, unchanged = [], [], 0
    for name, document in wanted.documents.items():
        if not document.complete:
            unfinished.append(document)
        elif stored.documents.get(name) != document:
            changed.append(document)
        else:
            unchanged += 1
    removed = tuple(sorted(set(stored.documents) - set(wanted.documents)))
    return Difference(tuple(changed), removed, tuple(unfinished), unchanged)


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
    collection: Collection, documents: Sequence[StoredDocument], *, vectors: bool
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
