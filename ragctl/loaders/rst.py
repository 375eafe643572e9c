"""reStructuredText: the raw text and its section titles."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ragctl.loaders.decode import decode
from ragctl.loaders.options import LoadOptions, read_bytes
from ragctl.records import Document, Heading
from ragctl.text import collapse_whitespace

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*$")
_NOT_TITLES = (".. ", "   ", "- ", "* ", "+ ", "| ", ">>> ", ":")
_ROLE = re.compile(r":[\w:.+-]+:`([^`]*)`")
_TARGET = re.compile(r"\s*<[^<>]*>$")
_INLINE = re.compile(r"(``|\*\*|\*|`)(?=\S)(.+?)(?<=\S)\1_{0,2}")


def load_rst(path: Path, source: str, options: LoadOptions) -> Iterator[Document]:
    text, warnings = decode(read_bytes(path, options), options.encoding)
    headings = tuple(find_titles(text))
    title = headings[0].title if headings and headings[0].level == 1 else None
    yield Document(source, text, title=title, headings=headings, warnings=warnings)


def find_titles(text: str) -> list[Heading]:
    """Section titles by offset; levels follow the order in which their adornments appear.

    A title stands at the left margin over a line of one punctuation character that is at least
    as long; with the same line above it (then it may be indented) it is of another level.
    A heading with a line above starts at that line.
    """
    lines = text.split("\n")
    headings: list[Heading] = []
    styles: list[tuple[str, bool]] = []
    offset = 0
    free = True  # the line before is blank, or ends a section title
    skip = 0
    for number, line in enumerate(lines):
        if skip:
            skip -= 1
        else:
            found = _title_at(lines, number) if line and free else None
            free = not line.strip()
            if found:
                title, style, used = found
                if style not in styles:
                    styles.append(style)
                level = min(styles.index(style) + 1, 6)
                headings.append(Heading(offset, level, title))
                skip, free = used - 1, True
        offset += len(line) + 1
    return headings


def _title_at(lines: list[str], number: int) -> tuple[str, tuple[str, bool], int] | None:
    """(title, (adornment, over as well as under), lines used) of a title at this line."""
    line = lines[number]
    over = _ADORNMENT.match(line)
    if over and number + 2 < len(lines):
        title, under = lines[number + 1], lines[number + 2]
        if under.rstrip() == line.rstrip() and _fits(title.strip(), under):
            return _plain(title), (over[1], True), 3
    if number + 1 < len(lines) and not over and not line[0].isspace():
        under = lines[number + 1]
        adornment = _ADORNMENT.match(under)
        if adornment and _fits(line.rstrip(), under) and not line.startswith(_NOT_TITLES):
            return _plain(line), (adornment[1], False), 2
    return None


def _fits(title: str, adornment: str) -> bool:
    """docutils takes a line that is too short for an adornment from four characters on."""
    length = len(adornment.rstrip())
    return bool(title) and (length >= _columns(title) or length >= 4)


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _plain(marked: str) -> str:
    text = _ROLE.sub(lambda role: _TARGET.sub("", role[1]), marked.strip())
    text = _INLINE.sub(lambda inline: _TARGET.sub("", inline[2]), text)
    return collapse_whitespace(text)
