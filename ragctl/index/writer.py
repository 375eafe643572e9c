"""Writes to a collection in batches whose order keeps every document findable.

Within a batch, and so over the whole run: the new points of a document, then the payloads
of its kept points, then its first point with the mark, and only then the deletion of its
obsolete points.

What is counted is what the store has acknowledged: a batch that fails counts for nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ragctl.collection.conditions import MAX_FILTER_VALUES, Where, own_match
from ragctl.collection.ownership import OWN_KEYS, is_own
from ragctl.collection.payload import Payload, Point, Vector
from ragctl.index.report import ChunkCounts
from ragctl.progress import Progress
from ragctl.stores.base import Batch, Collection

MAX_BATCH_WRITES = 256
MAX_BATCH_AGE_SECONDS = 1.0
"""A kill loses at most the vectors of this many seconds."""


class Writer:
    """A buffer of writes to a collection.

    `recent`: dense vectors not yet written, by text hash. `written`: what the store has
    acknowledged. `seconds` spent writing.
    """

    def __init__(self, collection: Collection, progress: Progress | None = None) -> None:
        self.written = ChunkCounts()
        self.seconds = 0.0
        self.recent: dict[str, Vector] = {}
        self._collection = collection
        self._progress = progress or Progress()
        self._batch = Batch()
        self._firsts: dict[str, Point] = {}  # unmarked first points of this batch, by id
        self._counts = ChunkCounts()  # of this batch
        self._when_written: list[Callable[[], None]] = []
        self._writes = 0
        self._since = time.monotonic()

    def count(self, *, embedded: int = 0, reused: int = 0) -> None:
        """Count chunks of points that were added to this batch."""
        self._counts.embedded += embedded
        self._counts.reused += reused

    def when_written(self, action: Callable[[], None]) -> None:
        """Call `action` once everything added so far is stored; never, if that fails."""
        if self._writes:
            self._when_written.append(action)
        else:
            action()

    def put(self, point: Point) -> None:
        """Add a new point that is not the first of its document."""
        self._batch.upserts.append(point)
        self._remember(point)
        self._add_writes()

    def put_first(self, point: Point) -> None:
        """Add a new first point without its mark; `remark` will mark it."""
        self._firsts[point.id] = point
        self._remember(point)
        self._add_writes()

    def rewrite(self, point_id: str, payload: Payload) -> None:
        """Replace the payload of a kept point that is not the first of its document."""
        self._batch.overwrites.append((point_id, payload))
        self._add_writes()

    def mark(self, first: Point) -> None:
        """Add the marked first point of a document whose other points were all added before."""
        self._batch.marks.append(first)
        self._remember(first)
        self._add_writes()

    def remark(self, point_id: str, payload: Payload) -> None:
        """Mark a first point that is stored already, or was added with `put_first`."""
        if (first := self._firsts.pop(point_id, None)) is not None:
            self._batch.marks.append(replace(first, payload=payload))
        else:
            self._batch.mark_overwrites.append((point_id, payload))
            self._add_writes()

    def merge(self, where: Where, values: Payload) -> None:
        """Set payload fields of all points that match."""
        self._batch.merges.append((where, values))
        self._add_writes()

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points of a document that has been marked already, or of no document."""
        self._batch.deletes.extend(ids)
        self._counts.deleted += len(ids)
        self._add_writes(len(ids))

    def take_back(self, ids: Sequence[str]) -> None:
        """Delete points of this run that never belonged to a complete document.

        They are not counted as deleted; the caller takes them out of its other counts.
        """
        for point_id in ids:
            self._firsts.pop(point_id, None)
        self._batch.deletes.extend(ids)
        self._add_writes(len(ids))

    def delete_documents(
        self, sources: Sequence[str], deleted: Callable[[Sequence[str]], None] = lambda _: None
    ) -> None:
        """Delete every point of these documents, but none of another program.

        `deleted` is called with documents that are gone.
        """
        for first in range(0, len(sources), MAX_FILTER_VALUES):
            portion = sources[first : first + MAX_FILTER_VALUES]
            points = self._collection.scroll((own_match("source", *portion),), fields=OWN_KEYS)
            self.delete([point.id for point in points if is_own(point.payload)])
            self.when_written(partial(deleted, portion))
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
        counts, self._counts = self._counts, ChunkCounts()
        actions, self._when_written = self._when_written, []
        began = time.monotonic()
        if writes:
            before = self._progress.stage("write")
            self._collection.apply(batch)
            self._progress.stage(before)
        self.recent.clear()
        self._since = time.monotonic()
        self.seconds += self._since - began
        self.written.embedded += counts.embedded
        self.written.reused += counts.reused
        self.written.deleted += counts.deleted
        for action in actions:
            action()

    def _remember(self, point: Point) -> None:
        if point.dense is not None:
            self.recent[point.payload["text_hash"]] = point.dense

    def _add_writes(self, writes: int = 1) -> None:
        if self._writes == 0:
            self._since = time.monotonic()
        self._writes += writes
