"""An open shard in the engine's process, which takes turns with other processes."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import qdrant_edge as qe

from ragctl.errors import GenerationDropped, UnreadableCollection
from ragctl.stores import edge_operations
from ragctl.stores.edge_layout import PARTS, SETTINGS_FILES, SHARD, intact_copy
from ragctl.stores.edge_space import DiskSpace
from ragctl.stores.locks import FairLock
from ragctl.text import one_line

IDLE_SECONDS = 1.0
"""An idle shard stays open this long; opening one of 20,000 x 1,024 takes 0.15 to 0.3 s."""
HOLD_SECONDS = 0.15
"""A shard is not released sooner after its opening: opening it for each operation takes longer."""
YIELD_SECONDS = 0.03
"""Pause after releasing the shard, so that the process that waits gets it."""
MAX_MESSAGE_CHARACTERS = 1000


class SharedShard:
    """The shard of a generation, which several processes use in turn.

    `folder`: the generation's. `creation_id`: of the generation; another one may take its place.
    `keep_open`: stay open while idle, until another process waits for it.
    """

    def __init__(
        self,
        folder: Path,
        creation_id: str,
        lock: Path,
        what: str,
        *,
        patience: float,
        space: DiskSpace,
        keep_open: bool = False,
    ) -> None:
        self._space = space
        self._keep_open = keep_open
        self._generation = folder
        self._creation_id = creation_id
        self._folder = folder / SHARD
        self._lock = FairLock(lock, what, patience=patience)
        self._shard: qe.EdgeShard | None = None
        self._opened = self._last_use = -math.inf  # a clock may begin anywhere, also below zero
        self._yield_until = -math.inf
        self._unflushed = False

    @property
    def is_open(self) -> bool:
        """Whether this process has the shard open."""
        return self._shard is not None

    def run(self, method: str, arguments: tuple[Any, ...], parent: int) -> Any:
        """Run one operation of `edge_operations` on the open shard."""
        operation = edge_operations.OPERATIONS[method]
        if operation.on_folder:
            self._close()
            self._acquire()
            try:
                self._check_parent(parent)
                if not operation.creates:
                    check_generation(self._generation, self._creation_id)
                return operation.function(self._folder, *arguments)
            finally:
                self._release()
        shard = self._shard or self._open()
        try:
            self._check_parent(parent)
            self._unflushed |= operation.writes
            with damage() if operation.reads else nullcontext():
                return operation.function(shard, *arguments)
        finally:
            self._last_use = time.monotonic()
            if self._is_wanted():
                self._close()

    def idle(self) -> None:
        """Release the shard if another process waits for it, or after IDLE_SECONDS."""
        is_idle = time.monotonic() - self._last_use > IDLE_SECONDS
        if self._is_wanted() or (is_idle and not self._keep_open):
            self._close()
        elif is_idle:
            self.end()

    def _is_wanted(self) -> bool:
        """Return whether another process waits for the shard, and this one has had its turn."""
        had_turn = time.monotonic() - self._opened >= HOLD_SECONDS
        return had_turn and self._lock.has_waiters()

    def end(self) -> None:
        """Make writes durable. The process then ends without closing the shard.

        When the engine closes a shard, it drops the shard's files from the system's page cache
        (qdrant-edge-py 0.9.0), so the next process would read all of them from disk again:
        400 MB for a search of 100,000 vectors of 1,024.
        """
        if self._shard is not None and self._unflushed:
            self._shard.flush()
            self._unflushed = False

    def _check_parent(self, parent: int) -> None:
        """End here if the run is dead: another run may have begun, which must not be disturbed.

        Checked while this process holds the lock, so that no other run reads before the
        operation is done.
        """
        if os.getppid() != parent:
            os._exit(1)

    def _open(self) -> qe.EdgeShard:
        self._acquire()
        try:
            check_generation(self._generation, self._creation_id)
            with damage(), self._space.for_opening():
                self._shard = qe.EdgeShard.load(str(self._folder))
            self._opened = time.monotonic()
        except BaseException:
            self._release()
            raise
        return self._shard

    def _close(self) -> None:
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        try:
            shard.close()
            self._unflushed = False
        finally:
            self._release()

    def _acquire(self) -> None:
        time.sleep(max(0.0, self._yield_until - time.monotonic()))
        self._lock.acquire()

    def _release(self) -> None:
        self._yield_until = time.monotonic() + YIELD_SECONDS
        self._lock.release()


def check_generation(folder: Path, creation_id: str) -> None:
    """Raise GenerationDropped if the generation is gone, or another one is in its place."""
    stored = intact_copy(folder, SETTINGS_FILES)
    if stored is None:
        gone = not any((folder / part).exists() for part in PARTS)
    else:
        gone = stored["made"] != creation_id
    if gone:
        raise GenerationDropped("it was deleted or replaced after it was opened; run again")


@contextmanager
def damage() -> Iterator[None]:
    """Report what the engine cannot read as UnreadableCollection."""
    try:
        yield
    except Exception as error:
        raise UnreadableCollection(
            one_line(str(error), limit=MAX_MESSAGE_CHARACTERS) or type(error).__name__
        ) from error
