"""File locks between processes; the operating system drops them when a process dies."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import portalocker

from ragctl.errors import Locked, StoreError

_POLL = 0.005  # seconds between attempts at a lock that is taken
_RUN_POLL = 0.1  # the same, where a whole run is waited for


def try_lock(file: IO[str], *, shared: bool = False) -> bool:
    """Take the lock on an open file if it is free."""
    flag = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(file, flag | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.LockException:
        return False
    return True


def unlock(file: IO[str]) -> None:
    portalocker.unlock(file)


class Wait:
    """How long another run may be waited for, and who is told of it, once."""

    def __init__(self, patience: float, tell: Callable[[str], None]) -> None:
        self._end = time.monotonic() + patience
        self._tell = tell
        self._told = False

    def check(self, what: str, holder: str) -> None:
        """Go on waiting for `holder`, a run that is alive; raises Locked after the end."""
        line = f"{what} is being written by another run ({holder})"
        if time.monotonic() >= self._end:
            raise Locked(f"{line}; wait for it to end, then run again")
        self.tell(f"{line}; waiting for it to end")

    def tell(self, line: str) -> None:
        if not self._told:
            self._told = True
            self._tell(line)


@contextmanager
def run_lock(path: Path, what: str, wait: Wait) -> Iterator[None]:
    """The right to write `what`; raises Locked, naming the holder's process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        while not try_lock(file):
            file.seek(0)
            wait.check(what, f"process {file.read().strip() or 'unknown'}")
            time.sleep(_RUN_POLL)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()
            unlock(file)


class Turn:
    """An exclusive turn that its holder can see others waiting for.

    Waiters hold a shared lock on a second file while they wait; the holder
    looks whether that lock can be had exclusively. Nothing is left behind by a
    process that dies.
    """

    def __init__(self, path: Path, what: str, *, patience: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._what = what
        self._patience = patience
        self._turn = path.open("a+", encoding="utf-8")
        self._queue = path.with_suffix(".queue").open("a+", encoding="utf-8")

    def take(self) -> None:
        """Wait for the turn, at most `patience` seconds; raises Locked after that."""
        # Whoever comes back while others wait goes behind them.
        if not self.wanted() and try_lock(self._turn):
            return
        end = time.monotonic() + self._patience
        queued = False
        try:
            while True:
                # Not to be had while somebody looks whether anyone waits.
                queued = queued or try_lock(self._queue, shared=True)
                time.sleep(_POLL)
                if try_lock(self._turn):
                    return
                if time.monotonic() > end:
                    raise Locked(
                        f"{self._what} stayed busy for {self._patience:g} s; "
                        "another process holds it; try again"
                    )
        finally:
            if queued:
                unlock(self._queue)

    def give(self) -> None:
        unlock(self._turn)

    def wanted(self) -> bool:
        """Whether somebody else waits."""
        if not try_lock(self._queue):
            return True
        unlock(self._queue)
        return False

    def close(self) -> None:
        self._turn.close()
        self._queue.close()


@contextmanager
def taken(path: Path, what: str, patience: float) -> Iterator[None]:
    """A turn for the length of the `with`."""
    turn = Turn(path, what, patience=patience)
    try:
        turn.take()
        yield
    finally:
        turn.close()


def own_mark(path: Path) -> str:
    """A random name kept in a file: made by whoever asks first, the same for all."""
    with path.open("a+", encoding="utf-8") as file:
        while not try_lock(file):
            time.sleep(_POLL)
        file.seek(0)
        mark = file.read().strip()
        if not mark:
            mark = uuid.uuid4().hex
            file.write(mark)
            file.flush()
        return mark


def private_folder(path: Path) -> Path:
    """Make a folder that only this user can read."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot make the store folder ({error.strerror}); give another with --store"
        ) from error
    return path
