"""A shard that may only be read: another user's, a snapshot, a read-only disk.

The engine writes when it opens a shard, so it gets a private copy. The copy is made again when
the shard's files have changed.
"""

import contextlib
import time
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from ragctl.errors import StoreError
from ragctl.stores import edge_operations
from ragctl.stores.edge_copy import copies_folder, copy_files
from ragctl.stores.edge_layout import SHARD, remove_tree
from ragctl.stores.edge_shard import check_generation, damage
from ragctl.stores.locks import reading_lock

CHECK_SECONDS = 2.0
"""Changes of the shard are seen after at most so long."""

Fingerprint = frozenset[tuple[str, int, int]]
"""Path, size and modification time of every file."""


class ReadOnlyShard:
    """A private copy of the shard of a generation; see `edge_shard.SharedShard`."""

    is_open = False  # for other processes: they need not wait for it

    def __init__(
        self, folder: Path, creation_id: str, lock: Path, what: str, *, patience: float
    ) -> None:
        self._generation = folder
        self._creation_id = creation_id
        self._source = folder / SHARD
        self._lock = lock
        self._what = what
        self._patience = patience
        self._copies: Path | None = None
        self._shard: qe.EdgeShard | None = None
        self._fingerprint: Fingerprint = frozenset()
        self._checked = 0.0

    def run(self, method: str, arguments: tuple[Any, ...], parent: int) -> Any:
        """Run one operation of `edge_operations` that only reads."""
        if method not in edge_operations.READING:
            raise StoreError(f"{self._source} may only be read")
        shard = self._current()
        with damage():
            return edge_operations.OPERATIONS[method].function(shard, *arguments)

    def idle(self) -> None:
        """Do nothing: no other process waits for the copy."""

    def end(self) -> None:
        """Remove the copy."""
        if self._copies is not None:
            with contextlib.suppress(OSError):
                remove_tree(self._copies)

    def _current(self) -> qe.EdgeShard:
        now = time.monotonic()
        if self._shard is not None:
            if now - self._checked < CHECK_SECONDS:
                return self._shard
            self._checked = now
            if fingerprint(self._source) == self._fingerprint:
                return self._shard
            shard, self._shard = self._shard, None
            shard.close()
        self._copies = self._copies or copies_folder()
        target = self._copies / SHARD
        remove_tree(target)
        with reading_lock(self._lock, self._what, self._patience):
            check_generation(self._generation, self._creation_id)
            self._fingerprint = fingerprint(self._source)
            copy_files(self._source, target)
        self._checked = now
        with damage():
            self._shard = qe.EdgeShard.load(str(target))
        return self._shard


def fingerprint(folder: Path) -> Fingerprint:
    """Return what tells whether a file below the folder has changed."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.add((str(path), stat.st_size, stat.st_mtime_ns))
    return frozenset(found)
