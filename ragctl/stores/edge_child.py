"""The engine's process: it has one embedded shard open, in turns with other processes.

Started by `edge_process.ShardProcess`; one operation at a time comes over standard input.
Between operations the shard is released as soon as another process waits for it, or after
IDLE_SECONDS without use. Imports little: a search waits for it.
"""

import json
import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import qdrant_edge as qe

from ragctl.errors import GenerationDropped, Locked, UnreadableCollection
from ragctl.stores import edge_operations
from ragctl.stores.edge_frames import read_frame, write_frame
from ragctl.stores.edge_layout import PARTS, SHARD, stored_settings
from ragctl.stores.edge_space import DiskSpace
from ragctl.stores.locks import FairLock
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.stores.edge_read_only import ReadOnlyShard

IDLE_SECONDS = 1.0
"""An idle shard stays open this long; opening one of 20,000 x 1,024 takes 0.15 to 0.3 s."""
WATCH_INTERVAL_SECONDS = 0.01
"""Interval between checks whether another process waits for the shard."""
YIELD_SECONDS = 0.03
"""Pause after releasing the shard, so that the process that waits gets it."""
MAX_MESSAGE_CHARACTERS = 1000


def main(settings: str) -> NoReturn:
    """Serve operations until the parent closes the pipe, then exit with code 0."""
    given = json.loads(settings)
    # A service manager signals every process of a service. The run decides when to end, and
    # this process ends with it, by the end of the pipe.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    shard = _shard(given)
    parent = given["parent"]
    while True:
        interval = WATCH_INTERVAL_SECONDS if shard.is_open else None
        while not select.select([requests], [], [], interval)[0]:
            shard.idle()
            interval = WATCH_INTERVAL_SECONDS if shard.is_open else None
        # Requests come one at a time, so that nothing is left in the buffer at the next select.
        request = read_frame(requests)
        if request is None:
            shard.end()
            os._exit(0)  # without closing: see `SharedShard.end`
        method, arguments = request
        if method == "end":
            _answer(answers, shard.end)
            os._exit(0)
        _answer(answers, partial(shard.run, method, arguments, parent))


def _shard(given: dict[str, Any]) -> "SharedShard | ReadOnlyShard":
    folder, lock, what = Path(given["folder"]), Path(given["lock"]), given["what"]
    patience = given["patience"]
    if given["read_only"]:
        from ragctl.stores.edge_read_only import ReadOnlyShard

        return ReadOnlyShard(folder, given["creation_id"], lock, what, patience=patience)
    space = DiskSpace(Path(given["root"]))
    return SharedShard(folder, given["creation_id"], lock, what, patience=patience, space=space)


def _answer(answers: IO[bytes], operation: Callable[[], Any]) -> None:
    try:
        answer: tuple[str, Any] = ("result", operation())
    except Locked as error:
        answer = ("locked", str(error))
    except GenerationDropped as error:
        answer = ("dropped", str(error))
    except UnreadableCollection as error:
        answer = ("unreadable", str(error))
    # The binding raises plain Exception and ValueError for what the engine refuses, and a
    # PanicException, which is no Exception, when the engine meets a state it does not expect.
    except BaseException as error:  # noqa: BLE001
        kind = "error" if isinstance(error, Exception) else "panic"
        message = one_line(str(error), limit=MAX_MESSAGE_CHARACTERS) or type(error).__name__
        answer = (kind, message)
    try:
        write_frame(answers, answer)
    except OSError:  # the parent is gone
        os._exit(1)


class SharedShard:
    """The shard of a generation, which several processes use in turn.

    `folder`: the generation's. `creation_id`: of the generation; another one may take its place.
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
    ) -> None:
        self._space = space
        self._generation = folder
        self._creation_id = creation_id
        self._folder = folder / SHARD
        self._lock = FairLock(lock, what, patience=patience)
        self._shard: qe.EdgeShard | None = None
        self._last_use = -math.inf  # a clock may begin anywhere, also below zero
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
            if self._lock.has_waiters():
                self._close()

    def idle(self) -> None:
        """Release the shard if another process waits for it, or after IDLE_SECONDS."""
        if time.monotonic() - self._last_use > IDLE_SECONDS or self._lock.has_waiters():
            self._close()

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
    stored = stored_settings(folder)
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
