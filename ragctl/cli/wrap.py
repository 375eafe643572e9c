"""Wrap text to a width in terminal cells: a Chinese character takes two, a combining mark none."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len

_OPENING = "（「『【《〈“‘"  # these stay with the character that follows,
_CLOSING = "，。、；：？！）」』】》〉”’％…"  # and these with the one before
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"  # and kana
_PIECE = re.compile(
    rf"[{_OPENING}]*[{_IDEOGRAPH}][{_CLOSING}]*"
    rf"|[{_OPENING}]*[^\s{_IDEOGRAPH}{_OPENING}]+|[{_OPENING}]+|\s+"
)

MAX_INDENT_SHARE = 0.5  # of the width

_FOLLOWING_VOWELS = "\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3"  # of Thai and Lao
_MODIFIERS = ("\U0001f3fb", "\U0001f3ff")  # skin tones of an emoji
_FLAG_LETTERS = ("\U0001f1e6", "\U0001f1ff")  # two of them are a flag

Span = tuple[int, int]
"""Start and end of a part of a text, in characters."""


def cells(text: str) -> int:
    """Return how many cells a text takes at most: terminals differ, and lines must fit in all."""
    if text.isascii():
        return len(text)
    return cell_len(text) + sum(map(_undercounted, text))


@lru_cache(maxsize=4096)
def _undercounted(character: str) -> int:
    """Return the cells that some terminals give a character beyond those that rich counts.

    They draw spacing marks, the letters of flags and skin tones by themselves.
    """
    if unicodedata.category(character) == "Mc":
        return 1 - cell_len(character)
    if _is_between(character, _MODIFIERS) or _is_between(character, _FLAG_LETTERS):
        return 2 - cell_len(character)
    return 0


def _is_between(character: str, ends: tuple[str, str]) -> bool:
    return ends[0] <= character <= ends[1]


def _clusters(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the spans of characters that a line break would spoil: letters with their marks."""
    at = start
    while at < end:
        stop = at + 1
        if stop < end and all(_is_between(each, _FLAG_LETTERS) for each in text[at : stop + 1]):
            stop += 1
        while stop < end and (
            unicodedata.category(text[stop])[0] == "M"
            or text[stop] in _FOLLOWING_VOWELS
            or _is_between(text[stop], _MODIFIERS)
        ):
            stop += 1
        yield at, stop
        at = stop


def wrap(text: str, width: int) -> list[Span]:
    """Return the spans of the lines of `text`, each at most `width` cells wide.

    A line ends between words, or after an ideograph. A word that is wider than a line, such as a
    long URL, is folded. White space at the ends of a line belongs to none.
    """
    lines: list[Span] = []
    start, end, used = 0, 0, 0  # of the line so far; `used` counts cells
    for piece in _PIECE.finditer(text):
        taken = cells(piece[0])
        if piece[0].isspace():
            used += taken
            continue
        if start == end:
            start, used = piece.start(), 0
        elif used + taken > width >= taken:
            lines.append((start, end))
            start, used = piece.start(), 0
        if taken > width:
            start, used = _fold(text, (start, end), piece.span(), used, width, lines)
        else:
            used += taken
        end = piece.end()
    return [*lines, (start, end)] if end > start else lines


def fill(text: str, width: int, indent: int = 0) -> str:
    """Return `text` with each of its lines broken into lines of at most `width` cells.

    Continuation lines are indented like the line itself, and by `indent` more cells.
    """
    return "\n".join(_filled(line.expandtabs(), width, indent) for line in text.split("\n"))


def _filled(line: str, width: int, indent: int) -> str:
    if cells(line) <= width:
        return line
    body = line.lstrip()
    limit = int(MAX_INDENT_SHARE * width)
    lead = min(len(line) - len(body), limit)
    indent = min(lead + indent, limit)
    end = wrap(body, width - lead)[0][1] if body else 0
    rest = body[end:].lstrip()
    more = (rest[start:stop] for start, stop in wrap(rest, width - indent))
    return "\n".join([" " * lead + body[:end], *(" " * indent + each for each in more)])


def _fold(
    text: str, line: Span, word: Span, used: int, width: int, lines: list[Span]
) -> tuple[int, int]:
    """Add the full lines of a word to `lines`; return where its last line starts, and its cells."""
    start, end = line
    for at, stop in _clusters(text, *word):
        taken = cells(text[at:stop])
        if used + taken > width:
            if end > start:
                lines.append((start, end))
            start, used = at, 0
        used += taken
        end = stop
    return start, used
