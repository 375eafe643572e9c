"""Writes to a collection in batches whose order keeps every document findable.

Within a batch, and so over the whole run: the new points of a document, then the payloads
of its kept points, then its first point with the mark, and only then the deletion of its
obsolete points.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from ragctl.collection.conditions import Where, own_matches
from ragctl.collection.ownership import OWN_KEYS, is_own
from ragctl.collection.payload import Payload, Point, Vector
from ragctl.stores.base import Batch, Collection

MAX_BATCH_WRITES = 256
MAX_BATCH_AGE_SECONDS = 1.0
"""A kill loses at most the vectors of this many seconds."""


class Writer:
    """A buffer of writes to a collection.

    `recent`: dense vectors not yet written, by text hash. `deleted`: number of points
    deleted. `seconds` spent writing.
    """

    def __init__(self, collection: Collection) -> None:
        self.deleted = 0
        self.seconds = 0.0
        self.recent: dict[str, Vector] = {}
        self._collection = collection
        self._batch = Batch()
        self._firsts: dict[str, Point] = {}  # unmarked first points of this batch, by id
        self._writes = 0
        self._since = time.monotonic()

    def put(self, point: Point) -> None:
        """Add a new point that is not the first of its document."""
        self._batch.upserts.append(point)
        self._remember(point)
        self._count()

    def put_first(self, point: Point) -> None:
        """Add a new first point without its mark; `remark` will mark it."""
        self._firsts[point.id] = point
        self._remember(point)
        self._count()

    def rewrite(self, point_id: str, payload: Payload) -> None:
        """Replace the payload of a kept point that is not the first of its document."""
        self._batch.overwrites.append((point_id, payload))
        self._count()

    def mark(self, first: Point) -> None:
        """Add the marked first point of a document whose other points were all added before."""
        self._batch.marks.append(first)
        self._remember(first)
        self._count()

    def remark(self, point_id: str, payload: Payload) -> None:
        """Mark a first point that is stored already, or was added with `put_first`."""
        if (first := self._firsts.pop(point_id, None)) is not None:
            self._batch.marks.append(replace(first, payload=payload))
        else:
            self._batch.mark_overwrites.append((point_id, payload))
            self._count()

    def merge(self, where: Where, values: Payload) -> None:
        """Set payload fields of all points that match."""
        self._batch.merges.append((where, values))
        self._count()

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points of a document that has been marked already, or of no document."""
        self._batch.deletes.extend(ids)
        self.deleted += len(ids)
        self._count(len(ids))

    def take_back(self, ids: Sequence[str]) -> None:
        """Delete points of this run that never belonged to a complete document."""
        for point_id in ids:
            self._firsts.pop(point_id, None)
        self._batch.deletes.extend(ids)
        self._count(len(ids))

    def delete_documents(self, sources: Sequence[str]) -> None:
        """Delete every point of these documents, but none of another program."""
        for where in own_matches("source", sources):
            points = self._collection.scroll(where, fields=OWN_KEYS)
            self.delete([point.id for point in points if is_own(point.payload)])
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write the batch if it is large or old enough."""
        age = time.monotonic() - self._since
        if self._writes and (self._writes >= MAX_BATCH_WRITES or age > MAX_BATCH_AGE_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Write the batch. Raises StoreError."""
        batch, self._batch = self._batch, Batch()
        batch.upserts.extend(self._firsts.values())
        self._firsts.clear()
        writes, self._writes = self._writes, 0
        began = time.monotonic()
        if writes:
            self._collection.apply(batch)
        self.recent.clear()
        self._since = time.monotonic()
        self.seconds += self._since - began

    def _remember(self, point: Point) -> None:
        if point.dense is not None:
            self.recent[point.payload["text_hash"]] = point.dense

    def _count(self, writes: int = 1) -> None:
        if self._writes == 0:
            self._since = time.monotonic()
        self._writes += writes
