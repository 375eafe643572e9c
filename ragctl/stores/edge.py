"""The embedded store: one Edge shard (the Qdrant engine, in process) per collection.

ROOT/collections/NAME/collection.json   settings; a folder with this file is a collection
ROOT/collections/NAME/shard/            the engine's files
ROOT/locks/NAME.{run,shard}.lock        held by the run that writes, by the process with the shard
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

import qdrant_edge as qe

from ragctl.collection.conditions import Where
from ragctl.collection.names import check_name, is_name
from ragctl.collection.notes import Notes
from ragctl.collection.payload import KEYWORD_INDEXES, Payload, Point
from ragctl.collection.settings import META_PREFIX, Settings, how_to_recover, read_settings
from ragctl.errors import StoreError, UnreadableCollection
from ragctl.files import replace_file
from ragctl.records import Notify, ignore
from ragctl.stores import segments
from ragctl.stores.base import Batch, Query, Scored
from ragctl.stores.conditions import prepare
from ragctl.stores.edge_points import (
    estimated_bytes,
    field_index,
    filter_of,
    operations,
    read_point,
    requests,
)
from ragctl.stores.locks import LockWait, fair_lock, private_folder, run_lock
from ragctl.stores.searching import VectorName, answer
from ragctl.stores.shard import Shard, engine_errors

PAGE_POINTS = 1000
"""Points read at a time with whole payloads; with vectors a tenth."""

LEAN_PAGE_POINTS = 5000
"""Points read at a time when only some fields are asked for."""

SHARD_PATIENCE_SECONDS = 60.0
"""Longest wait for another process's batch or search."""

MIN_FREE_BYTES = 192 << 20
"""Disk space that must be free for a write: several times what sealing needs temporarily."""


class EdgeStore:
    """Collections in a folder of this machine. `patience`: seconds to wait for a shard."""

    def __init__(self, root: Path, *, patience: float = SHARD_PATIENCE_SECONDS) -> None:
        self._root = root
        self._patience = patience
        self.location = str(root)

    def names(self) -> list[str]:
        """See Store.names."""
        folder = self._root / "collections"
        if not folder.is_dir():
            return []
        return sorted(
            entry.name
            for entry in folder.iterdir()
            if is_name(entry.name) and (entry / "collection.json").is_file()
        )

    def open(self, name: str) -> "EdgeCollection | None":
        """See Store.open."""
        folder = self._folder(name)
        if not (folder / "collection.json").is_file():
            return None
        settings = _read_settings(folder / "collection.json")
        return EdgeCollection(self, name, folder, settings, patience=self._patience)

    def create(self, name: str, settings: Settings) -> "EdgeCollection":
        """See Store.create."""
        folder = self._folder(name)
        private_folder(folder.parent)
        _check_free_space(folder.parent)
        for leftover in folder.parent.glob(f".{name}.*"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        settings = replace(settings, creation_id=uuid.uuid4().hex)
        unfinished = folder.with_name(f".{name}.{os.getpid()}.new")
        (unfinished / "shard").mkdir(parents=True)
        with engine_errors(f"collection {name!r}"):
            shard = qe.EdgeShard.create(str(unfinished / "shard"), segments.config(settings))
            indexes = {**{str(key): "keyword" for key in KEYWORD_INDEXES}, **settings.indexed}
            for key, kind in indexes.items():
                shard.update(qe.UpdateOperation.create_field_index(key, field_index(kind)))
            shard.close()
        (unfinished / "collection.json").write_text(_encoded(settings), encoding="utf-8")
        try:
            unfinished.rename(folder)  # atomic: a collection exists completely or not at all
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise StoreError(f"collection {name!r} exists already in {self._root}") from error
        return EdgeCollection(self, name, folder, settings, patience=self._patience)

    def drop(self, name: str) -> None:
        """See Store.drop."""
        folder = self._folder(name)
        dropped = folder.with_name(f".{name}.{os.getpid()}.dropped")
        with fair_lock(self.lock_path(name, "shard"), f"collection {name!r}", self._patience):
            try:
                folder.rename(dropped)
            except FileNotFoundError:
                return
        shutil.rmtree(dropped)

    def lock(
        self, name: str, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """See Store.lock."""
        self._folder(name)
        private_folder(self._root)
        wait = LockWait(patience, waiting)
        return run_lock(self.lock_path(name, "run"), f"collection {name!r}", wait)

    def lock_path(self, name: str, kind: str) -> Path:
        """Return the lock file of a collection; `kind` is "run" or "shard"."""
        return self._root / "locks" / f"{name}.{kind}.lock"

    def close(self) -> None:
        """Do nothing: nothing is held between calls."""

    def _folder(self, name: str) -> Path:
        check_name(name)
        return self._root / "collections" / name


class EdgeCollection:
    """One collection of an EdgeStore."""

    max_hits = 2**31  # no limit

    def __init__(
        self, store: EdgeStore, name: str, folder: Path, settings: Settings, *, patience: float
    ) -> None:
        self.name = name
        self.settings = settings
        self._store = store
        self._folder = folder
        self._unsealed_bytes = 0  # written since the last seal, estimated
        self._joining_works = True  # until it fails
        self._shard = Shard(
            folder / "shard",
            store.lock_path(name, "shard"),
            f"collection {name!r}",
            patience=patience,
        )

    def apply(self, batch: Batch) -> None:
        """See Collection.apply. Raises StoreError when the disk is nearly full."""
        _check_free_space(self._folder)
        merges = [(self._prepared(where), payload) for where, payload in batch.merges]
        with self._shard.use() as shard:
            self._shard.written = True
            for operation in operations(replace(batch, merges=merges)):
                shard.update(operation)
        self._unsealed_bytes += sum(map(estimated_bytes, (*batch.upserts, *batch.marks)))
        if self._unsealed_bytes >= segments.SEAL_BYTES:
            self._seal(segments.MAX_SMALL_SEGMENTS)

    def _seal(self, max_small: int) -> None:
        """Seal what was written; join segments if more than `max_small` are not joined."""
        with self._shard.use() as shard:
            shard.optimize()
            shard.flush()
            self._shard.written = False
            info = shard.info()
        self._unsealed_bytes = 0
        too_many = (
            info.segments_count > segments.joined(info.points_count, self.settings) + max_small
        )
        has_space = shutil.disk_usage(self._folder).free > MIN_FREE_BYTES + segments.JOIN_FREE_BYTES
        if too_many and has_space and self._joining_works:
            with self._shard.lend() as folder:
                self._joining_works = segments.join(folder, self.settings)

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        """See Collection.scroll."""
        offset: str | None = None
        page = PAGE_POINTS // 10 if vectors else LEAN_PAGE_POINTS if fields else PAGE_POINTS
        while True:
            request = qe.ScrollRequest(
                offset=offset,
                limit=page,
                filter=filter_of(self._prepared(where)),
                with_payload=True if fields is None else list(fields),
                with_vector=vectors,
            )
            with self._shard.use() as shard:
                records, next_offset = shard.scroll(request)
            yield from (read_point(record) for record in records)
            if next_offset is None:
                return
            offset = str(next_offset)

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""
        with self._shard.use() as shard:
            records = shard.retrieve(list(ids), with_payload=True, with_vector=vectors)
        return [read_point(record) for record in records]

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
        """See Collection.facet."""
        counts = self._facet(key, exact=not of_all)
        if of_all and self.count() != sum(counts.values()):
            counts = self._facet(key, exact=True)
        return counts

    def _facet(self, key: str, *, exact: bool) -> dict[str, int]:
        with self._shard.use() as shard:
            limit = max(1, shard.info().points_count)
            response = shard.facet(qe.FacetRequest(key=key, limit=limit, exact=exact))
        return {str(hit.value): hit.count for hit in response.hits}

    def count(self, where: Where = ()) -> int:
        """See Collection.count."""
        with self._shard.use() as shard:
            return shard.count(qe.CountRequest(exact=True, filter=filter_of(self._prepared(where))))

    def query(self, query: Query) -> list[Scored]:
        """See Collection.query."""
        return answer(replace(query, where=self._prepared(query.where)), self)

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """Return the best hits by each of the vectors, in one pass of the engine."""
        quantized = self.settings.quantization is not None
        with self._shard.use() as shard:
            asked = requests(query, names, limit, payload=payload, quantized=quantized)
            answers = shard.query_batch(qe.QueryBatchRequest(asked))
        return [
            [Scored(str(p.id), p.score, cast(Payload, p.payload or {})) for p in found]
            for found in answers
        ]

    def note(self, notes: Notes) -> None:
        """See Collection.note."""
        self._save(replace(self.settings, notes={**self.settings.notes, **notes}))

    def declare(self, fields: Mapping[str, str]) -> None:
        """See Collection.declare."""
        old = self.settings.fields
        new = {name: kind for name, kind in fields.items() if old.get(name) != kind}
        if not new:
            return
        with self._shard.use() as shard:
            for name, kind in new.items():
                index = field_index(kind)  # replaces the one of another type
                shard.update(qe.UpdateOperation.create_field_index(f"{META_PREFIX}{name}", index))
            shard.flush()
        self._save(replace(self.settings, fields={**old, **new}))

    def _prepared(self, where: Where) -> Where:
        return prepare(where, self.settings.indexed)

    def _save(self, settings: Settings) -> None:
        replace_file(self._folder / "collection.json", _encoded(settings).encode())
        self.settings = settings

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """See Collection.lock."""
        return self._store.lock(self.name, patience=patience, waiting=waiting)

    def finish(self) -> None:
        """See Collection.finish."""
        self._seal(segments.MAX_SMALL_SEGMENTS_AT_END)

    def close(self) -> None:
        """See Collection.close."""
        self._shard.close()


def _check_free_space(folder: Path) -> None:
    """Raise StoreError when the disk is nearly full.

    The engine's files are mapped into memory; a write past the end of the disk kills the
    process.
    """
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise StoreError(
            f"{folder}: only {free >> 20} MiB of disk are free, and ragctl keeps "
            f"{MIN_FREE_BYTES >> 20} MiB free; make space, or choose another folder with --store. "
            "What was written is kept"
        )


def _encoded(settings: Settings) -> str:
    return json.dumps(settings.to_json(), ensure_ascii=False, indent=1)


def _read_settings(path: Path) -> Settings:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableCollection(
            f"{path}: the settings of collection {path.parent.name!r} cannot be read ({error}); "
            f"{how_to_recover(path.parent.name)}"
        ) from error
    return read_settings(raw, path.parent.name, str(path))
