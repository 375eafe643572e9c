"""A folder in the course of a walk: its rules, the names left to visit, and its descriptor."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragctl.sources.directory import Directory, Entry
from ragctl.sources.ignore import Levels


class OpenFolder:
    """A folder that is being walked. `prefix` and `path`: below the root, in NFC and as on disk.

    `directory`: None while it is closed.
    """

    __slots__ = ("directory", "entries", "identity", "levels", "path", "prefix")

    def __init__(
        self,
        directory: Directory | None,
        prefix: str,
        path: str,
        levels: Levels,
        entries: Iterator[Entry],
    ) -> None:
        self.directory = directory
        self.prefix = prefix
        self.path = path
        self.levels = levels
        self.entries = entries
        self.identity: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the folder; remember which one it was."""
        if self.directory is not None:
            self.identity = self.directory.identity()
            self.directory.close()
            self.directory = None

    def reopen(self, root: str) -> bool:
        """Open the folder again, from the root; return whether it is still the same."""
        directory = None
        try:
            directory = Directory(root)
            for name in Path(self.path).parts:
                above = directory
                directory = above.child(name)
                above.close()
            if directory.identity() == self.identity:
                self.directory = directory
                return True
        except OSError:
            pass
        if directory is not None:
            directory.close()
        return False


def has(entries: Sequence[Entry], name: str) -> bool:
    """Return whether a sorted list of entries has a name."""
    at = bisect_left(entries, (name,))
    return at < len(entries) and entries[at][0] == name
