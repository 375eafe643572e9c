"""A collection of the embedded store, and its points."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

from ragctl.collection.conditions import Has, Where
from ragctl.collection.notes import Notes
from ragctl.collection.ownership import HAS_OWN_KEY
from ragctl.collection.payload import Payload, Point
from ragctl.collection.settings import META_PREFIX, Settings
from ragctl.errors import StoreError
from ragctl.records import Notify, ignore
from ragctl.stores import segments
from ragctl.stores.base import Batch, Query, Scored
from ragctl.stores.conditions import prepare
from ragctl.stores.edge_layout import writing
from ragctl.stores.edge_process import ShardProcess
from ragctl.stores.edge_settings import load_notes, restore_copies, save_notes, save_settings
from ragctl.stores.edge_space import MIN_FREE_BYTES, DiskSpace
from ragctl.stores.edge_values import (
    PlainPoint,
    estimated_bytes,
    plain_batch,
    plain_searches,
    read_point,
)
from ragctl.stores.searching import VectorName, answer

PAGE_POINTS = 1000
"""Points read at a time with whole payloads; with vectors a tenth."""

LEAN_PAGE_POINTS = 5000
"""Points read at a time when only some fields are asked for."""


class EdgeCollection:
    """One generation of a collection of an EdgeStore.

    `folder`: holds its files. `lock`: holds the lock of its name. `space`: of the disk.
    """

    max_hits = 2**31  # no limit
    own: Where = (HAS_OWN_KEY,)
    is_shared = False  # only ragctl writes to its folder

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: Settings,
        process: ShardProcess,
        lock: Callable[..., AbstractContextManager[None]],
        space: DiskSpace,
    ) -> None:
        self.name = name
        self.settings = settings
        self._folder = folder
        self._process = process
        self._lock = lock
        self._space = space
        self._unsealed_bytes = 0  # written since the last seal, estimated
        self._finished = False  # by an earlier run that used this object
        self._joining_works = True  # until it fails

    def apply(self, batch: Batch) -> None:
        """See Collection.apply. Raises StoreError when the disk is nearly full."""
        if batch == Batch(deletes=batch.deletes):
            self._space.check_for_delete()
        else:
            self._space.check()
        merges = [(self._prepared(where), payload) for where, payload in batch.merges]
        self._process.call("apply", plain_batch(batch, merges))
        self._unsealed_bytes += sum(map(estimated_bytes, (*batch.upserts, *batch.marks)))
        if self._unsealed_bytes >= segments.SEAL_BYTES:
            self._seal(segments.MAX_SMALL_SEGMENTS)

    def _seal(self, max_small: int) -> bool:
        """Seal what was written; join segments if more than `max_small` are not joined.

        Return whether that was done as far as possible; not when the disk is nearly full.
        """
        if self._space.is_short:
            self._process.call("flush")
            return False
        segment_count, points = self._process.call("seal")
        self._unsealed_bytes = 0
        too_many = segment_count > segments.joined(points, self.settings) + max_small
        has_space = self._space.free > MIN_FREE_BYTES + segments.JOIN_FREE_BYTES
        if too_many and has_space and self._joining_works:
            self._join()
        return has_space or not too_many

    def _join(self) -> None:
        """Join sealed segments. After a failure or a timeout the shard keeps small segments."""
        usual = segments.config(self.settings)
        joined = segments.config(self.settings, segments.SEALS_PER_JOINED)
        try:
            self._process.call("join", usual, joined, timeout=segments.JOIN_TIMEOUT_SECONDS)
        except StoreError:
            self._joining_works = False
            self._process.call("configure", usual)

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        """See Collection.scroll."""
        offset: str | None = None
        prepared, names = self._prepared(where), None if fields is None else list(fields)
        page = PAGE_POINTS // 10 if vectors else LEAN_PAGE_POINTS if fields else PAGE_POINTS
        while True:
            points, offset = cast(
                tuple[list[PlainPoint], str | None],
                self._process.call("scroll", offset, page, prepared, names, vectors),
            )
            yield from map(read_point, points)
            if offset is None:
                return

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""
        return list(map(read_point, self._process.call("retrieve", list(ids), vectors)))

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
        """See Collection.facet."""
        counts = self._facet(key, exact=not of_all)
        total = sum(counts.values())
        if of_all and total != self.count() and total != self.count((Has(key),)):
            counts = self._facet(key, exact=True)
        return counts

    def _facet(self, key: str, *, exact: bool) -> dict[str, int]:
        return cast(dict[str, int], self._process.call("facet", key, exact))

    def count(self, where: Where = ()) -> int:
        """See Collection.count."""
        return cast(int, self._process.call("count", self._prepared(where)))

    def query(self, query: Query) -> list[Scored]:
        """See Collection.query."""
        return answer(replace(query, where=self._prepared(query.where)), self)

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """Return the best hits by each of the vectors, in one pass of the engine."""
        quantized = self.settings.quantization is not None
        searches = plain_searches(query, names, limit, payload=payload, quantized=quantized)
        return [
            [Scored(point_id, score, cast(Payload, found)) for point_id, score, found in hits]
            for hits in self._process.call("search", searches)
        ]

    def notes(self) -> Notes:
        """See Collection.notes."""
        return load_notes(self._folder, self.name)

    def note(self, notes: Notes) -> None:
        """See Collection.note."""
        with writing(self._folder):
            save_notes(self._folder, {**self.notes(), **notes})

    def declare(self, fields: Mapping[str, str]) -> None:
        """See Collection.declare."""
        old = self.settings.fields
        new = {name: kind for name, kind in fields.items() if old.get(name) != kind}
        if not new:
            return
        indexes = {f"{META_PREFIX}{name}": kind for name, kind in new.items()}
        self._process.call("create_indexes", indexes)
        self._save(replace(self.settings, fields={**old, **new}))

    def _prepared(self, where: Where) -> Where:
        return prepare(where, self.settings.indexed)

    def _save(self, settings: Settings) -> None:
        with writing(self._folder):
            save_settings(self._folder, settings)
        self.settings = settings

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """See Collection.lock."""
        return self._lock(patience=patience, waiting=waiting)

    def server_state(self) -> None:
        """See Collection.server_state."""

    @property
    def unfinished(self) -> bool:
        """See Collection.unfinished: what a killed run left is compacted with the next writes."""
        return False

    def finish(self, *, notify: Notify = ignore) -> None:
        """See Collection.finish."""
        if self._finished and self._unsealed_bytes < segments.SEAL_BYTES * segments.MIN_SEALED:
            return  # the engine's process makes it durable as soon as it is idle
        self._finished = self._seal(segments.MAX_SMALL_SEGMENTS_AT_END)
        self._space.restore_reserve()
        if not self._space.is_short:
            with writing(self._folder):
                restore_copies(self._folder, self.settings)

    def close(self) -> None:
        """See Collection.close."""
        self._process.close()
