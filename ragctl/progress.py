"""How long work tells what it is doing and how far it is."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Callbacks of long work. This one ignores them; they may be called very often.

    Work has parts, such as "scan" or "read". Each counts things of one kind, with their total if
    it is known. A part may have stages that take turns, such as reading, embedding and writing.
    """

    def begin(self, stage: str, unit: str = "", total: int | None = None) -> None:
        """Begin a part with its first stage. `unit`: what is counted, in the singular."""

    def stage(self, name: str) -> str:
        """Note that another stage of the same part goes on now. Return the one before."""
        return ""

    def advance(self, count: int = 1) -> None:
        """Note that `count` more things are done."""

    def grow(self, count: int) -> None:
        """Add to the total of this part."""

    def tokens(self, count: int) -> None:
        """Note that `count` tokens were embedded."""

    def each(self, things: Iterable[T]) -> Iterator[T]:
        """Yield the things, and advance with each."""
        for thing in things:
            yield thing
            self.advance()
