"""Parsing processes that are reused by later runs with the same limits.

In production each run starts its own processes. Each loads the tokenizer, which takes half a
second of processor time: too much for the hundreds of runs in the tests. Processes, pipes and
limits are the real ones; test_workers.py tests how they start and end.
"""

import threading
from collections.abc import Generator, Iterable
from typing import Any

from ragctl.workers import Pool
from ragctl.workers.pool import _WorkerThreads
from ragctl.workers.process import WorkerSpec
from ragctl.workers.reply import Reply

MAX_IDLE = 4  # sets of threads; each child process takes about 80 MB
_idle: list[tuple[tuple[WorkerSpec, int], _WorkerThreads]] = []
_lock = threading.Lock()


class WarmPool(Pool):
    """A Pool that reuses the threads of an earlier pool and keeps them for a later one."""

    def __init__(self, function: str, *, workers: int, seconds: float, memory: int) -> None:
        super().__init__(function, workers=workers, seconds=seconds, memory=memory)
        self._active = False
        with _lock:
            for index, (key, threads) in enumerate(_idle):
                if key == (self._spec, workers):
                    self._threads = threads
                    del _idle[index]
                    break

    def close(self) -> None:
        if self._threads is not None and not self._active:
            with _lock:
                _idle.append(((self._spec, self.workers), self._threads))
                surplus = _idle[:-MAX_IDLE]
                del _idle[:-MAX_IDLE]
            self._threads = None
            for _, threads in surplus:
                threads.close()
        super().close()

    def _replies(self, jobs: Iterable[Any]) -> Generator[Reply, None, None]:
        self._active = True  # stays true if the caller stops early
        yield from super()._replies(jobs)
        self._active = False


def close_idle() -> None:
    """Stop the idle processes."""
    with _lock:
        idle = [threads for _, threads in _idle]
        _idle.clear()
    for threads in idle:
        threads.close()
