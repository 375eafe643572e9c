"""Waiting for other threads in tests."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is true, at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)
