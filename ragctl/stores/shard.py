"""One Edge shard, opened for a moment at a time so that processes can share it.

The engine lets one process open a shard. It is opened on first use, kept open
while calls follow each other closely, and given up as soon as another process
asks or no call has come for a moment: never while this process waits for
something else, such as an embedding API.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as qe

from ragctl import stores
from ragctl.errors import StoreError
from ragctl.stores.locks import Turn
from ragctl.text import collapse_whitespace

_LINGER = 1.0  # seconds that an idle shard stays open (opening 20,000 x 1,024 takes 0.15-0.3)
_TICK = 0.01  # seconds between looks at whether another process asks
_YIELD = 0.03  # seconds to stand back after giving way, so that the one who asked gets it


class Shard:
    """A shard folder that several processes and threads use in turn."""

    def __init__(self, folder: Path, lock: Path, what: str, *, patience: float) -> None:
        self._folder = folder
        self._what = what
        self._turn = Turn(lock, what, patience=patience)
        self._mutex = threading.RLock()
        self._shard: qe.EdgeShard | None = None
        self._last_use = 0.0
        self._stand_back = 0.0
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()
        self._left = False
        self.written = False  # and not flushed; whoever writes says so

    @contextmanager
    def use(self) -> Iterator[qe.EdgeShard]:
        """The open shard, for the length of the `with`; engine failures become StoreError."""
        with self._mutex:
            shard = self._shard or self._open()
            try:
                with engine_errors(self._what):
                    yield shard
            finally:
                self._last_use = time.monotonic()
                if self._turn.wanted():
                    self._give_up()

    @contextmanager
    def lent(self) -> Iterator[Path]:
        """The folder, for a process of ours that opens the shard itself: nobody else may."""
        with self._mutex:
            self._give_up()
            time.sleep(max(0.0, self._stand_back - time.monotonic()))
            self._turn.take()
            try:
                with engine_errors(self._what):
                    yield self._folder
            finally:
                self._stand_back = time.monotonic() + _YIELD
                self._turn.give()

    def close(self) -> None:
        with self._mutex:
            if stores.LEFT_OPEN and self._shard is not None:
                self._left = True  # to the watcher, who gives it up for others and ends with us
                if self.written:
                    with engine_errors(self._what):
                        self._shard.flush()
                return
            self._closed.set()
            self._give_up()
        if self._watcher is not None:
            self._watcher.join()
        self._turn.close()

    def _open(self) -> qe.EdgeShard:
        time.sleep(max(0.0, self._stand_back - time.monotonic()))
        self._turn.take()
        try:
            with engine_errors(self._what):
                self._shard = qe.EdgeShard.load(str(self._folder))
        except BaseException:
            self._turn.give()
            raise
        if self._watcher is None or not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._watch, daemon=True, name="shard-watch")
            self._watcher.start()
        return self._shard

    def _give_up(self) -> None:
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        try:
            with engine_errors(self._what):
                shard.close()
        finally:
            self._stand_back = time.monotonic() + _YIELD
            self._turn.give()

    def _watch(self) -> None:
        while True:
            self._closed.wait(_TICK)
            if not self._mutex.acquire(blocking=False):
                continue
            try:
                if self._shard is None:
                    self._watcher = None
                    if self._left:
                        self._turn.close()
                    return
                idle = time.monotonic() - self._last_use
                if idle > _LINGER or self._turn.wanted():
                    self._give_up()
            finally:
                self._mutex.release()


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Name the collection in whatever the engine raises.

    The binding raises bare Exception (or ValueError) for every failure of the
    engine, so this one place catches those; our own errors pass through.
    """
    try:
        yield
    except Exception as error:
        if type(error) not in (Exception, ValueError):
            raise
        raise StoreError(f"{what}: {collapse_whitespace(str(error))}") from error
