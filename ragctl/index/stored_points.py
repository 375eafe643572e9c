"""Read stored points: the payloads of a document, and vectors by text hash."""

from collections.abc import Collection as Values
from collections.abc import Iterator, Sequence

from ragctl.collection.conditions import own_matches
from ragctl.collection.ownership import is_own
from ragctl.collection.payload import IndexedKey, Payload, PayloadKey, Point, Vector
from ragctl.stores.base import Collection


class StoredPoints:
    """The points of a collection.

    `distrusted`: ids of points whose vectors must not be used. `donor`: another collection of the
    same identity, where vectors are looked for that the collection lacks.
    """

    def __init__(
        self, collection: Collection, distrusted: Values[str], donor: Collection | None = None
    ) -> None:
        self._collection = collection
        self._donor = donor
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
        found = {
            point.payload["text_hash"]
            for point in self._scroll("text_hash", sorted(hashes), ("text_hash",))
            if self._is_trusted(point)
        }
        if self._donor is not None and (missing := set(hashes) - found):
            found |= StoredPoints(self._donor, ()).embedded(missing)
        return found

    def vectors(self, hashes: Values[str]) -> dict[str, Vector]:
        """Return the stored dense vectors by text hash."""
        points = self._scroll("text_hash", sorted(hashes), ("text_hash",), vectors=True)
        found = {
            point.payload["text_hash"]: point.dense
            for point in points
            if point.dense is not None and self._is_trusted(point)
        }
        if self._donor is not None and (missing := set(hashes) - found.keys()):
            found.update(StoredPoints(self._donor, ()).vectors(missing))
        return found

    def _is_trusted(self, point: Point) -> bool:
        """Return whether the point may lend its vector.

        The text hash of another program's point may be a list, and that of a damaged one missing.
        """
        return point.id not in self._distrusted and isinstance(point.payload.get("text_hash"), str)

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
