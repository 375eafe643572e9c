"""What the store has already: the points of documents, and vectors by the hash of their text."""

from collections.abc import Collection as Values
from collections.abc import Iterator, Sequence

from ragctl.collection.conditions import Match
from ragctl.collection.payload import Payload, Point, Vector
from ragctl.stores.base import Collection

_SOME = 256  # values in one filter, and vectors looked up at a time


class StoredPoints:
    """Looks things up in a collection. `distrusted`: ids of points whose vectors nobody may use."""

    def __init__(self, collection: Collection, distrusted: Values[str]) -> None:
        self._collection = collection
        self._distrusted = distrusted

    def by_source(self, sources: Sequence[str]) -> dict[str, dict[str, Payload]]:
        """The payloads of each document's points, by source and id."""
        found: dict[str, dict[str, Payload]] = {source: {} for source in sources}
        for point in self._lookup("source", sources):
            found[str(point.payload["source"])][point.id] = point.payload
        return found

    def embedded(self, hashes: Values[str]) -> set[str]:
        """Those of the texts whose vectors are there."""
        return {
            str(point.payload["text_hash"])
            for point in self._lookup("text_hash", sorted(hashes), ("text_hash",))
            if point.id not in self._distrusted
        }

    def vectors(self, hashes: Values[str]) -> dict[str, Vector]:
        """Their vectors."""
        found = self._lookup("text_hash", sorted(hashes), ("text_hash",), vectors=True)
        return {
            str(point.payload["text_hash"]): point.dense
            for point in found
            if point.dense is not None and point.id not in self._distrusted
        }

    def _lookup(
        self,
        key: str,
        values: Sequence[str],
        fields: tuple[str, ...] | None = None,
        *,
        vectors: bool = False,
    ) -> Iterator[Point]:
        for first in range(0, len(values), _SOME):
            where = (Match(key, tuple(values[first : first + _SOME])),)
            yield from self._collection.scroll(where, fields=fields, vectors=vectors)
