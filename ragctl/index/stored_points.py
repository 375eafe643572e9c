"""Read stored points: the payloads of a document, and vectors by text hash."""

from collections.abc import Collection as Values
from collections.abc import Iterator, Sequence

from ragctl.collection.conditions import own_matches
from ragctl.collection.ownership import is_own
from ragctl.collection.payload import IndexedKey, Payload, PayloadKey, Point, Vector
from ragctl.stores.base import Collection


class StoredPoints:
    """The points of a collection. `distrusted`: ids of points whose vectors must not be used."""

    def __init__(self, collection: Collection, distrusted: Values[str]) -> None:
        self._collection = collection
        self._distrusted = distrusted

    def by_source(self, sources: Sequence[str]) -> dict[str, dict[str, Payload]]:
        """Return the payloads of each document's points: source → id → payload."""
        payloads: dict[str, dict[str, Payload]] = {source: {} for source in sources}
        for point in self._scroll("source", sources):
            if is_own(point.payload):
                payloads[point.payload["source"]][point.id] = point.payload
        return payloads

    def embedded(self, hashes: Values[str]) -> set[str]:
        """Return the text hashes whose vectors are stored."""
        return {
            point.payload["text_hash"]
            for point in self._scroll("text_hash", sorted(hashes), ("text_hash",))
            if self._is_trusted(point)
        }

    def vectors(self, hashes: Values[str]) -> dict[str, Vector]:
        """Return the stored dense vectors by text hash."""
        points = self._scroll("text_hash", sorted(hashes), ("text_hash",), vectors=True)
        return {
            point.payload["text_hash"]: point.dense
            for point in points
            if point.dense is not None and self._is_trusted(point)
        }

    def _is_trusted(self, point: Point) -> bool:
        """Return whether the point may lend its vector; another program's may hold a list."""
        return point.id not in self._distrusted and isinstance(point.payload["text_hash"], str)

    def _scroll(
        self,
        key: IndexedKey,
        values: Sequence[str],
        fields: tuple[PayloadKey, ...] | None = None,
        *,
        vectors: bool = False,
    ) -> Iterator[Point]:
        for where in own_matches(key, values):
            yield from self._collection.scroll(where, fields=fields, vectors=vectors)
