"""One Edge shard, opened for short periods so that processes can share it.

The engine lets one process open a shard. It is opened on first use, kept open while calls
follow each other closely, and released as soon as another process waits for it or it has
been idle for IDLE_SECONDS. It is never held while this process waits for something else,
such as an embedding API.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as qe

from ragctl import stores
from ragctl.errors import StoreError
from ragctl.stores.locks import FairLock
from ragctl.text import collapse_whitespace

IDLE_SECONDS = 1.0
"""An idle shard stays open this long; opening one of 20,000 x 1,024 takes 0.15 to 0.3 s."""

WATCH_INTERVAL_SECONDS = 0.01
"""Interval between checks whether another process waits for the shard."""

YIELD_SECONDS = 0.03
"""Pause after releasing the shard, so that the process that waits gets it."""


class Shard:
    """A shard folder that several processes and threads use in turn.

    `written`: whether there are writes that were not flushed; set by the writer.
    """

    def __init__(self, folder: Path, lock: Path, what: str, *, patience: float) -> None:
        self._folder = folder
        self._label = what
        self._lock = FairLock(lock, what, patience=patience)
        self._mutex = threading.RLock()
        self._shard: qe.EdgeShard | None = None
        self._last_use = 0.0
        self._yield_until = 0.0
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()
        self._left_open = False
        self.written = False

    @contextmanager
    def use(self) -> Iterator[qe.EdgeShard]:
        """Yield the open shard. Engine failures in the `with` block become StoreError."""
        with self._mutex:
            shard = self._shard or self._open()
            try:
                with engine_errors(self._label):
                    yield shard
            finally:
                self._last_use = time.monotonic()
                if self._lock.has_waiters():
                    self._release()

    @contextmanager
    def lend(self) -> Iterator[Path]:
        """Yield the folder to a child process that opens the shard itself; all others wait."""
        with self._mutex:
            self._release()
            time.sleep(max(0.0, self._yield_until - time.monotonic()))
            self._lock.acquire()
            try:
                with engine_errors(self._label):
                    yield self._folder
            finally:
                self._yield_until = time.monotonic() + YIELD_SECONDS
                self._lock.release()

    def close(self) -> None:
        """Release the shard, or leave it open as `stores.leave_open` says."""
        with self._mutex:
            if stores.LEFT_OPEN and self._shard is not None:
                self._left_open = (
                    True  # the watcher releases it for others, and ends with the process
                )
                if self.written:
                    with engine_errors(self._label):
                        self._shard.flush()
                return
            self._closed.set()
            self._release()
        if self._watcher is not None:
            self._watcher.join()
        self._lock.close()

    def _open(self) -> qe.EdgeShard:
        time.sleep(max(0.0, self._yield_until - time.monotonic()))
        self._lock.acquire()
        try:
            with engine_errors(self._label):
                self._shard = qe.EdgeShard.load(str(self._folder))
        except BaseException:
            self._lock.release()
            raise
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._watch, daemon=True, name="shard-watch")
            self._watcher.start()
        return self._shard

    def _release(self) -> None:
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        try:
            with engine_errors(self._label):
                shard.close()
        finally:
            self._yield_until = time.monotonic() + YIELD_SECONDS
            self._lock.release()

    def _watch(self) -> None:
        while True:
            self._closed.wait(WATCH_INTERVAL_SECONDS)
            if not self._mutex.acquire(blocking=False):
                continue
            try:
                if self._shard is None:
                    self._watcher = None
                    if self._left_open:
                        self._lock.close()
                    return
                idle = time.monotonic() - self._last_use
                if idle > IDLE_SECONDS or self._lock.has_waiters():
                    self._release()
            finally:
                self._mutex.release()


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turn errors of the engine into StoreError that names the collection.

    The binding raises plain Exception or ValueError for every failure of the engine; only
    these are caught, and ragctl's own errors pass through.
    """
    try:
        yield
    except Exception as error:
        if type(error) not in (Exception, ValueError):
            raise
        raise StoreError(f"{what}: {collapse_whitespace(str(error))}") from error
