"""Waiting for other threads in tests."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is true, at most a minute: a busy machine is slow to start a process."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)
