"""Which paths a walk passes over: `.ragctlignore` files, --exclude and --include, and what a
pattern in a source's path leaves out, all in the syntax of gitignore.

A `.ragctlignore` rules its own folder and those below; a deeper one has the last word, and
within one file the last line that matches. --exclude overrules them all. As in git, a file
below an ignored folder cannot be had back.
"""

import os
import re
import stat
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ragctl.errors import UsageError

IGNORE_FILE = ".ragctlignore"
# For each folder with a .ragctlignore on the way down: the length of its prefix, its rules.
Levels = tuple[tuple[int, Any], ...]


def matcher(patterns: Sequence[str], origin: str) -> Callable[[str], bool]:
    """Whether a source is one of those that `patterns` name; every one is where there are none.

    `origin` begins the UsageError for what is no pattern.
    """
    if not patterns:
        return lambda source: True
    spec = _compile(patterns, origin)
    return lambda source: bool(spec.match_file(source))


class Rules:
    """Raises UsageError for a pattern that is no gitignore pattern."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], within: str | None = None
    ) -> None:
        self._include = _compile(include, "--include") if include else None
        self._exclude = _compile(exclude, "--exclude") if exclude else None
        self._within = _compile([within], "the path") if within else None
        self._way = within.split("/")[1:] if within else []

    def ignores(self, source: str, levels: Levels, folder: bool = False) -> bool:
        """Whether the file or folder at `source` (relative to the root) is passed over."""
        if not (levels or self._include or self._exclude or self._within):
            return False
        path = f"{source}/" if folder else source
        verdict = self._exclude.check_file(path).include if self._exclude else None
        for start, spec in reversed(levels):
            if verdict is not None:
                break
            verdict = spec.check_file(path[start:]).include
        if verdict:
            return True
        if folder:
            return not self._leads_within(source)
        wanted = (spec for spec in (self._within, self._include) if spec is not None)
        return not all(spec.match_file(path) for spec in wanted)

    def _leads_within(self, folder: str) -> bool:
        """Whether what is meant may lie below a folder; else it need not be looked into."""
        for name, pattern in zip(folder.split("/"), self._way, strict=False):
            if pattern == "**":
                return True
            if not re.search(r"[\[\\]", pattern) and not fnmatchcase(name, pattern):
                return False
        return True

    def enter(self, folder: str, prefix: str, levels: Levels) -> Levels:
        """The levels in force in a folder that holds a `.ragctlignore`. Raises OSError."""
        path = os.path.join(folder, IGNORE_FILE)  # noqa: PTH118 - the walk's paths are strings
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise OSError(0, "is not a file")
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123
            lines = file.read().splitlines()
        return (*levels, (len(prefix), _compile(lines, f"{prefix}{IGNORE_FILE}")))


def check(patterns: Sequence[str]) -> None:
    """Raise UsageError for a pattern that is no gitignore pattern."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _compile(lines: Sequence[str], origin: str) -> Any:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from error
