"""The patterns of a file in gitignore syntax, matched as git matches them.

A walk goes from the top down and does not enter ignored folders, so a pattern is matched with the
path itself and never with what is below it. The rules are those of git's `dir.c` and `wildmatch.c`
(gitignore(5)); tests compare with `git check-ignore`.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

_WILDCARDS = frozenset("*?[\\")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \t",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \t-\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Pattern(NamedTuple):
    """A line of the file: its number from 1, its text, and whether it includes again ("!")."""

    line: int
    text: str
    negated: bool
    folders_only: bool


class GitIgnorePatterns:
    """The patterns of one file. Empty ones, such as "!", match nothing.

    Names and endings, which most patterns are, are looked up; others are regular expressions, tried
    one by one only if one that combines them all matches.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """Read the lines, without their line feeds."""
        self.patterns: list[Pattern] = []
        self._names: dict[str, list[int]] = {}
        self._endings: list[tuple[str, int]] = []
        self._name_globs: list[tuple[str, int]] = []
        self._path_globs: list[tuple[str, int]] = []
        for number, line in enumerate(lines, 1):
            if line and not line.startswith("#"):
                self._add(number, line)
        self._ending = tuple(ending for ending, _ in self._endings)
        self._name_matcher = _Globs(self._name_globs)
        self._path_matcher = _Globs(self._path_globs)

    def _add(self, number: int, line: str) -> None:
        text = _without_trailing_spaces(line.removesuffix("\r"))
        negated = text.startswith("!")
        glob = text[negated:]
        folders_only = glob.endswith("/")
        glob = glob.removesuffix("/")
        if not glob:
            return
        index = len(self.patterns)
        self.patterns.append(Pattern(number, text, negated, folders_only))
        if "/" in glob:
            regex = _regex(glob.removeprefix("/"))
            if regex is not None:
                self._path_globs.append((regex, index))
        elif _WILDCARDS.isdisjoint(glob):
            self._names.setdefault(glob, []).append(index)
        elif glob[0] == "*" and _WILDCARDS.isdisjoint(glob[1:]):
            self._endings.append((glob[1:], index))
        else:
            regex = _regex(glob)
            if regex is not None:
                self._name_globs.append((regex, index))

    def last_match(self, path: str, folder: bool) -> Pattern | None:
        """Return the last pattern that matches a path relative to the file's folder."""
        name = path[path.rfind("/") + 1 :]
        if not (
            name in self._names
            or name.endswith(self._ending)
            or self._name_matcher.any(name)
            or self._path_matcher.any(path)
        ):
            return None
        found: list[int] = [
            *self._names.get(name, ()),
            *(index for ending, index in self._endings if name.endswith(ending)),
            *self._name_matcher.matches(name),
            *self._path_matcher.matches(path),
        ]
        for index in sorted(found, reverse=True):
            pattern: Pattern = self.patterns[index]
            if folder or not pattern.folders_only:
                return pattern
        return None


class _Globs:
    def __init__(self, globs: list[tuple[str, int]]) -> None:
        self._each = [(_compiled(regex), index) for regex, index in globs]
        every = "|".join(f"(?:{regex})" for regex, _ in globs) or "(?!)"
        self.any: Callable[[str], object] = _compiled(every)

    def matches(self, text: str) -> list[int]:
        return [index for matches, index in self._each if matches(text)]


def _compiled(regex: str) -> Callable[[str], object]:
    return re.compile(regex, re.DOTALL).fullmatch


def _without_trailing_spaces(line: str) -> str:
    """Return a line without the spaces at its end that no backslash protects."""
    end = at = 0
    while at < len(line):
        if line[at] == "\\":
            if at + 1 == len(line):
                return line
            at += 1
            end = at + 1
        elif line[at] != " ":
            end = at + 1
        at += 1
    return line[:end]


def _regex(glob: str) -> str | None:
    """Return a regular expression for a whole path; None for a glob that matches nothing."""
    parts: list[str] = []
    at = 0
    # git compares the text before the first wildcard apart, so that "a**/b" is "a" and "**/b".
    start = next((n for n, char in enumerate(glob) if char in _WILDCARDS), 0)
    while at < len(glob):
        char = glob[at]
        if char == "*":
            stars = len(glob[at:]) - len(glob[at:].lstrip("*"))
            after = at + stars
            alone = (at == start or glob[at - 1] == "/") and glob[after : after + 1] in ("", "/")
            if stars > 1 and alone and after < len(glob):
                parts.append("(?:.*/)?")
                after += 1
            else:
                parts.append(".*" if stars > 1 and alone else "[^/]*")
            at = after
        elif char == "?":
            parts.append("[^/]")
            at += 1
        elif char == "[":
            found = _character_class(glob, at)
            if found is None:
                return None
            part, at = found
            parts.append(part)
        else:
            if char == "\\":
                at += 1
                if at == len(glob):
                    return None
            parts.append(re.escape(glob[at]))
            at += 1
    return "".join(parts)


def _character_class(glob: str, start: int) -> tuple[str, int] | None:
    """Return the regular expression of the class that begins at `start`, and where it ends.

    None: the class has no end, or an unknown name such as [:word:].
    """
    at = start + 1
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    items: list[str] = []
    previous = ""  # the last single character, with which a range may begin
    first = True
    while first or glob[at : at + 1] != "]":
        first = False
        char = glob[at : at + 1]
        name_end = glob.find(":]", at + 2) if glob[at : at + 2] == "[:" else -1
        if char == "\\":
            at += 1
            char = glob[at : at + 1]
            items.append(_escaped(char))
            previous = char
        elif char == "-" and previous and glob[at + 1 : at + 2] not in ("", "]"):
            at += 1
            if glob[at] == "\\":
                at += 1
            char = glob[at : at + 1]
            if char and previous <= char:
                items.append(f"{_escaped(previous)}-{_escaped(char)}")
            previous = ""
        elif name_end >= 0:
            known = _CLASSES.get(glob[at + 2 : name_end])
            if known is None:
                return None
            items.append(known)
            at = name_end + 1
            previous = ""
        else:
            items.append(_escaped(char))
            previous = char
        if not char:
            return None
        at += 1
    inside = "".join(items)
    if negated:
        return f"[^/{inside}]", at + 1
    return f"(?!/)[{inside}]" if inside else "(?!)", at + 1


def _escaped(char: str) -> str:
    return f"\\{char}" if char in "\\]^-[&~|" and char else char
