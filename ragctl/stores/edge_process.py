"""One shard of the embedded engine, in a child process of its own.

The engine holds Python's global lock in every call, maps all files it reads, and ends its
process when it meets damage it does not expect. In a child it cannot stop, block or end the
run: an engine that panics or aborts is one error here.

    EdgeCollection ── call("scroll", …) ──► ShardProcess ══ pipes ══► edge_child ──► qdrant_edge

The child also holds the lock that processes share (`locks.FairLock`), so that a search gets the
shard while the run that writes is suspended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

from ragctl.errors import (
    GenerationDropped,
    Locked,
    StoreError,
    UnreadableCollection,
    UsageError,
)
from ragctl.stores.edge_frames import read_frame, write_frame
from ragctl.stores.edge_space import disk_is_full
from ragctl.text import one_line

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ragctl.stores.edge_child import main; main(sys.argv[2])"
)
MAX_STDERR_BYTES = 4096
"""What is read of the lines that a dying engine prints."""
EXIT_SECONDS = 30.0
"""How long a child that was asked to end may take: it flushes."""
CRASH_SIGNALS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGTRAP")
"""Signals by which the engine ends itself when it reads damaged files. Others come from outside."""


class ShardProcess:
    """The engine's process for one shard. Threads share it and take turns.

    The process starts with `start`, or with the first call. One that died is started again by
    the next call.
    """

    def __init__(
        self,
        folder: Path,
        lock: Path,
        what: str,
        *,
        creation_id: str,
        patience: float,
        advice: str = "",
        root: Path | None = None,
        read_only: bool = False,
        keep_open: bool = False,
    ) -> None:
        """Take a generation's folder and id, its lock file, and what it is, for messages.

        `patience`: seconds to wait for another process's turn. `advice`: what to do about damage.
        `root`: of the store, whose reserve is used on a full disk. `read_only`: read a copy.
        `keep_open`: keep the shard open while it is idle, until another process waits for it.
        """
        self._settings = {
            "folder": str(folder),
            "creation_id": creation_id,
            "lock": str(lock),
            "what": what,
            "patience": patience,
            "root": str(root or folder),
            "read_only": read_only,
            "keep_open": keep_open,
        }
        self._folder = folder
        self._what = what
        self._advice = f"; {advice}" if advice else ""
        self._mutex = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def start(self) -> None:
        """Start the process without waiting until it is ready."""
        with self._mutex:
            self._running()

    def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """Run one operation of `edge_operations` and return its result.

        Raises Locked when another process keeps the shard, GenerationDropped when the generation
        is gone, UnreadableCollection when the stored files cannot be read or the engine crashes,
        UsageError while the machine's clock is before 1970, and StoreError for everything else
        that the engine refuses, when its process is killed, and after `timeout` seconds.
        """
        with self._mutex:
            process = self._running()
            timed_out = threading.Event()

            def give_up() -> None:
                timed_out.set()
                process.kill()

            timer = None if timeout is None else threading.Timer(timeout, give_up)
            if timer is not None:
                timer.daemon = True
                timer.start()
            try:
                with contextlib.suppress(OSError):  # a dead child shows at the read
                    write_frame(process.stdin, (method, arguments))
                answer = read_frame(process.stdout)
            except BaseException:
                # Interrupted. The answer is still to come, and must not be the next call's.
                self._discard()
                raise
            finally:
                if timer is not None:
                    timer.cancel()
            if answer is None and timed_out.is_set():
                self._discard()
                raise StoreError(f"{self._what}: the engine did not answer within {timeout:g} s")
            if answer is None:
                raise self._ended(process)
            kind, value = answer
            if kind == "result":
                return value
            if kind == "locked":
                raise Locked(value)
            if kind == "dropped":
                raise GenerationDropped(f"{self._what}: {value}")
            if kind == "panic":
                self._discard()
            if kind in ("panic", "unreadable"):
                raise self._damaged(str(value))
            raise StoreError(f"{self._what}: {value}")

    def close(self) -> None:
        """End the process after what was written is flushed."""
        with self._mutex:
            # A fork sees a process that is not its child as ended, and leaves it alone.
            if self._process is None or self._process.poll() is not None:
                self._discard()
                return
            process, self._process = self._process, None
            try:
                with contextlib.suppress(OSError):
                    write_frame(process.stdin, ("end", ()))
                answer = read_frame(process.stdout)
                if answer is not None and answer[0] != "result":
                    raise StoreError(f"{self._what}: {answer[1]}")
            finally:
                self._reap(process)

    def kill(self) -> None:
        """End the process at once, without flushing."""
        with self._mutex:
            self._discard()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._discard()
            self._process = self._started()
        return self._process

    def _started(self) -> "subprocess.Popen[bytes]":
        import json

        if time.time() < 0:  # the engine (0.9.0) panics
            raise UsageError(
                f"{self._what} cannot be used: this machine's clock shows a time before 1970; "
                "set the clock, then run again"
            )
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _reap
        return subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [
                *(sys.executable, "-W", "ignore", "-c", _BOOT),
                *(json.dumps(sys.path), json.dumps({**self._settings, "parent": os.getpid()})),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            # Out of the terminal's foreground group: Ctrl-C and Ctrl-Z are for the parent.
            start_new_session=os.name == "posix",
        )

    def _damaged(self, reason: str) -> StoreError:
        if disk_is_full(self._folder):
            return StoreError(
                f"{self._what}: the disk is full ({reason}); make space, or delete a collection "
                "with `ragctl delete --all -c NAME`"
            )
        return UnreadableCollection(
            f"{self._what} cannot be read or written: {reason}{self._advice}"
        )

    def _ended(self, process: "subprocess.Popen[bytes]") -> StoreError:
        """Return the error for a child that ended during a call: a crash, or a kill."""
        code = process.wait()
        detail = self._last_line()
        self._discard()
        if code >= 0:
            return StoreError(
                f"{self._what}: the engine's process ended with exit code {code}{detail}"
            )
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name in CRASH_SIGNALS:
            return self._damaged(f"the engine crashed ({name}){detail}")
        reason = "; the system does this when memory runs out" if name == "SIGKILL" else ""
        return StoreError(
            f"{self._what}: the engine's process was killed ({name}){reason}. What was written is "
            "kept; run again"
        )

    def _last_line(self) -> str:
        if self._stderr is None:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - MAX_STDERR_BYTES))
        text = self._stderr.read().decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return f": {one_line(lines[-1], limit=300)}" if lines else ""

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._reap(process)

    def _reap(self, process: "subprocess.Popen[bytes]") -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None
