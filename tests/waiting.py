"""Waiting for other threads and processes in tests, on idle machines and on loaded ones."""

import os
import time
from collections.abc import Callable

PROCESS_SECONDS = 600.0
"""Limit for a child process that takes seconds on an idle machine: only a hang reaches it."""


def within(seconds: float) -> float:
    """Return a limit for something that takes less than `seconds` on an idle machine.

    The load of the machine, in processes per core, stretches it: what is bounded is that the
    code does not wait for something else, not how fast the machine is.
    """
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * max(1.0, 2 * load)


def until(condition: Callable[[], bool], seconds: float = PROCESS_SECONDS) -> None:
    """Wait until `condition` is true. Fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still false after {seconds:g} s"
        time.sleep(0.001)
