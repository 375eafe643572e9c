"""Ignore rules of a walk, all in the syntax of gitignore.

They are the `.ragctlignore` files, --exclude, --include, and a pattern in a source's path. A
`.ragctlignore` applies to its own folder and those below; a deeper file overrides it, and within
a file the last matching line decides. --exclude overrides them all. As in git, a file below an
ignored folder cannot be included again.
"""

import os
import re
import stat
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ragctl.errors import UsageError

IGNORE_FILE = ".ragctlignore"
Levels = tuple[tuple[int, Any], ...]
"""Rules in force in a folder, outermost first: length of their folder's prefix, GitIgnoreSpec."""


def matcher(patterns: Sequence[str], origin: str) -> Callable[..., bool]:
    """Return a test of whether a file, given by all its names, is selected by `patterns`.

    The last pattern that matches any of the names decides. `origin` begins the message of the
    UsageError that is raised for an invalid pattern.
    """
    spec = _compile(patterns, origin)

    def matches(*names: str) -> bool:
        found = [spec.check_file(name) for name in names]
        return bool(max(found, key=lambda each: -1 if each.index is None else each.index).include)

    return matches


class Rules:
    """The rules of one walk. Raises UsageError for an invalid pattern."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str], within: str | None = None
    ) -> None:
        self._include = _compile(include, "--include") if include else None
        self._exclude = _compile(exclude, "--exclude") if exclude else None
        self._within = _compile([within], "the path") if within else None
        self._within_parts = within.split("/")[1:] if within else []

    def ignores(self, source: str, levels: Levels, folder: bool = False) -> bool:
        """Return whether the file or folder at `source` (relative to the root) is ignored."""
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
            return not self._may_match_below(source)
        required = (spec for spec in (self._within, self._include) if spec is not None)
        return not all(spec.match_file(path) for spec in required)

    def _may_match_below(self, folder: str) -> bool:
        """Return whether a folder can hold files that match the source's pattern."""
        for name, pattern in zip(folder.split("/"), self._within_parts, strict=False):
            if pattern == "**":
                return True
            if not re.search(r"[\[\\]", pattern) and not fnmatchcase(name, pattern):
                return False
        return True

    def enter(self, folder: str, prefix: str, levels: Levels) -> Levels:
        """Return the levels in a folder with a `.ragctlignore`. Raises OSError, UsageError."""
        path = os.path.join(folder, IGNORE_FILE)  # noqa: PTH118 - the walk's paths are strings
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            raise OSError(0, "is not a file")
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:  # noqa: PTH123
            lines = file.read().splitlines()
        return (*levels, (len(prefix), _compile(lines, f"{prefix}{IGNORE_FILE}")))


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise UsageError for an invalid pattern."""
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
