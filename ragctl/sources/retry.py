"""Repeat a request that failed for a reason that may pass."""

import time
from collections.abc import Callable
from typing import TypeVar

from ragctl.errors import RagctlError

T = TypeVar("T")

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5
"""Pause before the second attempt; it doubles each time."""
_FINAL = (RagctlError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class Refused(Exception):
    """An answer that will be the same next time, such as 403."""


def with_retries(call: Callable[[], T]) -> T:
    """Return the result of `call`, which may fail ATTEMPTS - 1 times. Raises its last error.

    Errors that say that the file is missing or forbidden are raised at once.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except (*_FINAL, Refused):
            raise
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
        time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable")
