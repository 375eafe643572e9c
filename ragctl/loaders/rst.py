"""reStructuredText: the text of the file, and its section titles as headings."""

import re
import unicodedata
from collections.abc import Iterator

from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document, Heading
from ragctl.text import collapse_whitespace

MAX_TITLE_CHARACTERS = 1_000  # the patterns are slow on hostile lines
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*$")
_NOT_TITLE_PREFIXES = (".. ", "   ", "- ", "* ", "+ ", "| ", ">>> ", ":")
_ROLE = re.compile(r":[\w:.+-]+:`([^`]*)`")
_TARGET = re.compile(r"\s*<[^<>]*>$")
_INLINE = re.compile(r"(``|\*\*|\*|`)(?=\S)(.+?)(?<=\S)\1_{0,2}")


def load_rst(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a file; the title is the first heading, if it is of level 1."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    headings = tuple(find_titles(text))
    title = headings[0].title if headings and headings[0].level == 1 else None
    yield Document(source, text, title=title, headings=headings, warnings=warnings)


def find_titles(text: str) -> list[Heading]:
    """Return the section titles in order of offset.

    A title begins at the left margin and is underlined by a repeated punctuation character; a
    title that is also overlined has another level, may be indented, and starts at the overline.
    The first adornment in the text makes titles of level 1, the next one level 2, and so on
    (docutils, reStructuredText Markup Specification, "Sections").
    """
    lines = text.split("\n")
    headings: list[Heading] = []
    styles: list[tuple[str, bool]] = []
    offset = 0
    may_begin = True  # the previous line is blank, or ends a section title
    skip = 0
    for number, line in enumerate(lines):
        if skip:
            skip -= 1
        else:
            section = _title_at(lines, number) if line and may_begin else None
            may_begin = not line.strip()
            if section:
                title, style, used = section
                if style not in styles:
                    styles.append(style)
                level = min(styles.index(style) + 1, 6)
                headings.append(Heading(offset, level, title))
                skip, may_begin = used - 1, True
        offset += len(line) + 1
    return headings


def _title_at(lines: list[str], number: int) -> tuple[str, tuple[str, bool], int] | None:
    """Return (title, (adornment, overlined), number of lines) of a title at this line, or None."""
    line = lines[number]
    over = _ADORNMENT.match(line)
    if over and number + 2 < len(lines):
        title, under = lines[number + 1], lines[number + 2]
        if under.rstrip() == line.rstrip() and _is_long_enough(title.strip(), under):
            return _plain(title), (over[1], True), 3
    if number + 1 < len(lines) and not over and not line[0].isspace():
        under = lines[number + 1]
        adornment = _ADORNMENT.match(under)
        if (
            adornment
            and _is_long_enough(line.rstrip(), under)
            and not line.startswith(_NOT_TITLE_PREFIXES)
        ):
            return _plain(line), (adornment[1], False), 2
    return None


def _is_long_enough(title: str, adornment: str) -> bool:
    """Return whether an adornment underlines a title; docutils also accepts one of 4 characters."""
    length = len(adornment.rstrip())
    return bool(title) and (length >= _width(title) or length >= 4)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _plain(marked: str) -> str:
    marked = marked[:MAX_TITLE_CHARACTERS]
    text = _ROLE.sub(lambda role: _TARGET.sub("", role[1]), marked.strip())
    text = _INLINE.sub(lambda inline: _TARGET.sub("", inline[2]), text)
    return collapse_whitespace(text)
