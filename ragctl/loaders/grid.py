"""Lay out table cells that span columns and rows, so that a value stands under its column name.

The rules are those of HTML (WHATWG, section 4.9.12, "forming a table"). The text of a merged cell
is repeated in each column and row that it covers.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ragctl.loaders.writer import MarkdownWriter
from ragctl.text import collapse_whitespace

MAX_COLUMN_SPAN = 1_000  # as in browsers
MAX_ROW_SPAN = 65_534  # as in browsers
MAX_REPEATED_TEXT = 300  # characters; a longer text stands in its first place only
MAX_REPEATED_TOTAL = 1_000_000  # characters that the repetitions of a table may add to it
MAX_HEADER_ROWS = 5  # that are joined into one


class Cell(NamedTuple):
    """A cell as its table declares it. `rows` 0: to the end of the group of rows."""

    text: str
    columns: int = 1
    rows: int = 1


class _Span(NamedTuple):
    """A cell at its place: columns `start` to `end`, for `left` rows more."""

    start: int
    end: int
    left: int
    text: str


def write_table(
    writer: MarkdownWriter, groups: Sequence[Sequence[Sequence[Cell]]], header_rows: int = 1
) -> None:
    """Write a table, given its cells by group and row; no cell spans rows of two groups.

    The first `header_rows` rows name the columns, and become one row. A row before them that is
    one cell over all columns becomes a paragraph.
    """
    rows = lay_out(groups)
    declared = [row for group in groups for row in group if row]  # the same rows
    first = 0
    while len(rows) - first > 2 and _is_caption(declared[first], rows[first]):
        writer.paragraph(collapse_whitespace(rows[first][0]))
        first += 1
    last = max(min(header_rows, len(rows)), first + 1)
    if 1 < last - first <= MAX_HEADER_ROWS and last < len(rows):
        columns = zip(*rows[first:last], strict=True)
        rows[first:last] = [[_join(column) for column in columns]]
    writer.table(rows[first:])


def lay_out(groups: Iterable[Iterable[Sequence[Cell]]]) -> list[list[str]]:
    """Return the texts of all rows, each with the same number of columns.

    A column or row in which no cell begins is left out: it would repeat the one before it.
    """
    budget = MAX_REPEATED_TOTAL
    lines: list[list[_Span]] = []
    starts: set[int] = set()
    for group in groups:
        spans: list[_Span] = []  # cells of rows above, by column; none covers another
        for row in group:
            placed = _place(row, spans)
            starts.update(span.start for span in placed)
            if placed:
                lines.append(sorted([*spans, *placed]))
            budget -= sum(len(span.text) + 3 for span in spans)
            lasting = [span for span in (*spans, *placed) if span.left > 1]
            spans = sorted(s._replace(left=s.left - 1) for s in lasting) if budget > 0 else []
    columns = sorted(starts)
    rows = []
    for line in lines:
        texts = [""] * len(columns)
        for start, end, _, text in line:
            first, last = bisect_left(columns, start), bisect_left(columns, end)
            texts[first] = text
            repeated = 0 if len(line) == 1 or len(text) > MAX_REPEATED_TEXT else last - first - 1
            budget -= repeated * (len(text) + 3)
            if repeated and budget > 0:
                texts[first:last] = [text] * (last - first)
        rows.append(texts)
    return rows


def _place(row: Sequence[Cell], above: Sequence[_Span]) -> list[_Span]:
    """Return the cells of a row, each at the first column that no cell from above covers."""
    placed = []
    column = following = 0
    for cell in row:
        while following < len(above) and above[following].start <= column:
            column = max(column, above[following].end)
            following += 1
        columns = min(max(cell.columns, 1), MAX_COLUMN_SPAN)
        end = column + columns
        if following < len(above):
            end = min(end, above[following].start)
        rows = min(cell.rows, MAX_ROW_SPAN) if cell.rows > 0 else MAX_ROW_SPAN
        text = cell.text
        placed.append(_Span(column, end, rows, text))
        column += columns
    return placed


def _is_caption(declared: Sequence[Cell], row: Sequence[str]) -> bool:
    """Return whether a row is one cell over all columns."""
    return len(declared) == 1 and declared[0].columns > 1 and not any(row[1:])


def _join(column: Sequence[str]) -> str:
    """Return the different texts of the header cells of a column."""
    return " ".join(dict.fromkeys(collapse_whitespace(text) for text in column)).strip()
