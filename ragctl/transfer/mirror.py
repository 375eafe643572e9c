"""Write the documents of one collection to another one with the vectors that are stored.

Documents keep their ids, payloads and marks. The order of writes is that of a run: new points
first, then the mark, then deletions. So whatever ends the work, the target holds each document's
old chunks or its new ones, and the next call goes on from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ragctl.collection.payload import Point, Vector
from ragctl.collection.state import State, StoredDocument
from ragctl.errors import StoreError
from ragctl.index.cancellation import Cancellation
from ragctl.index.report import Report
from ragctl.index.writer import Writer
from ragctl.progress import Progress
from ragctl.stores.base import Batch, Collection
from ragctl.transfer.documents import Difference, Original, in_groups, is_whole, read_points

MIN_COSINE = 0.999
"""Lowest cosine between a vector and its stored form in a collection of smaller numbers."""

MIN_COSINES = {"turbo4": 0.98}
"""The same where it is lower: four bits of a number keep a cosine of about 0.995."""


class Mirror:
    """Brings a target collection to the state of a source collection.

    `convert` returns the vectors that the target stores for dense vectors of the source, each of
    shape (dim,). `exact`: the target stores vectors bit by bit; else up to MIN_COSINE.
    `rewrite`: write every vector of a changed document, as it may differ though its text is equal.
    """

    def __init__(
        self,
        source: Original,
        target: Collection,
        *,
        convert: Callable[[Vector], Vector] = lambda vector: vector,
        exact: bool = True,
        rewrite: bool = False,
        cancellation: Cancellation | None = None,
        report: Report,
        progress: Progress | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._convert = convert
        self._exact = exact
        self._min_cosine = MIN_COSINES.get(target.settings.server.datatype or "", MIN_COSINE)
        self._rewrite = rewrite
        self._cancellation = cancellation or Cancellation()
        self._report = report
        self._progress = progress or Progress()

    def sync(self, difference: Difference, stored: State, *, unfinished: bool = False) -> None:
        """Write the difference; `stored` is the state of the target.

        A document that changes meanwhile is left to the next call. `unfinished`: also write the
        points of unfinished documents, as they are. Raises StoreError if the target returns
        something else than what was written, Interrupted after a cancellation.
        """
        self._progress.begin("copy", "document", len(difference.changed))
        for group in in_groups(difference.changed):
            self._cancellation.raise_if_cancelled()
            self._write(group, stored, whole=True)
            self._progress.advance(len(group))
        if unfinished:
            self._progress.grow(len(difference.unfinished))
            for group in in_groups(difference.unfinished):
                self._cancellation.raise_if_cancelled()
                self._write(group, stored, whole=False)
                self._progress.advance(len(group))
        self._cancellation.raise_if_cancelled()
        self._progress.begin("delete")
        writer = Writer(self._target)
        writer.delete_documents(difference.removed)
        writer.flush()
        self._report.documents.removed += len(difference.removed)
        self._report.chunks.deleted += writer.written.deleted

    def _write(self, documents: Sequence[StoredDocument], stored: State, *, whole: bool) -> None:
        new = [document for document in documents if document.source not in stored.documents]
        known = [document for document in documents if document.source in stored.documents]
        for group, is_new in ((new, True), (known, False)):
            if not group:
                continue
            points = read_points(self._source, group, vectors=is_new or self._rewrite)
            ready = [d for d in group if not whole or is_whole(points[d.source], d)]
            if is_new:
                self._report.documents.added += len(ready)
                self._put([point for d in ready for point in points[d.source]])
            else:
                self._report.documents.updated += len(ready)
                self._update({d.source: points[d.source] for d in ready}, ready)

    def _put(self, points: Sequence[Point]) -> None:
        """Write new points, with their vectors."""
        written = [self._converted(point) for point in points]
        batch = Batch(
            upserts=[point for point in written if "mark" not in point.payload],
            marks=[point for point in written if "mark" in point.payload],
        )
        self._apply(batch)

    def _update(self, points: dict[str, list[Point]], documents: Sequence[StoredDocument]) -> None:
        """Write what differs of documents that the target has in another state."""
        before = {
            point.id: point
            for found in read_points(self._target, documents, vectors=False).values()
            for point in found
        }
        wanted = {point.id: point for found in points.values() for point in found}
        read = wanted if self._rewrite else self._missing(wanted, before)
        if read is None:
            return  # the document changes at this moment
        batch = Batch(deletes=[point_id for point_id in before if point_id not in wanted])
        for point in wanted.values():
            marked = "mark" in point.payload
            if point.id in read:
                (batch.marks if marked else batch.upserts).append(self._converted(read[point.id]))
            elif before[point.id].payload != point.payload:
                rewrites = batch.mark_overwrites if marked else batch.overwrites
                rewrites.append((point.id, point.payload))
        self._apply(batch)

    def _missing(
        self, wanted: Mapping[str, Point], before: Mapping[str, Point]
    ) -> Mapping[str, Point] | None:
        """Return the points whose vectors the target lacks; None if one changed meanwhile."""
        missing = [
            point.id
            for point in wanted.values()
            if (known := before.get(point.id)) is None
            or any(
                known.payload.get(key) != point.payload.get(key) for key in ("text_hash", "lang")
            )
        ]
        read = {point.id: point for point in self._source.retrieve(missing, vectors=True)}
        if any(
            point_id not in read or read[point_id].payload != wanted[point_id].payload
            for point_id in missing
        ):
            return None
        return read

    def _converted(self, point: Point) -> Point:
        return point if point.dense is None else replace(point, dense=self._convert(point.dense))

    def _apply(self, batch: Batch) -> None:
        """Write a batch, then read it back and compare. Raises StoreError if it differs."""
        self._target.apply(batch)
        points = [*batch.upserts, *batch.marks]
        payloads = dict([*batch.overwrites, *batch.mark_overwrites])
        self._report.chunks.reused += len(points)
        self._report.chunks.deleted += len(batch.deletes)
        stored = {p.id: p for p in self._target.retrieve([p.id for p in points], vectors=True)}
        for point in points:
            if point.id not in stored or not self._equal(point, stored[point.id]):
                self._differs(point.id, point.payload["source"])
        found = {p.id: p.payload for p in self._target.retrieve(list(payloads))}
        for point_id, payload in payloads.items():
            if found.get(point_id) != payload:
                self._differs(point_id, payload["source"])

    def _equal(self, point: Point, stored: Point) -> bool:
        if point.payload != stored.payload:
            return False
        if (point.dense is None) != (stored.dense is None):
            return False
        if point.sparse is not None and point.sparse.indices and point.sparse != stored.sparse:
            return False
        if point.dense is None or stored.dense is None:
            return True
        if self._exact:
            return bool(np.allclose(point.dense, stored.dense, rtol=0, atol=1e-6))
        norm = float(np.linalg.norm(point.dense) * np.linalg.norm(stored.dense))
        return norm > 0 and float(point.dense @ stored.dense) / norm >= self._min_cosine

    def _differs(self, point_id: str, source: str) -> None:
        raise StoreError(
            f"collection {self._target.name!r}: point {point_id} of {source} differs after it was "
            "written; run the command again, and `ragctl verify` if it differs again"
        )
