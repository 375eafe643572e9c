"""Cooperative cancellation: requests in flight are finished, and no new work begins."""

from collections.abc import Iterator
from contextlib import contextmanager

from ragctl.errors import Interrupted

MESSAGE = "interrupted; run again to continue from here"


class Cancellation:
    """A request to end a run. A signal handler of the main thread sets it; the run checks it."""

    def __init__(self) -> None:
        self.requested = False
        self._interruptible = False

    def cancel(self) -> None:
        """Ask the run to end. Raises Interrupted at once during an `interruptible` wait."""
        self.requested = True
        if self._interruptible:
            self._interruptible = False
            raise Interrupted(MESSAGE)

    def raise_if_cancelled(self) -> None:
        """Raise Interrupted if the run was asked to end."""
        if self.requested:
            raise Interrupted(MESSAGE)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Enclose a wait that may be cut short without losing anything."""
        self.raise_if_cancelled()
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False
