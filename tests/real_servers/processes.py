"""Processes of real servers on loopback. Only processes that were started here are ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

READY_SECONDS = 240  # the first import takes long, on a machine that does other things too
POLL_SECONDS = 0.1
STOP_SECONDS = 10

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Variables that keep the servers from looking for other hosts."""


def free_port() -> int:
    """Return a port of the loopback interface that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds. Raises AssertionError after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


class ServerProcess:
    """A server that is ready when `ready` answers 200. Used as a context manager.

    `command`, `folder` (its working folder) and `environ` can be changed before a restart.
    """

    ready_seconds: float = READY_SECONDS

    def __init__(
        self,
        command: Sequence[object],
        ready: str,
        folder: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.command = [str(word) for word in command]
        self.ready = ready
        self.folder = folder
        self.environ = {**os.environ, **OFFLINE, **(environ or {})}
        self.log = folder / f"server-{free_port()}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, *, wait: bool = True) -> None:
        """Start the process, and wait until it is ready. Raises AssertionError if it ends."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            try:
                self.wait_until_ready()
            except BaseException:
                self.stop()
                raise

    def wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + self.ready_seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise AssertionError(f"{self.command[0]} ended: {self.last_lines()}")
            with contextlib.suppress(OSError), urllib.request.urlopen(self.ready, timeout=5):
                return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{self.command[0]} is not ready: {self.last_lines()}")

    def last_lines(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def kill(self) -> None:
        """End the process and its children at once."""
        self._signal(signal.SIGKILL)
        self._wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process; by force if it takes longer than STOP_SECONDS."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._wait()
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, which are a group of their own."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
