"""The rows of a Word table, with the cells that its properties merge."""

from collections.abc import Callable
from typing import Any

from ragctl.loaders.docx_xml import BLOCK_TAGS, TC, TR, W, find, is_on, number
from ragctl.loaders.grid import Cell

MAX_SPAN = 1_000  # columns


def table_rows(table: Any) -> list[Any]:
    """Return the row elements of a table, without deleted ones and those of nested tables."""
    rows = find(table, frozenset({TR}), BLOCK_TAGS)
    return [row for row in rows if row.find(f"{W}trPr/{W}del") is None]


def row_cells(row: Any) -> list[Any]:
    """Return the cell elements of a row."""
    return list(find(row, frozenset({TC}), BLOCK_TAGS))


def header_rows(rows: list[Any]) -> int:
    """Return how many of the first rows are repeated as the header on each page; 1 if none."""
    count = 0
    while count < len(rows) and is_on(rows[count].find(W + "trPr"), "tblHeader"):
        count += 1
    return max(count, 1)


def read_cells(rows: list[Any], text_of: Callable[[Any], str]) -> list[list[Cell]]:
    """Return the cells of each row; a vertically merged cell is in its first row only."""
    result: list[list[Cell]] = []
    open_cells: dict[int, tuple[int, int]] = {}  # by column: row and index of a merged cell
    for index, row in enumerate(rows):
        properties = row.find(W + "trPr")
        column = min(max(number(properties, "gridBefore", 0), 0), MAX_SPAN)
        cells = [Cell("", column)] if column else []
        still_open: dict[int, tuple[int, int]] = {}
        result.append(cells)
        for element in row_cells(row):
            properties = element.find(W + "tcPr")
            columns = min(max(number(properties, "gridSpan", 1), 1), MAX_SPAN)
            merge = None if properties is None else properties.find(W + "vMerge")
            above = open_cells.get(column)
            if merge is not None and merge.get(W + "val", "continue") == "continue" and above:
                at, place = above
                if result[at][place].columns == columns:
                    result[at][place] = result[at][place]._replace(rows=index - at + 1)
                    still_open[column] = above
                    column += columns
                    continue
            if merge is not None:
                still_open[column] = index, len(cells)
            deleted = properties is not None and properties.find(W + "cellDel") is not None
            cells.append(Cell("" if deleted else text_of(element), columns))
            column += columns
        open_cells = still_open
    return result
