"""One child process, seen from the parent."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from ragctl.errors import DocumentError, RagctlError
from ragctl.workers.frames import ITEM, JOB, MEMORY, READY, Frame, read_frame, write_frame
from ragctl.workers.reply import Ended

_START_SECONDS = 60.0  # to start and import the function, on a busy machine
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ragctl.workers.serve import serve; serve(sys.argv[2])"
)


@dataclass(frozen=True, slots=True)
class Spec:
    function: str
    seconds: float
    memory: int


class Child:
    """One child process, seen from its thread; `kill` and `check_time` come from others."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self.served = 0
        self.spent = False  # dead, dying, or not to be trusted with another job
        self.expired = False
        self._lock = threading.Lock()  # of _deadline and expired
        self._deadline: float | None = None
        settings = {"function": spec.function, "seconds": spec.seconds, "memory": spec.memory}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [
                *(sys.executable, "-W", "ignore", "-c", _BOOT),
                *(json.dumps(sys.path), json.dumps({**settings, "parent": os.getpid()})),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Out of the terminal's foreground group: Ctrl-C is for the parent to decide upon.
            process_group=0 if os.name == "posix" else None,
        )
        self._jobs = cast(BinaryIO, self._process.stdin)
        self._replies = cast(BinaryIO, self._process.stdout)

    def await_ready(self) -> None:
        """Raises RagctlError if the child does not come up."""
        self._set_deadline(_START_SECONDS)
        frame = read_frame(self._replies)
        self._set_deadline(None)
        if frame is None:
            reason = f"no sign of life in {_START_SECONDS:g} s" if self.expired else self._how()
            raise RagctlError(
                f"a worker process does not start: {reason}; "
                f"is its memory limit of {_size(self._spec.memory)} too low?"
            )
        if frame[0] != READY:
            raise RagctlError(f"a worker process does not start: {frame[1].decode()}")

    def ask(self, payload: bytes) -> Iterator[Frame | Ended]:
        """Yields ITEM frames, then one last thing: a frame of another kind, or Ended."""
        self.served += 1
        left = self._spec.seconds
        with contextlib.suppress(OSError):  # a dead child shows at the read
            write_frame(self._jobs, JOB, payload)
        while True:
            begun = time.monotonic()
            self._set_deadline(left)
            frame = read_frame(self._replies)
            self._set_deadline(None)
            left = max(0.0, left - (time.monotonic() - begun))
            if frame is None:
                self.spent = True
                yield Ended(DocumentError(self._death()))
                return
            if frame[0] == MEMORY:
                self.spent = True
                yield Ended(DocumentError(self._too_large()))
                return
            yield frame
            if frame[0] != ITEM:
                self.spent = self.expired  # killed when it was just done
                return

    def kill(self) -> None:
        self._process.kill()

    def check_time(self) -> None:
        with self._lock:
            if self._deadline is not None and time.monotonic() > self._deadline:
                self.expired = True
                self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # what was not yet flushed to a dead child
            self._jobs.close()
        self._replies.close()

    def _set_deadline(self, seconds: float | None) -> None:
        with self._lock:
            self._deadline = None if seconds is None else time.monotonic() + seconds

    def _death(self) -> str:
        code = self._process.wait()
        if self.expired or code == -getattr(signal, "SIGALRM", 0):
            return f"took longer than {self._spec.seconds:g} s to parse; raise --parse-timeout"
        if code == -getattr(signal, "SIGKILL", 0):
            return "parsing was killed by the system, most likely for want of memory"
        return f"parsing crashed: {self._how()}"

    def _how(self) -> str:
        code = self._process.wait()
        if code < 0:
            try:
                return f"signal {signal.Signals(-code).name}"
            except ValueError:
                return f"signal {-code}"
        return f"exit code {code}"

    def _too_large(self) -> str:
        return (
            f"needs more than {_size(self._spec.memory)} of memory to parse; raise --parse-memory"
        )


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
