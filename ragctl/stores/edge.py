"""The embedded store: one Edge shard (the Qdrant engine, in process) per collection.

ROOT/collections/NAME/collection.json   settings; its presence makes it a collection
ROOT/collections/NAME/shard/            the engine's files
ROOT/locks/NAME.{run,shard}.lock        who writes, who has the shard open
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
from ragctl.stores.conditions import settled
from ragctl.stores.edge_points import (
    field_index,
    filter_of,
    operations,
    read_point,
    requests,
    weight,
)
from ragctl.stores.locks import Wait, private_folder, run_lock, taken
from ragctl.stores.searching import Side, answer
from ragctl.stores.shard import Shard, engine_errors

_PAGE = 1000  # points read at a time; with vectors a tenth of it,
_LEAN = 5000  # of some fields only so many
_PATIENCE = 60.0  # seconds to wait for another process's batch or search
_ROOM = 192 << 20  # bytes that must be free: several times what sealing takes for a moment


class EdgeStore:
    """Collections in a folder of this machine."""

    def __init__(self, root: Path, *, patience: float = _PATIENCE) -> None:
        self._root = root
        self._patience = patience
        self.location = str(root)

    def names(self) -> list[str]:
        folder = self._root / "collections"
        if not folder.is_dir():
            return []
        return sorted(
            entry.name
            for entry in folder.iterdir()
            if is_name(entry.name) and (entry / "collection.json").is_file()
        )

    def open(self, name: str) -> "EdgeCollection | None":
        folder = self._folder(name)
        if not (folder / "collection.json").is_file():
            return None
        settings = _read_settings(folder / "collection.json")
        return EdgeCollection(self, name, folder, settings, patience=self._patience)

    def create(self, name: str, settings: Settings) -> "EdgeCollection":
        folder = self._folder(name)
        private_folder(folder.parent)
        _check_room(folder.parent)
        for left in folder.parent.glob(f".{name}.*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        settings = replace(settings, made=uuid.uuid4().hex)
        making = folder.with_name(f".{name}.{os.getpid()}.new")
        (making / "shard").mkdir(parents=True)
        with engine_errors(f"collection {name!r}"):
            shard = qe.EdgeShard.create(str(making / "shard"), segments.config(settings))
            indexes = {**{str(key): "keyword" for key in KEYWORD_INDEXES}, **settings.indexed}
            for key, kind in indexes.items():
                shard.update(qe.UpdateOperation.create_field_index(key, field_index(kind)))
            shard.close()
        (making / "collection.json").write_text(_written(settings), encoding="utf-8")
        try:
            making.rename(folder)  # one step: a collection is there whole or not at all
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            raise StoreError(f"collection {name!r} exists already in {self._root}") from error
        return EdgeCollection(self, name, folder, settings, patience=self._patience)

    def drop(self, name: str) -> None:
        folder = self._folder(name)
        gone = folder.with_name(f".{name}.{os.getpid()}.gone")
        with taken(self.lock_path(name, "shard"), f"collection {name!r}", self._patience):
            try:
                folder.rename(gone)
            except FileNotFoundError:
                return
        shutil.rmtree(gone)

    def lock(
        self, name: str, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        self._folder(name)
        private_folder(self._root)
        wait = Wait(patience, waiting)
        return run_lock(self.lock_path(name, "run"), f"collection {name!r}", wait)

    def lock_path(self, name: str, kind: str) -> Path:
        return self._root / "locks" / f"{name}.{kind}.lock"

    def close(self) -> None:
        """Nothing is held between calls."""

    def _folder(self, name: str) -> Path:
        check_name(name)
        return self._root / "collections" / name


class EdgeCollection:
    """One collection of an EdgeStore."""

    most = 2**31

    def __init__(
        self, store: EdgeStore, name: str, folder: Path, settings: Settings, *, patience: float
    ) -> None:
        self.name = name
        self.settings = settings
        self._store = store
        self._folder = folder
        self._unsealed = 0  # bytes written since the last seal, about
        self._joins = True  # until it was in vain
        self._shard = Shard(
            folder / "shard",
            store.lock_path(name, "shard"),
            f"collection {name!r}",
            patience=patience,
        )

    def apply(self, batch: Batch) -> None:
        _check_room(self._folder)
        merges = [(self._settled(where), payload) for where, payload in batch.merges]
        with self._shard.use() as shard:
            self._shard.written = True
            for operation in operations(replace(batch, merges=merges)):
                shard.update(operation)
        self._unsealed += sum(map(weight, (*batch.upserts, *batch.marks)))
        if self._unsealed >= segments.SEAL_BYTES:
            self._seal(segments.LOOSE)

    def _seal(self, loose: int) -> None:
        """Seal what was written, and join segments where more than `loose` are not joined."""
        with self._shard.use() as shard:
            shard.optimize()
            shard.flush()
            self._shard.written = False
            info = shard.info()
        self._unsealed = 0
        many = info.segments_count > segments.joined(info.points_count, self.settings) + loose
        room = shutil.disk_usage(self._folder).free > _ROOM + segments.JOINING
        if many and room and self._joins:
            with self._shard.lent() as folder:
                self._joins = segments.join(folder, self.settings)

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        offset: str | None = None
        page = _PAGE // 10 if vectors else _LEAN if fields else _PAGE
        while True:
            request = qe.ScrollRequest(
                offset=offset,
                limit=page,
                filter=filter_of(self._settled(where)),
                with_payload=True if fields is None else list(fields),
                with_vector=vectors,
            )
            with self._shard.use() as shard:
                records, following = shard.scroll(request)
            yield from (read_point(record) for record in records)
            if following is None:
                return
            offset = str(following)

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        with self._shard.use() as shard:
            records = shard.retrieve(list(ids), with_payload=True, with_vector=vectors)
        return [read_point(record) for record in records]

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
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
        with self._shard.use() as shard:
            return shard.count(qe.CountRequest(exact=True, filter=filter_of(self._settled(where))))

    def query(self, query: Query) -> list[Scored]:
        return answer(replace(query, where=self._settled(query.where)), self)

    def sides(
        self, query: Query, sides: Sequence[Side], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """The best of each side, in one pass of the engine."""
        quantized = self.settings.quantization is not None
        with self._shard.use() as shard:
            asked = requests(query, sides, limit, payload=payload, quantized=quantized)
            answers = shard.query_batch(qe.QueryBatchRequest(asked))
        return [
            [Scored(str(p.id), p.score, cast(Payload, p.payload or {})) for p in found]
            for found in answers
        ]

    def note(self, notes: Notes) -> None:
        self._keep(replace(self.settings, notes={**self.settings.notes, **notes}))

    def declare(self, fields: Mapping[str, str]) -> None:
        old = self.settings.fields
        new = {name: kind for name, kind in fields.items() if old.get(name) != kind}
        if not new:
            return
        with self._shard.use() as shard:
            for name, kind in new.items():
                index = field_index(kind)  # instead of another that there may be
                shard.update(qe.UpdateOperation.create_field_index(f"{META_PREFIX}{name}", index))
            shard.flush()
        self._keep(replace(self.settings, fields={**old, **new}))

    def _settled(self, where: Where) -> Where:
        return settled(where, self.settings.indexed)

    def _keep(self, settings: Settings) -> None:
        replace_file(self._folder / "collection.json", _written(settings).encode())
        self.settings = settings

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        return self._store.lock(self.name, patience=patience, waiting=waiting)

    def finish(self) -> None:
        self._seal(segments.LEFT)

    def close(self) -> None:
        self._shard.close()


def _check_room(folder: Path) -> None:
    """Raises StoreError where the disk is nearly full: a write beyond its end into a file that
    memory maps, as the engine's are, kills the process.
    """
    free = shutil.disk_usage(folder).free
    if free < _ROOM:
        raise StoreError(
            f"{folder}: only {free >> 20} MiB are free there, less than {_ROOM >> 20}; make room, "
            "or choose another place with --store. What was written stands"
        )


def _written(settings: Settings) -> str:
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
