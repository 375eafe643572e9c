"""A child process as seen by its parent."""

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

START_SECONDS = 60.0  # for a child to start and import the function, on a busy machine
_BOOTSTRAP = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ragctl.workers.serve import serve; serve(sys.argv[2])"
)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What every child of a pool does, and its limits; see `Pool`."""

    function: str
    seconds: float
    memory: int  # bytes


class StartError(RagctlError):
    """A child process that a signal or the time limit ended before it was ready."""


class Child:
    """A child process, used by one thread; others may call `kill` and `check_time`.

    Attributes:
        served: number of jobs sent to it.
        unusable: whether it is dead, or must not get another job.
        expired: whether it was killed because a job exceeded its time.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self.served = 0
        self.unusable = False
        self.expired = False
        self._lock = threading.Lock()  # guards _deadline and expired
        self._deadline: float | None = None
        settings = {"function": spec.function, "seconds": spec.seconds, "memory": spec.memory}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [
                *(sys.executable, "-W", "ignore", "-c", _BOOTSTRAP),
                *(json.dumps(sys.path), json.dumps({**settings, "parent": os.getpid()})),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Not in the terminal's foreground group: Ctrl-C goes to the parent only, which decides.
            process_group=0 if os.name == "posix" else None,
        )
        self._jobs_pipe = cast(BinaryIO, self._process.stdin)
        self._replies_pipe = cast(BinaryIO, self._process.stdout)

    def await_ready(self) -> None:
        """Wait until the child is ready for a job.

        Raises StartError if it is killed before, which another child may not be, and RagctlError
        if it ends by itself, as every other one would.
        """
        self._set_deadline(START_SECONDS)
        frame = read_frame(self._replies_pipe)
        self._set_deadline(None)
        if frame is None:
            reason = (
                f"no answer within {START_SECONDS:g} s" if self.expired else self._exit_reason()
            )
            killed = self.expired or self._process.wait() < 0
            raise (StartError if killed else RagctlError)(
                f"a worker process does not start: {reason}; "
                f"is its memory limit of {_mebibytes(self._spec.memory)} too low?"
            )
        if frame[0] != READY:
            raise RagctlError(f"a worker process does not start: {frame[1].decode()}")

    def ask(self, payload: bytes) -> Iterator[Frame | Ended]:
        """Send a job; yield its ITEM frames, then a last frame of another kind, or Ended."""
        self.served += 1
        left = self._spec.seconds
        with contextlib.suppress(OSError):  # the read below notices a dead child
            write_frame(self._jobs_pipe, JOB, payload)
        while True:
            begun = time.monotonic()
            self._set_deadline(left)
            frame = read_frame(self._replies_pipe)
            self._set_deadline(None)
            left = max(0.0, left - (time.monotonic() - begun))
            if frame is None:
                self.unusable = True
                yield Ended(DocumentError(self._death_message()))
                return
            if frame[0] == MEMORY:
                self.unusable = True
                yield Ended(DocumentError(self._memory_message()))
                return
            yield frame
            if frame[0] != ITEM:
                self.unusable = self.expired  # killed just after it had sent the last frame
                return

    def kill(self) -> None:
        """Kill the process without waiting for its end."""
        self._process.kill()

    def check_time(self) -> None:
        """Kill the process if its job has exceeded its time."""
        with self._lock:
            if self._deadline is not None and time.monotonic() > self._deadline:
                self.expired = True
                self._process.kill()

    def end(self) -> None:
        """Kill the process, wait for its end and close the pipes."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # data for a dead child could not be flushed
            self._jobs_pipe.close()
        self._replies_pipe.close()

    def _set_deadline(self, seconds: float | None) -> None:
        with self._lock:
            self._deadline = None if seconds is None else time.monotonic() + seconds

    def _death_message(self) -> str:
        code = self._process.wait()
        if self.expired or code == -getattr(signal, "SIGALRM", 0):
            return f"took longer than {self._spec.seconds:g} s to parse; raise --parse-timeout"
        if code == -getattr(signal, "SIGKILL", 0):
            return "parsing was killed by the system, most likely because memory ran out"
        return f"parsing crashed: {self._exit_reason()}"

    def _exit_reason(self) -> str:
        code = self._process.wait()
        if code < 0:
            try:
                return f"signal {signal.Signals(-code).name}"
            except ValueError:
                return f"signal {-code}"
        return f"exit code {code}"

    def _memory_message(self) -> str:
        limit = _mebibytes(self._spec.memory)
        return f"needs more than {limit} of memory to parse; raise --parse-memory"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
