"""CSV and TSV: one list item per row, with the column's name before each value.

A row becomes `- name: Widget; price: 3.50`. A pipe table would have the names only in its first
row, so a chunk from its middle would have values without names. Lines before the table, as banks
write them, come first.
"""

import csv
from collections import Counter
from collections.abc import Iterator

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.options import LoadOptions
from ragctl.loaders.table_layout import guess_layout, split_rows
from ragctl.records import Document
from ragctl.text import collapse_whitespace


def load_table(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a table. Raises DocumentError if the csv module refuses it."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    csv.field_size_limit(max(options.max_bytes, 131_072))
    delimiter = "\t" if content.name.lower().endswith(".tsv") else None
    # Excel's declaration of the delimiter
    if text[:4].lower() == "sep=" and text[5:6] in ("\n", ""):
        delimiter, text = text[4], text[6:]
    open_quotes: list[str] = []
    try:
        layout = guess_layout(text, delimiter)
        rows = _checked(split_rows(text, layout.delimiter), layout.delimiter, open_quotes)
        lines = "".join(_lines(rows, layout.preamble, layout.header))
    except csv.Error as error:
        raise DocumentError(f"is not a table: {error}") from error
    yield Document(
        source, lines, "markdown", warnings=(*warnings, *layout.warnings, *open_quotes[:1])
    )


def _checked(rows: Iterator[list[str]], delimiter: str, warnings: list[str]) -> Iterator[list[str]]:
    """Yield the rows; warn of a cell that holds whole rows, since its quote is not closed."""
    width = 0
    for number, row in enumerate(rows, 1):
        width = max(width, len(row))
        for cell in row:
            if "\n" in cell:
                within = cell.rstrip("\n").split("\n")[1:]
                alike = sum(line.count(delimiter) == width - 1 for line in within)
                if width > 1 and alike > len(within) / 2:
                    warnings.append(
                        f"row {number}: a quote is not closed; {len(within):,} more lines are "
                        "in one cell"
                    )
        yield row


def _lines(rows: Iterator[list[str]], preamble: int, header: bool) -> Iterator[str]:
    for _ in range(preamble):
        yield f"{' '.join(filter(None, map(collapse_whitespace, next(rows))))}\n"
    if preamble:
        yield "\n"
    names = _distinct([collapse_whitespace(cell) for cell in next(rows, [])] if header else [])
    for row in rows:
        yield _row_line(names, row)


def _distinct(names: list[str]) -> list[str]:
    """Return names with ` (2)`, ` (3)` … after a repeated one."""
    counts: Counter[str] = Counter()
    distinct = []
    for name in names:
        counts[name] += 1
        distinct.append(f"{name} ({counts[name]})" if name and counts[name] > 1 else name)
    return distinct


def _row_line(names: list[str], row: list[str]) -> str:
    cells = []
    for number, cell in enumerate(row):
        if value := collapse_whitespace(cell):
            name = names[number] if number < len(names) and names[number] else ""
            cells.append(f"{name or f'column {number + 1}'}: {value}")
    return f"- {'; '.join(cells)}\n"
