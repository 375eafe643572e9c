"""Wrap text to a width in terminal cells: a Chinese character takes two, a combining mark none."""

import re

from rich.cells import cell_len

_OPENING = "（「『【《〈“‘"  # these stay with the character that follows,
_CLOSING = "，。、；：？！）」』】》〉”’％…"  # and these with the one before
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"  # and kana
_PIECE = re.compile(
    rf"[{_OPENING}]*[{_IDEOGRAPH}][{_CLOSING}]*"
    rf"|[{_OPENING}]*[^\s{_IDEOGRAPH}{_OPENING}]+|[{_OPENING}]+|\s+"
)

MAX_INDENT_SHARE = 0.5  # of the width

Span = tuple[int, int]
"""Start and end of a part of a text, in characters."""


def wrap(text: str, width: int) -> list[Span]:
    """Return the spans of the lines of `text`, each at most `width` cells wide.

    A line ends between words, or after an ideograph. A word that is wider than a line, such as a
    long URL, is folded. White space at the ends of a line belongs to none.
    """
    lines: list[Span] = []
    start, end, used = 0, 0, 0  # of the line so far; `used` counts cells
    for piece in _PIECE.finditer(text):
        cells = cell_len(piece[0])
        if piece[0].isspace():
            used += cells
            continue
        if start == end:
            start, used = piece.start(), 0
        elif used + cells > width >= cells:
            lines.append((start, end))
            start, used = piece.start(), 0
        if cells > width:
            start, used = _fold(text, (start, end), piece.span(), used, width, lines)
        else:
            used += cells
        end = piece.end()
    return [*lines, (start, end)] if end > start else lines


def fill(text: str, width: int, indent: int = 0) -> str:
    """Return `text` with each of its lines broken into lines of at most `width` cells.

    Continuation lines are indented like the line itself, and by `indent` more cells.
    """
    return "\n".join(_filled(line.expandtabs(), width, indent) for line in text.split("\n"))


def _filled(line: str, width: int, indent: int) -> str:
    if cell_len(line) <= width:
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
    for at in range(*word):
        cells = cell_len(text[at])
        if used + cells > width:
            if end > start:
                lines.append((start, end))
            start, used = at, 0
        used += cells
        end = at + 1
    return start, used
