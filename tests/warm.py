"""Parsing processes that outlive a run and serve the next one of the same limits.

Each run starts its own: a fresh interpreter that loads the tokenizer, half a second of
computing, which the hundreds of runs here would spend again and again. The processes, the pipes
and the limits are the real ones; what is not tested here is in test_limited.py.
"""

import threading
from collections.abc import Generator, Iterable
from typing import Any

from ragctl.workers import Pool
from ragctl.workers.pool import _Crew
from ragctl.workers.process import Spec
from ragctl.workers.reply import Reply

_KEPT = 4  # crews; each child takes some 80 MB
_idle: list[tuple[tuple[Spec, int], _Crew]] = []
_lock = threading.Lock()


class WarmPool(Pool):
    """A Pool whose crew is that of an earlier one, and is kept for a later one if it is idle."""

    def __init__(self, function: str, *, workers: int, seconds: float, memory: int) -> None:
        super().__init__(function, workers=workers, seconds=seconds, memory=memory)
        self._at_work = False
        with _lock:
            for place, (key, crew) in enumerate(_idle):
                if key == (self._spec, workers):
                    self._crew = crew
                    del _idle[place]
                    break

    def close(self) -> None:
        if self._crew is not None and not self._at_work:
            with _lock:
                _idle.append(((self._spec, self.workers), self._crew))
                spare = _idle[:-_KEPT]
                del _idle[:-_KEPT]
            self._crew = None
            for _, crew in spare:
                crew.close()
        super().close()

    def _replies(self, jobs: Iterable[Any]) -> Generator[Reply, None, None]:
        self._at_work = True  # and so it stays where it is left early
        yield from super()._replies(jobs)
        self._at_work = False


def end() -> None:
    """End the processes that are kept."""
    with _lock:
        crews = [crew for _, crew in _idle]
        _idle.clear()
    for crew in crews:
        crew.close()
