"""Make the replicas of a collection equal after a run whose last writes may be on some only.

A write that is refused, because a node is down, stays on the replicas that took it. Qdrant does
not undo it, and does not compare replicas that are both active. What one replica holds is kept
here: points that another one lacks, or holds with another payload, are written again, and points
that only another one holds are deleted. Either state is one that the next run can continue from:
a document is complete only with its mark, which is written after all of its points.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import orjson

from ragctl.collection.conditions import Condition, Has, HasId, NoneOf, own_match
from ragctl.collection.ownership import HAS_OWN_KEY
from ragctl.collection.payload import IndexedKey, PayloadKey, Point
from ragctl.stores.base import Batch
from ragctl.stores.server_writes import MAX_REQUEST_BYTES
from ragctl.text import counted

DOCUMENTS_PER_REQUEST = 50


class ReplicatedCollection(Protocol):
    """What repairing needs of a collection."""

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """See Collection.facet."""

    def scroll(
        self, where: tuple[Condition, ...] = (), *, fields: Sequence[PayloadKey] | None = None
    ) -> Iterator[Point]:
        """See Collection.scroll."""

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""

    def apply(self, batch: Batch) -> None:
        """See Collection.apply."""

    def delete(self, where: tuple[Condition, ...]) -> None:
        """Delete every point that matches, on each replica."""

    def agreed(self, ids: Sequence[str], replicas: int) -> set[str]:
        """Return which of these points so many replicas hold with the same payload."""


def repair_replicas(
    collection: ReplicatedCollection, replicas: int, notify: Callable[[str], object]
) -> None:
    """Compare the points of so many replicas, and make them equal."""
    sources = sorted(collection.facet("source"))
    written = 0
    for first in range(0, len(sources), DOCUMENTS_PER_REQUEST):
        group = own_match("source", *sources[first : first + DOCUMENTS_PER_REQUEST])
        ids = [point.id for point in collection.scroll((group,), fields=("source",))]
        differing = sorted(set(ids) - collection.agreed(ids, replicas))
        points = collection.retrieve(differing, vectors=True)
        collection.apply(Batch(upserts=points))
        written += len(points)
        kept = set(ids).difference(differing).union(point.id for point in points)
        collection.delete((group, NoneOf((HasId(tuple(sorted(kept))),))))
    others = _others(sources)
    if others is not None:
        collection.delete(others)
    if written:
        notify(f"wrote again {counted(written, 'point')} that only some replicas held")


def _others(sources: Sequence[str]) -> tuple[Condition, ...] | None:
    """Select the points of all other documents.

    None if that takes too large a request, or if no document is known: a replica that lost
    everything must not empty the others.
    """
    if not sources or len(orjson.dumps(sources)) > MAX_REQUEST_BYTES // 2:
        return None
    own: tuple[Condition, ...] = (HAS_OWN_KEY, Has("version"), Has("source"))
    return (*own, NoneOf((own_match("source", *sources),)))
