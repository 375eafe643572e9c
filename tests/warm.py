"""Parsing processes that are reused by later runs with the same limits.

In production each run starts its own processes. Each loads the tokenizer, which takes half a
second of processor time: too much for the hundreds of runs in the tests. Processes, pipes and
limits are the real ones; test_workers.py tests how they start and end.
"""

import queue
import sys
import threading
from collections.abc import Generator, Iterable
from typing import Any

from ragctl.errors import RagctlError
from ragctl.workers import Pool
from ragctl.workers.pool import _WorkerThreads
from ragctl.workers.process import WorkerSpec
from ragctl.workers.reply import Reply

MAX_IDLE = 4  # sets of threads; each child process takes about 80 MB
DRAIN_SECONDS = 1.0  # for each reply that a stopped run has not taken
_idle: list[tuple[tuple[WorkerSpec, int], _WorkerThreads]] = []
_lock = threading.Lock()


class WarmPool(Pool):
    """A Pool that reuses the threads of an earlier pool and keeps them for a later one."""

    def __init__(self, function: str, *, workers: int, seconds: float, memory: int) -> None:
        super().__init__(function, workers=workers, seconds=seconds, memory=memory)
        self._generator: Generator[Reply, None, None] | None = None
        with _lock:
            for index, (key, threads) in enumerate(_idle):
                if key == (self._spec, workers):
                    self._threads = threads
                    del _idle[index]
                    break

    def close(self) -> None:
        if self._generator is not None:
            self._generator.close()
        if self._threads is not None:
            with _lock:
                _idle.append(((self._spec, self.workers), self._threads))
                surplus = _idle[:-MAX_IDLE]
                del _idle[:-MAX_IDLE]
            self._threads = None
            for _, threads in surplus:
                threads.close()
        super().close()

    def _replies(self, jobs: Iterable[Any]) -> Generator[Reply, None, None]:
        self._generator = super()._replies(jobs)
        yield from self._generator

    def _abandon(self, threads: _WorkerThreads, pending: int) -> None:
        """Wait for the replies to a stopped run instead of killing the children."""
        if not isinstance(sys.exception(), GeneratorExit) or not _drained(threads, pending):
            super()._abandon(threads, pending)


def _drained(threads: _WorkerThreads, pending: int) -> bool:
    """Take the replies to so many jobs; return whether all came."""
    while pending:
        try:
            reply = threads._replies.get(timeout=DRAIN_SECONDS)
        except queue.Empty:
            return False
        threads._slots.release()
        if isinstance(reply, RagctlError):
            return False
        pending -= reply.last
    return True


def close_idle() -> None:
    """Stop the idle processes."""
    with _lock:
        idle = [threads for _, threads in _idle]
        _idle.clear()
    for threads in idle:
        threads.close()
