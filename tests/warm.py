"""Parsing processes that outlive a run and serve the next run with the same limits.

Outside the tests each run starts its own: a new interpreter that loads the tokenizer, which takes
half a second of processor time, too much for the hundreds of runs here. Processes, pipes and
limits are the real ones; how they start and end is tested in test_workers.py.
"""

import threading
from collections.abc import Generator, Iterable
from typing import Any

from ragctl.workers import Pool
from ragctl.workers.pool import _WorkerThreads
from ragctl.workers.process import WorkerSpec
from ragctl.workers.reply import Reply

MAX_IDLE = 4  # sets of threads; each of their children takes about 80 MB
_idle: list[tuple[tuple[WorkerSpec, int], _WorkerThreads]] = []
_lock = threading.Lock()


class WarmPool(Pool):
    """A Pool that takes over the threads of an earlier one, and keeps them for a later one."""

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
                spare = _idle[:-MAX_IDLE]
                del _idle[:-MAX_IDLE]
            self._threads = None
            for _, threads in spare:
                threads.close()
        super().close()

    def _replies(self, jobs: Iterable[Any]) -> Generator[Reply, None, None]:
        self._active = True  # stays true if the caller stops early
        yield from super()._replies(jobs)
        self._active = False


def end() -> None:
    """End the idle processes."""
    with _lock:
        idle = [threads for _, threads in _idle]
        _idle.clear()
    for threads in idle:
        threads.close()
