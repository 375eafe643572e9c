"""Writes to a collection in batches whose order keeps every document findable.

Within a batch, and so over the whole run: the new points of a document, then
the kept ones' payloads, then its first point with the mark, and only then the
points that it no longer has.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from ragctl.collection.conditions import Where, own_matches
from ragctl.collection.payload import Payload, Point, Vector
from ragctl.stores.base import Batch, Collection

_POINTS = 256  # a batch is written when it has so many writes,
_SECONDS = 1.0  # or when it is so old: what a kill can cost


class Writer:
    """Collects writes; `recent` holds the vectors not yet written, by text hash."""

    def __init__(self, collection: Collection) -> None:
        self.deleted = 0
        self.seconds = 0.0  # spent writing
        self.recent: dict[str, Vector] = {}
        self._collection = collection
        self._batch = Batch()
        self._firsts: dict[str, Point] = {}  # of this batch, whose documents are not whole yet
        self._writes = 0
        self._since = time.monotonic()

    def put(self, point: Point) -> None:
        """A new point that is not the first of its document."""
        self._batch.upserts.append(point)
        self._remember(point)
        self._wrote()

    def put_first(self, point: Point) -> None:
        """A new first point, without the mark that `remark` will give it."""
        self._firsts[point.id] = point
        self._remember(point)
        self._wrote()

    def rewrite(self, point_id: str, payload: Payload) -> None:
        """A new payload for a point that stays and is not the first of its document."""
        self._batch.overwrites.append((point_id, payload))
        self._wrote()

    def mark(self, first: Point) -> None:
        """The first point of a document, all of whose others were put before."""
        self._batch.marks.append(first)
        self._remember(first)
        self._wrote()

    def remark(self, point_id: str, payload: Payload) -> None:
        """As `mark`, where the point exists already or was put."""
        if (first := self._firsts.pop(point_id, None)) is not None:
            self._batch.marks.append(replace(first, payload=payload))
        else:
            self._batch.mark_overwrites.append((point_id, payload))
            self._wrote()

    def merge(self, where: Where, values: Payload) -> None:
        self._batch.merges.append((where, values))
        self._wrote()

    def drop(self, ids: Sequence[str]) -> None:
        """Points of a document that was marked before."""
        self._batch.deletes.extend(ids)
        self.deleted += len(ids)
        self._wrote(len(ids))

    def take_back(self, ids: Sequence[str]) -> None:
        """Points put by this run that were never part of a whole document."""
        for point_id in ids:
            self._firsts.pop(point_id, None)
        self._batch.deletes.extend(ids)
        self._wrote(len(ids))

    def drop_documents(self, sources: Sequence[str]) -> None:
        """Every point of these documents."""
        for where in own_matches("source", sources):
            self.drop([point.id for point in self._collection.scroll(where, fields=("source",))])
            self.flush_if_due()

    def flush_if_due(self) -> None:
        due = self._writes >= _POINTS or time.monotonic() - self._since > _SECONDS
        if due and self._writes:
            self.flush()

    def flush(self) -> None:
        batch, self._batch = self._batch, Batch()
        batch.upserts.extend(self._firsts.values())
        self._firsts.clear()
        written, self._writes = self._writes, 0
        began = time.monotonic()
        if written:
            self._collection.apply(batch)
        self.recent.clear()
        self._since = time.monotonic()
        self.seconds += self._since - began

    def _remember(self, point: Point) -> None:
        if point.dense is not None:
            self.recent[point.payload["text_hash"]] = point.dense

    def _wrote(self, count: int = 1) -> None:
        if self._writes == 0:
            self._since = time.monotonic()
        self._writes += count
