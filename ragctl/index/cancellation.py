"""A polite request to end the run: what is in flight is finished, nothing new begins."""

from collections.abc import Iterator
from contextlib import contextmanager

from ragctl.errors import Interrupted


class Cancellation:
    """Set by a signal handler in the main thread; looked at by the run."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    def cancel(self) -> None:
        """Ask the run to end. While it only waits for a parser, it ends at once."""
        self.requested = True
        if self._waiting:
            self._waiting = False
            raise Interrupted("interrupted; run again to go on from here")

    def raise_if_cancelled(self) -> None:
        if self.requested:
            raise Interrupted("interrupted; run again to go on from here")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Around a wait that may be cut short without losing anything."""
        self.raise_if_cancelled()
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False
