"""Markdown from the blocks of other formats, with the offsets of its headings.

HTML, DOCX and notebooks all become Markdown (`#` headings, `- ` lists, pipe tables, fences), so
that the chunker has one syntax to read.
"""

import re
from collections.abc import Sequence

from ragctl.records import Heading
from ragctl.text import collapse_whitespace

_BLOCK_START = re.compile(r"^(?=#{1,6}[ \t]|```|~~~)", re.MULTILINE)


class MarkdownWriter:
    """Collects blocks as Markdown. A blank line separates blocks, but not the items of a list."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._in_list = False
        self.headings: list[Heading] = []

    def text(self) -> str:
        """Return the Markdown written so far."""
        return "".join(self._parts)

    def heading(self, level: int, title: str) -> None:
        """Write a heading; the level is limited to 1 … 6."""
        title = collapse_whitespace(title)
        if title:
            self._begin()
            self.headings.append(Heading(self._length, min(max(level, 1), 6), title))
            self._add(f"{'#' * self.headings[-1].level} {title}\n")

    def paragraph(self, text: str) -> None:
        """Write a paragraph of one or more lines; what looks like a heading or fence is escaped."""
        text = text.strip("\n ")
        if text:
            self._begin()
            self._add(_BLOCK_START.sub(r"\\", text) + "\n")

    def item(self, text: str, depth: int = 0, marker: str = "-") -> None:
        """Write a list item; `depth` is 0 in the outermost list."""
        text = text.strip("\n ")
        if not text:
            return
        self._begin(in_list=True)
        indent = "  " * min(depth, 20)
        rest = f"\n{indent}{' ' * (len(marker) + 1)}"
        lines = [_BLOCK_START.sub(r"\\", line.strip()) for line in text.split("\n")]
        self._add(f"{indent}{marker} {rest.join(line for line in lines if line)}\n")

    def code(self, text: str, language: str = "") -> None:
        """Write a fence that is longer than any run of backticks in the text."""
        text = text.strip("\n").rstrip()
        if text:
            self._begin()
            longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
            fence = "`" * (longest + 1)
            self._add(f"{fence}{language}\n{text}\n{fence}\n")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Write a pipe table whose first row is the header; leave out empty rows and columns."""
        cells = [[collapse_whitespace(cell).replace("|", "\\|") for cell in row] for row in rows]
        cells = [row for row in cells if any(row)]
        if not cells:
            return
        width = max(map(len, cells))
        used = [n for n in range(width) if any(n < len(row) and row[n] for row in cells)]
        table = [[row[n] if n < len(row) else "" for n in used] for row in cells]
        for row in table[1:]:
            while len(row) > 1 and not row[-1]:  # a wide header over short rows stays small
                row.pop()
        lines = [f"| {' | '.join(row)} |\n" for row in table]
        lines.insert(1, f"|{' --- |' * len(used)}\n")
        self._begin()
        self._add("".join(lines))

    def raw(self, text: str, headings: Sequence[Heading] = ()) -> None:
        """Write Markdown as it is; the offsets of `headings` are within `text`."""
        stripped = text.lstrip("\n")
        shift = len(text) - len(stripped)
        stripped = stripped.rstrip()
        if stripped:
            self._begin()
            for heading in headings:
                start = heading.start - shift + self._length
                self.headings.append(Heading(start, heading.level, heading.title))
            self._add(stripped + "\n")

    def _begin(self, in_list: bool = False) -> None:
        if self._parts and not (in_list and self._in_list):
            self._add("\n")
        self._in_list = in_list

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
