"""The embedded store: one Edge shard of the Qdrant engine per collection, in a child process.

ROOT/collections/NAME/collection.json   settings; a folder with this file is a collection
ROOT/collections/NAME/shard/            the engine's files
ROOT/locks/NAME.{run,shard}.lock        held by the run that writes, by the process with the shard
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

from ragctl.collection.conditions import Has, Where
from ragctl.collection.names import check_name, is_name
from ragctl.collection.notes import Notes
from ragctl.collection.payload import KEYWORD_INDEXES, Payload, Point
from ragctl.collection.settings import META_PREFIX, Settings, how_to_recover, read_settings
from ragctl.errors import StoreError, UnreadableCollection
from ragctl.files import replace_file
from ragctl.records import Notify, ignore
from ragctl.stores import segments
from ragctl.stores.base import Batch, Generation, Query, Salvage, Scored
from ragctl.stores.conditions import prepare
from ragctl.stores.edge_process import ShardProcess
from ragctl.stores.edge_values import (
    PlainPoint,
    estimated_bytes,
    plain_batch,
    plain_searches,
    read_point,
)
from ragctl.stores.locks import LockWait, fair_lock, is_running, private_folder, run_lock
from ragctl.stores.searching import VectorName, answer

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
        self._opened: set[str] = set()
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

    def open(self, name: str, *, generation: int | None = None) -> "EdgeCollection | None":
        """See Store.open."""
        folder = self._folder(name)
        if not (folder / "collection.json").is_file():
            return None
        settings = _read_settings(folder / "collection.json")
        process = self.process(name)
        if name not in self._opened:
            # The first collection is opened to be read: its engine starts while the caller goes
            # on. Later ones may only be compared with it.
            self._opened.add(name)
            process.start()
        return EdgeCollection(self, name, folder, settings, process)

    def create(self, name: str, settings: Settings) -> "EdgeCollection":
        """See Store.create."""
        folder = self._folder(name)
        private_folder(folder.parent)
        _check_free_space(folder.parent)
        _remove_leftovers(folder)
        settings = replace(
            settings, creation_id=uuid.uuid4().hex, namespace=settings.namespace or name
        )
        unfinished = folder.with_name(f".{name}.{os.getpid()}.new")
        (unfinished / "shard").mkdir(parents=True)
        process = self.process(name)
        indexes = {**{str(key): "keyword" for key in KEYWORD_INDEXES}, **settings.indexed}
        process.call("create", str(unfinished / "shard"), segments.config(settings), indexes)
        (unfinished / "collection.json").write_text(_encoded(settings), encoding="utf-8")
        try:
            unfinished.rename(folder)  # atomic: a collection exists completely or not at all
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            process.close()
            raise StoreError(f"collection {name!r} exists already in {self._root}") from error
        return EdgeCollection(self, name, folder, settings, process)

    def create_generation(self, name: str, settings: Settings) -> "EdgeCollection":
        """See Store.create_generation."""
        raise NotImplementedError

    def generations(self, name: str) -> list[Generation]:
        """See Store.generations."""
        raise NotImplementedError

    def switch(self, name: str, generation: int) -> None:
        """See Store.switch."""
        raise NotImplementedError

    def drop_generation(self, name: str, generation: int) -> None:
        """See Store.drop_generation."""
        raise NotImplementedError

    def salvage(self, name: str, *, generation: int | None = None) -> Salvage | None:
        """See Store.salvage."""
        raise NotImplementedError

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

    def process(self, name: str) -> ShardProcess:
        """Return the engine's process for a collection; it starts when it is first used."""
        return ShardProcess(
            self._folder(name) / "shard",
            self.lock_path(name, "shard"),
            name,
            patience=self._patience,
        )

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
    is_shared = False  # only ragctl writes to its folder

    def __init__(
        self,
        store: EdgeStore,
        name: str,
        folder: Path,
        settings: Settings,
        process: ShardProcess,
    ) -> None:
        self.name = name
        self.settings = settings
        self._store = store
        self._folder = folder
        self._process = process
        self._unsealed_bytes = 0  # written since the last seal, estimated
        self._joining_works = True  # until it fails

    def apply(self, batch: Batch) -> None:
        """See Collection.apply. Raises StoreError when the disk is nearly full."""
        _check_free_space(self._folder)
        merges = [(self._prepared(where), payload) for where, payload in batch.merges]
        self._process.call("apply", plain_batch(batch, merges))
        self._unsealed_bytes += sum(map(estimated_bytes, (*batch.upserts, *batch.marks)))
        if self._unsealed_bytes >= segments.SEAL_BYTES:
            self._seal(segments.MAX_SMALL_SEGMENTS)

    def _seal(self, max_small: int) -> None:
        """Seal what was written; join segments if more than `max_small` are not joined."""
        segment_count, points = self._process.call("seal")
        self._unsealed_bytes = 0
        too_many = segment_count > segments.joined(points, self.settings) + max_small
        has_space = shutil.disk_usage(self._folder).free > MIN_FREE_BYTES + segments.JOIN_FREE_BYTES
        if too_many and has_space and self._joining_works:
            self._join()

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
        path = self._folder / "notes.json"
        if not path.exists():
            return {}
        try:
            return cast(Notes, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UnreadableCollection(
                f"{path}: the notes of collection {self.name!r} cannot be read ({error}); "
                f"{how_to_recover(self.name)}"
            ) from error

    def note(self, notes: Notes) -> None:
        """See Collection.note."""
        replace_file(
            self._folder / "notes.json",
            json.dumps({**self.notes(), **notes}, ensure_ascii=False).encode(),
        )

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
        self._process.close()


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of creating or dropping this very collection.

    A name may begin with another one and a dot, so the whole file name is compared; and the
    process in it must be dead.
    """
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)\.(?:new|dropped)")
    for path in folder.parent.iterdir():
        found = pattern.fullmatch(path.name)
        if found and not is_running(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


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
