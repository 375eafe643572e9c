"""The embedded store: folders of this machine, with the Qdrant engine in child processes.

`edge_layout` says which files there are. Each generation of a collection is one Edge shard.
"""

import contextlib
import os
import uuid
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from ragctl.collection.payload import KEYWORD_INDEXES
from ragctl.collection.settings import Settings, how_to_recover
from ragctl.errors import StoreError, UnreadableCollection
from ragctl.files import sync_folder
from ragctl.records import Notify, ignore
from ragctl.stores import segments
from ragctl.stores.base import Generation, LockHolder, Salvage
from ragctl.stores.edge_collection import EdgeCollection
from ragctl.stores.edge_layout import (
    PARTS,
    SHARD,
    Layout,
    point_to,
    remove_leftovers,
    remove_tree,
    writing,
)
from ragctl.stores.edge_process import ShardProcess
from ragctl.stores.edge_salvage import salvaged_points
from ragctl.stores.edge_settings import load_settings, save_settings
from ragctl.stores.edge_space import DiskSpace
from ragctl.stores.locks import LockWait, fair_lock, private_folder, run_lock, run_lock_holder

__all__ = ["EdgeCollection", "EdgeStore"]

SHARD_PATIENCE_SECONDS = 60.0
"""Longest wait for another process's batch or search."""


class EdgeStore:
    """Collections in a folder of this machine.

    `patience`: seconds to wait for a shard. `keep_open`: shards stay open while they are idle,
    until another process waits for them.
    """

    def __init__(
        self, root: Path, *, patience: float = SHARD_PATIENCE_SECONDS, keep_open: bool = False
    ) -> None:
        self._layout = Layout(root)
        self._space = DiskSpace(root)
        self._patience = patience
        self._keep_open = keep_open
        self._opened: set[str] = set()
        self.location = str(root)

    def names(self) -> list[str]:
        """See Store.names. Includes damaged collections."""
        return self._layout.names()

    def open(self, name: str, *, generation: int | None = None) -> EdgeCollection | None:
        """See Store.open."""
        if not self._layout.exists(name):
            return None
        if generation is not None:
            known = generation in self._layout.numbers(name)
            return self._collection(name, generation) if known else None
        while True:
            current = self._layout.current(name)
            try:
                if current is None or current not in self._layout.numbers(name):
                    raise self._lost(name, current)
                return self._collection(name, current)
            except UnreadableCollection:
                if not self._layout.exists(name):
                    return None
                if current == self._layout.current(name):
                    raise
                # Another process has switched the name, and dropped this generation.

    def create(self, name: str, settings: Settings) -> EdgeCollection:
        """See Store.create."""
        private_folder(self._layout.collections)
        if self._layout.exists(name):
            raise self._taken(name)
        return self._create(name, 1, settings)

    def create_generation(self, name: str, settings: Settings) -> EdgeCollection:
        """See Store.create_generation."""
        folder = self._layout.collection(name)
        if not self._layout.exists(name):
            raise StoreError(f"no collection {name!r} in {self.location}")
        if not folder.is_dir():  # damage: a file in its place
            with writing(folder):
                folder.unlink()
            private_folder(folder)
        return self._create(name, max(self._layout.numbers(name), default=1) + 1, settings)

    def generations(self, name: str) -> list[Generation]:
        """See Store.generations."""
        current = self._layout.current(name) if self._layout.exists(name) else None
        found = []
        for number in self._layout.numbers(name):
            settings, problem = None, None
            try:
                settings = load_settings(self._layout.generation(name, number), name, number)
            except UnreadableCollection as error:
                problem = str(error)
            found.append(Generation(number, number == current, settings, problem))
        return found

    def switch(self, name: str, generation: int) -> None:
        """See Store.switch."""
        if generation not in self._layout.numbers(name):
            raise StoreError(f"collection {name!r} has no generation {generation}")
        with writing(self._layout.collection(name)):
            point_to(self._layout.collection(name), generation)

    def drop_generation(self, name: str, generation: int) -> None:
        """See Store.drop_generation."""
        if generation not in self._layout.numbers(name):
            return
        if generation == self._layout.current(name):
            raise StoreError(
                f"generation {generation} of collection {name!r} is the current one; "
                "it cannot be dropped"
            )
        base, folder = self._layout.collection(name), self._layout.generation(name, generation)
        with writing(folder), self._shard_lock(name, generation):
            dropped = self._layout.temporary(base / str(generation), "dropped")
            if folder != base:
                folder.rename(dropped)
            else:  # the first one shares the folder with the others
                dropped.mkdir()
                for part in filter(os.path.lexists, (base / part for part in PARTS)):
                    part.rename(dropped / part.name)
        with writing(dropped):
            remove_tree(dropped)
            remove_leftovers(dropped)

    def salvage(
        self, name: str, *, generation: int | None = None, otherwise: Settings | None = None
    ) -> Salvage | None:
        """See Store.salvage. Of a point that exists twice, only the newer one is returned."""
        if not self._layout.exists(name):
            return None
        if generation is None:
            numbers = self._layout.numbers(name)
            generation = self._layout.current(name)
            if generation not in numbers:
                generation = max(numbers, default=1)
        folder = self._layout.generation(name, generation)
        settings, lost = None, []
        try:
            settings = load_settings(folder, name, generation)
        except UnreadableCollection as error:
            lost.append(str(error).removesuffix(f"; {how_to_recover(name)}"))
        form = settings or otherwise
        if form is None:
            return Salvage(None, iter(()), lost)
        reading = partial(self._shard_lock, name, generation)
        return Salvage(settings, salvaged_points(folder / SHARD, form, lost, reading), lost)

    def drop(self, name: str) -> None:
        """See Store.drop."""
        folder = self._layout.collection(name)
        if not self._layout.exists(name):
            return
        with ExitStack() as stack:
            for number in self._layout.numbers(name) or [1]:
                stack.enter_context(self._shard_lock(name, number))
            with writing(folder):
                dropped = self._layout.temporary(folder, "dropped")
                try:
                    folder.rename(dropped)
                except FileNotFoundError:
                    return
        with writing(dropped):
            remove_tree(dropped)
            remove_leftovers(folder)

    def lock(
        self,
        name: str,
        *,
        generation: int | None = None,
        patience: float = 0.0,
        waiting: Notify = ignore,
    ) -> AbstractContextManager[None]:
        """See Store.lock."""
        if self._layout.may_only_be_read(name):
            raise StoreError(
                f"{self.location}: collection {name!r} may only be read by this user; run this as "
                "the owner of the store, or choose another store with --store"
            )
        path, what = self._lock_path(name, generation)
        private_folder(self._layout.root)
        return run_lock(path, what, LockWait(patience, waiting))

    def lock_holder(self, name: str, *, generation: int | None = None) -> LockHolder | None:
        """See Store.lock_holder."""
        held = run_lock_holder(self._lock_path(name, generation)[0])
        return None if held is None else LockHolder(*held)

    def _lock_path(self, name: str, generation: int | None) -> tuple[Path, str]:
        """Return the file of a run's lock, and what it locks."""
        what = f"collection {name!r}"
        if generation is None or generation == self._layout.current(name):
            return self._layout.lock(name, "run"), what
        return self._layout.lock(name, "building", generation), f"{what}, generation {generation}"

    def lock_path(self, name: str, kind: str, generation: int = 1) -> Path:
        """Return a lock file of a collection; `kind` is "run" or "shard"."""
        return self._layout.lock(name, kind, generation)

    def close(self) -> None:
        """Do nothing: nothing is held between calls."""

    def _collection(self, name: str, number: int) -> EdgeCollection:
        folder = self._layout.generation(name, number)
        settings = load_settings(folder, name, number)
        process = self._process(name, number, settings.creation_id)
        if name not in self._opened:
            # The first collection is opened to be read: its engine starts while the caller goes
            # on. Later ones may only be compared with it.
            self._opened.add(name)
            process.start()
        return self._opened_collection(name, folder, settings, process)

    def _opened_collection(
        self, name: str, folder: Path, settings: Settings, process: ShardProcess
    ) -> EdgeCollection:
        lock = partial(self.lock, name, generation=settings.generation)
        return EdgeCollection(name, folder, settings, process, lock, self._space)

    def _create(self, name: str, number: int, settings: Settings) -> EdgeCollection:
        """Make a generation in a hidden folder and publish it whole, by one rename."""
        base = self._layout.collection(name)
        target = base if number == 1 else base / str(number)
        self._space.check()
        settings = replace(
            settings,
            creation_id=uuid.uuid4().hex,
            namespace=settings.namespace or name,
            generation=number,
        )
        process = self._process(name, number, settings.creation_id)
        indexes = {**{str(key): "keyword" for key in KEYWORD_INDEXES}, **settings.indexed}
        with ExitStack() as stack:
            stack.enter_context(writing(target))
            remove_leftovers(target)
            unfinished = self._layout.temporary(target, "new")
            stack.callback(_remove_if_possible, unfinished)
            (unfinished / SHARD).mkdir(parents=True)
            save_settings(unfinished, settings)
            if number == 1:
                point_to(unfinished, number)
            stack.callback(process.kill)
            process.call("create", str(unfinished / SHARD), segments.config(settings), indexes)
            try:
                unfinished.rename(target)
            except OSError as error:
                if os.path.lexists(target):
                    raise self._taken(name) from error
                raise
            sync_folder(target.parent)
            stack.pop_all()
        self._space.restore_reserve()
        return self._opened_collection(name, target, settings, process)

    def _process(self, name: str, number: int, creation_id: str) -> ShardProcess:
        """Return the engine's process for a generation; it starts when it is first used."""
        return ShardProcess(
            self._layout.generation(name, number),
            self._layout.lock(name, "shard", number),
            f"collection {name!r}",
            creation_id=creation_id,
            patience=self._patience,
            advice=how_to_recover(name),
            root=self._layout.root,
            read_only=self._layout.may_only_be_read(name, number),
            keep_open=self._keep_open,
        )

    def _shard_lock(self, name: str, number: int) -> AbstractContextManager[None]:
        path = self._layout.lock(name, "shard", number)
        return fair_lock(path, f"collection {name!r}", self._patience)

    def _taken(self, name: str) -> StoreError:
        return StoreError(f"collection {name!r} exists already in {self.location}")

    def _lost(self, name: str, current: int | None) -> UnreadableCollection:
        reason = (
            "the pointer to its current generation is lost"
            if current is None
            else f"its current generation, {current}, is missing"
        )
        folder = self._layout.collection(name)
        try:
            list(folder.iterdir())
        except OSError as error:
            reason = f"its folder cannot be read ({error.strerror})"
        return UnreadableCollection(
            f"{folder}: collection {name!r} is damaged: {reason}; {how_to_recover(name)}"
        )


def _remove_if_possible(folder: Path) -> None:
    with contextlib.suppress(OSError):
        remove_tree(folder)
