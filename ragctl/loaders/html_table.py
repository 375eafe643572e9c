"""Collect the cells of an HTML table, tag by tag."""

import re
from collections.abc import Mapping

from ragctl.loaders.grid import Cell, write_table
from ragctl.loaders.writer import MarkdownWriter
from ragctl.text import collapse_whitespace

_NUMBER = re.compile(r"\s*\+?(\d{1,9})")
_GROUPS = {"thead": 0, "tbody": 1, "tfoot": 2}  # in the order of browsers


class HtmlTable:
    """A table of data that is being read. Tables within its cells become text of the cell."""

    def __init__(self) -> None:
        self._captions: list[str] = []
        self._groups: list[tuple[int, list[list[Cell]]]] = [(1, [])]
        self._head_rows: int | None = None  # rows of header cells alone, before any other
        self._depth = 1  # of nested tables
        self._cell: list[str] | None = None
        self._caption: list[str] | None = None
        self._columns = self._rows = 1

    def start(self, tag: str, attributes: Mapping[str, str], is_block: bool) -> None:
        """Open an element within the table."""
        if tag == "table":
            self._depth += 1
            self.data(" ")
        elif self._depth > 1:
            if tag == "tr":
                self.data("; ")
            elif is_block or tag in ("br", "li"):
                self.data(" ")
        elif tag in _GROUPS:
            self._end_cell()
            place = _GROUPS[tag]
            if place != 1 and any(group == place for group, _ in self._groups):
                place = 1  # only the first thead and tfoot are moved
            self._groups.append((place, []))
        elif tag == "tr":
            self._end_cell()
            self._groups[-1][1].append([])
        elif tag in ("td", "th"):
            self._end_cell()
            if tag == "td" and self._head_rows is None:
                rows = [row for _, rows in self._groups for row in rows]
                self._head_rows = sum(map(bool, rows[:-1]))
            self._columns = _span(attributes.get("colspan", ""))
            self._rows = _span(attributes.get("rowspan", ""))
            self._cell = []
        elif tag == "caption":
            self._caption = []
        elif is_block or tag in ("br", "li"):
            self.data(" ")

    def end(self, tag: str) -> bool:
        """Close an element; return whether it was the table itself."""
        if tag == "table":
            self._depth -= 1
        elif self._depth > 1:
            pass
        elif tag == "caption":
            self._end_caption()
        elif tag in ("td", "th", "tr"):
            self._end_cell()
        elif tag in _GROUPS:
            self._end_cell()
            self._groups.append((1, []))
        return not self._depth

    def data(self, text: str) -> None:
        """Add text to the open cell or caption."""
        target = self._cell if self._caption is None else self._caption
        if target is not None:
            target.append(text)

    def write(self, writer: MarkdownWriter) -> None:
        """Write the table, also one that was not closed."""
        self._end_cell()
        for caption in self._captions:
            writer.paragraph(caption)
        self._groups.sort(key=lambda group: group[0])
        head = sum(bool(row) for place, rows in self._groups for row in rows if place == 0)
        write_table(writer, [rows for _, rows in self._groups], head or self._head_rows or 0)

    def _end_caption(self) -> None:
        if self._caption is not None:
            self._captions.append(collapse_whitespace("".join(self._caption)))
        self._caption = None

    def _end_cell(self) -> None:
        self._end_caption()
        if self._cell is not None:
            rows = self._groups[-1][1]
            if not rows:
                rows.append([])
            rows[-1].append(Cell("".join(self._cell), self._columns, self._rows))
        self._cell = None


def _span(value: str) -> int:
    """Return the number of rows or columns that an attribute says; 1 if it says none."""
    number = _NUMBER.match(value)
    return int(number[1]) if number else 1
