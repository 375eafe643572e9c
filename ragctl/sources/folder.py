"""A kind of source: a local folder."""

from dataclasses import dataclass
from pathlib import Path

from ragctl.sources.base import Found
from ragctl.sources.selection import Selection
from ragctl.sources.walk import walk


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the rules of its walk; see `walk`."""

    root: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    within: str | None = None
    default_ignores: bool = True
    gitignore: bool = True
    only: Selection | None = None

    def list_files(self) -> Found:
        """Return its files. Raises as `walk`."""
        entries = walk(
            self.root,
            self.include,
            self.exclude,
            self.within,
            default_ignores=self.default_ignores,
            gitignore=self.gitignore,
            only=self.only,
        )
        return Found(list(entries), failures=entries.failures, skipped=entries.skipped)
