"""Ignore rules of a walk, all in the syntax of gitignore.

From the strongest: --exclude; `.ragctlignore` files; `.gitignore` files and `.git/info/exclude`
inside a work tree of git; the default list (noise.py). A file's rules apply to its own folder and
those below; a deeper file overrides it, and within a file the last matching line decides. As in
git, a file below an ignored folder cannot be included again. --include, and a pattern in a
source's path, then choose from what is left.
"""

import os
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

from ragctl.errors import UsageError
from ragctl.sources.directory import Directory
from ragctl.sources.gitignore_patterns import GitIgnorePatterns
from ragctl.sources.noise import DEFAULT_IGNORES
from ragctl.sources.skipped import DEFAULT, EXCLUDE, GITIGNORE, INCLUDE, RAGCTLIGNORE

IGNORE_FILE = ".ragctlignore"
GIT_IGNORE_FILE = ".gitignore"


class Level(NamedTuple):
    """The rules of one file. `origin` names it.

    They match the path of a file below their own folder: its path below the root without the first
    `cut` characters, with `above` in front.
    """

    origin: str
    patterns: GitIgnorePatterns
    cut: int = 0
    above: str = ""


class Levels(NamedTuple):
    """The rule files in force in a folder, outermost first. `git`: None outside of a work tree."""

    own: tuple[Level, ...] = ()
    git: tuple[Level, ...] | None = None


class Verdict(NamedTuple):
    """What a rule says of a file or folder. `kind`: see skipped.py; `reason`: names the rule."""

    ignored: bool
    kind: str
    reason: str


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
    """The rules of one walk, apart from those of files. Raises UsageError for an invalid pattern.

    `defaults`: whether the default list applies.
    """

    def __init__(
        self,
        include: Sequence[str],
        exclude: Sequence[str],
        within: str | None = None,
        *,
        defaults: bool = True,
    ) -> None:
        self._include = _compile(include, "--include") if include else None
        self._exclude = _compile(exclude, "--exclude") if exclude else None
        self._within = _compile([within], "the path") if within else None
        self._within_parts = within.split("/")[1:] if within else []
        self._chooses = bool(include or within)
        self.defaults = _default_patterns() if defaults else None

    def verdict(self, source: str, path: str, levels: Levels, *, folder: bool) -> Verdict | None:
        """Return what the rules say of a file or folder; None if none is about it.

        `source` and `path`: below the root, in NFC and as on disk. Whether it is to be included is
        another question, which `includes` answers.
        """
        if self._exclude is not None:
            found = self._exclude.check_file(f"{source}/" if folder else source)
            if found.include is not None:
                return Verdict(found.include, EXCLUDE, "ignored by --exclude")
        for level in reversed(levels.own):
            pattern = level.patterns.last_match(source[level.cut :], folder)
            if pattern is not None:
                reason = f"ignored by {level.origin}, line {pattern.line}: {pattern.text}"
                return Verdict(not pattern.negated, RAGCTLIGNORE, reason)
        if levels.git:
            found_in_git = git_verdict(path, levels.git, folder=folder)
            if found_in_git is not None:
                return found_in_git
        if self.defaults is not None:
            pattern = self.defaults.last_match(source, folder)
            if pattern is not None:
                return Verdict(True, DEFAULT, f"ignored by default: {pattern.text.strip()}")
        return None

    def leaves_out(self, source: str, *, folder: bool) -> Verdict | None:
        """Return why a file, or all of a folder, is not among those asked for; None if it is.

        A file outside of the source's own pattern has the kind "": it is no part of the source.
        """
        if not self._chooses:
            return None
        if folder:
            return None if self._may_match_below(source) else Verdict(True, "", "")
        if self._within is not None and not self._within.match_file(source):
            return Verdict(True, "", "")
        if self._include is not None and not self._include.match_file(source):
            return Verdict(True, INCLUDE, "does not match --include")
        return None

    def _may_match_below(self, folder: str) -> bool:
        """Return whether a folder can hold files that match the source's pattern."""
        for name, pattern in zip(folder.split("/"), self._within_parts, strict=False):
            if pattern == "**":
                return True
            if not re.search(r"[\[\\]", pattern) and not fnmatchcase(name, pattern):
                return False
        return True


def git_verdict(path: str, levels: Sequence[Level], *, folder: bool) -> Verdict | None:
    """Return what git's rules say of a path below the root, as on disk."""
    if not path.isascii():
        path = git_text(path)
    for level in reversed(levels):
        pattern = level.patterns.last_match(level.above + path[level.cut :], folder)
        if pattern is not None:
            text = pattern.text.encode("latin-1").decode("utf-8", "replace")
            reason = f"ignored by {level.origin}, line {pattern.line}: {text}"
            return Verdict(not pattern.negated, GITIGNORE, reason)
    return None


def git_text(path: str) -> str:
    """Return a path with a character for each byte: git's patterns match bytes."""
    return os.fsencode(path).decode("latin-1")


def git_patterns(content: bytes) -> GitIgnorePatterns:
    """Return the patterns of a `.gitignore`, with a character for each byte."""
    return GitIgnorePatterns(content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n"))


def ragctlignore_level(directory: Directory, prefix: str) -> Level:
    """Return the rules of the `.ragctlignore` in a folder. Raises OSError, UsageError."""
    text = _read(directory, IGNORE_FILE, follow=True).decode("utf-8-sig", "surrogateescape")
    lines = text.splitlines()
    origin = f"{prefix}{IGNORE_FILE}"
    _compile(lines, origin)  # refuses what is no pattern
    return Level(origin, GitIgnorePatterns(lines), len(prefix))


def gitignore_level(directory: Directory, prefix: str, path: str) -> Level:
    """Return the rules of the `.gitignore` in a folder. Raises OSError.

    `prefix` and `path`: of the folder, below the root, in NFC and as on disk.
    """
    patterns = git_patterns(_read(directory, GIT_IGNORE_FILE))
    return Level(f"{prefix}{GIT_IGNORE_FILE}", patterns, len(git_text(path)))


def _read(directory: Directory, name: str, *, follow: bool = False) -> bytes:
    try:
        return directory.read(name, follow=follow)
    except OSError as error:
        raise OSError(error.errno, f"its {name} cannot be read: {error.strerror}") from error


@cache
def _default_patterns() -> GitIgnorePatterns:
    return GitIgnorePatterns(DEFAULT_IGNORES)


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
