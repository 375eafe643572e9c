"""File locks between processes. The operating system releases them when a process dies."""

import contextlib
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from ragctl.errors import Locked, StoreError
from ragctl.records import Notify

POLL_SECONDS = 0.005
"""Interval between attempts at a lock that is held for one batch or search."""

RUN_POLL_SECONDS = 0.1
"""Interval between attempts at a lock that is held for a whole run."""


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Take the lock on an open file if it is free, and return whether it was."""
    if sys.platform == "win32":
        import portalocker

        flag = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
        try:
            portalocker.lock(file, flag | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.LockException:
            return False
        return True
    # portalocker does the same here, but takes 50 ms to import: in every command, and again in
    # the engine's process.
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def unlock(file: IO[Any]) -> None:
    """Release the lock on an open file."""
    if sys.platform == "win32":
        import portalocker

        portalocker.unlock(file)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)


class LockWait:
    """The wait for another run: at most `patience` seconds, reported to `notify` once."""

    def __init__(self, patience: float, notify: Notify) -> None:
        self._deadline = time.monotonic() + patience
        self._notify = notify
        self._notified = False

    def check(self, what: str, holder: str) -> None:
        """Report that `holder`, a live run, is waited for. Raises Locked after the deadline."""
        line = f"{what} is being written by another run ({holder})"
        if time.monotonic() >= self._deadline:
            raise Locked(f"{line}; wait for it to end, then run again")
        self.report(f"{line}; waiting for it to end")

    def report(self, line: str) -> None:
        """Send a line to `notify`, unless one was sent before."""
        if not self._notified:
            self._notified = True
            self._notify(line)


@contextmanager
def run_lock(path: Path, what: str, wait: LockWait) -> Iterator[None]:
    """Hold the right to write `what`.

    Raises Locked, which names the holder's process, and StoreError if the lock file cannot be
    made.
    """
    with lock_file(path) as file:
        while not try_lock(file):
            file.seek(0)
            wait.check(what, f"process {file.read().decode().strip() or 'unknown'}")
            time.sleep(RUN_POLL_SECONDS)
        with contextlib.suppress(OSError):  # a full disk: the holder is not named
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        try:
            yield
        finally:
            file.truncate(0)
            unlock(file)


def run_lock_holder(path: Path) -> tuple[str, float] | None:
    """Return the process that holds a `run_lock`, and since when; None if it is free.

    The time is in seconds since 1970.
    """
    try:
        with path.open("rb") as file:
            process = file.read().decode("ascii", "replace").strip()
            # A file without a process is locked for an instant at most, or on a full disk.
            if not process or try_lock(file, shared=True):
                return None
            return f"process {process}", os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def lock_file(path: Path) -> IO[bytes]:
    """Open a lock file, which is made if it is missing. Raises StoreError."""
    try:
        if path.parent.is_file():  # damage
            path.parent.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # damage
            shutil.rmtree(path)
        return path.open("ab+", buffering=0)
    except OSError as error:
        raise StoreError(
            f"{path}: the lock file cannot be opened ({error.strerror}); check its permissions"
        ) from error


class FairLock:
    """An exclusive lock whose holder can see that other processes wait for it.

    While a process waits, it holds a shared lock on a second file; the holder tests whether
    an exclusive lock on that file is available. A process that dies leaves nothing behind.
    """

    def __init__(self, path: Path, what: str, *, patience: float) -> None:
        self._what = what
        self._patience = patience
        self._lock = lock_file(path)
        self._queue = lock_file(path.with_suffix(".queue"))

    def acquire(self) -> None:
        """Wait for the lock. Raises Locked after `patience` seconds."""
        # A process that comes back while others wait queues behind them.
        if not self.has_waiters() and try_lock(self._lock):
            return
        deadline = time.monotonic() + self._patience
        queued = False
        try:
            while True:
                # Fails while another process tests for waiters.
                queued = queued or try_lock(self._queue, shared=True)
                time.sleep(POLL_SECONDS)
                if try_lock(self._lock):
                    return
                if time.monotonic() > deadline:
                    raise Locked(_busy(self._what, self._patience))
        finally:
            if queued:
                unlock(self._queue)

    def release(self) -> None:
        """Release the lock."""
        unlock(self._lock)

    def has_waiters(self) -> bool:
        """Return whether another process waits for the lock."""
        if not try_lock(self._queue):
            return True
        unlock(self._queue)
        return False

    def close(self) -> None:
        """Close the lock's files, which also releases it."""
        self._lock.close()
        self._queue.close()


@contextmanager
def fair_lock(path: Path, what: str, patience: float) -> Iterator[None]:
    """Hold a FairLock for the length of the `with` block."""
    lock = FairLock(path, what, patience=patience)
    try:
        lock.acquire()
        yield
    finally:
        lock.close()


@contextmanager
def reading_lock(path: Path, what: str, patience: float) -> Iterator[None]:
    """Keep the processes that hold a FairLock away, for one that must not write its files.

    A lock file that is missing or unreadable is not held. Raises Locked after `patience` seconds.
    """
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(path.open("rb"))
            queue = stack.enter_context(path.with_suffix(".queue").open("rb"))
        except OSError:
            yield
            return
        deadline = time.monotonic() + patience
        queued = False
        while not try_lock(lock, shared=True):
            queued = queued or try_lock(queue, shared=True)
            if time.monotonic() > deadline:
                raise Locked(_busy(what, patience))
            time.sleep(POLL_SECONDS)
        if queued:
            unlock(queue)
        yield


def _busy(what: str, patience: float) -> str:
    return f"{what} stayed busy for {patience:g} s; another process holds it; try again"


def shared_id(path: Path) -> str:
    """Return a random id kept in a file. The first caller creates it; all get the same."""
    with path.open("a+", encoding="utf-8") as file:
        while not try_lock(file):
            time.sleep(POLL_SECONDS)
        file.seek(0)
        value = file.read().strip()
        if not value:
            value = uuid.uuid4().hex
            file.write(value)
            file.flush()
        return value


def known_id(path: Path) -> str:
    """Return the id that `shared_id` keeps in a file; "" without one."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def private_folder(path: Path) -> Path:
    """Make a folder that only this user can read, and return it. Raises StoreError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot make the store folder ({error.strerror}); give another with --store"
        ) from error
    return path


def is_running(process: int) -> bool:
    """Return whether a process with this id runs on this machine, this one included."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no id at all
        return True
    return True
