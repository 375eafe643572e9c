"""CSV and TSV: one list item per row, with the column's name before each value.

A row becomes `- name: Widget; price: 3.50`. A pipe table would have the names only in its first
row, so a chunk from its middle would have values without names.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent
from ragctl.loaders.decode import decode
from ragctl.loaders.embedded import without_embedded
from ragctl.loaders.options import LoadOptions
from ragctl.records import Document
from ragctl.text import collapse_whitespace

_DELIMITERS = ",;\t|"
SAMPLE_CHARACTERS = 65_536  # from which the delimiter is detected
SAMPLE_ROWS = 50
# A number, but not a year, which may be the name of a column.
_NUMERIC = re.compile(r"(?!(?:19|20)\d\d$)[-+]?[\d\s.,/:%-]*\d[\d\s.,/:%-]*$")


def load_table(content: FileContent, source: str, options: LoadOptions) -> Iterator[Document]:
    """Yield the document of a table. Raises DocumentError if the csv module refuses it."""
    text, warnings = decode(content.read(options.max_bytes), options.encoding)
    text = without_embedded(text)
    csv.field_size_limit(max(options.max_bytes, 131_072))
    delimiter = "\t" if content.name.lower().endswith(".tsv") else None
    # Excel's declaration of the delimiter
    if text[:4].lower() == "sep=" and text[5:6] in ("\n", ""):
        delimiter, text = text[4], text[6:]
    rows = _rows(text, delimiter or find_delimiter(text))
    try:
        lines = "".join(_row_lines(rows))
    except csv.Error as error:
        raise DocumentError(f"is not a table: {error}") from error
    yield Document(source, lines, "markdown", warnings=warnings)


def find_delimiter(text: str) -> str:
    """Return the delimiter that cuts most of the first rows into the same number of cells."""
    sample = text[:SAMPLE_CHARACTERS]
    if len(text) > SAMPLE_CHARACTERS:
        sample = sample[: sample.rfind("\n") + 1] or sample

    def fit(delimiter: str) -> tuple[float, int]:
        """Return the share of the rows with the most frequent width, and that width."""
        widths: Counter[int] = Counter()
        try:
            for row in _rows(sample, delimiter):
                widths[len(row)] += 1
                if widths.total() == SAMPLE_ROWS:
                    break
        except csv.Error:
            return 0.0, 0
        width, count = max(widths.items(), key=lambda item: item[::-1], default=(1, 0))
        return (count / widths.total(), width) if width > 1 else (0.0, 0)

    return max(_DELIMITERS, key=fit)


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not blank."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    return (row for row in reader if any(cell and not cell.isspace() for cell in row))


def _row_lines(rows: Iterator[list[str]]) -> Iterator[str]:
    first = next(rows, None)
    if first is None:
        return
    second = next(rows, None)
    names = [collapse_whitespace(cell) for cell in first]
    if second is None or not _is_header(names):
        names = []
        yield _row_line(names, first)
    if second is not None:
        yield _row_line(names, second)
    for row in rows:
        yield _row_line(names, row)


def _is_header(names: list[str]) -> bool:
    """Return whether a row holds column names: distinct and not numbers; some may be missing."""
    given = [name for name in names if name]
    return (
        len(given) > len(names) / 2
        and len(set(given)) == len(given)
        and not any(_NUMERIC.match(name) for name in given)
    )


def _row_line(names: list[str], row: list[str]) -> str:
    cells = []
    for number, cell in enumerate(row):
        if value := collapse_whitespace(cell):
            name = names[number] if number < len(names) and names[number] else ""
            cells.append(f"{name or f'column {number + 1}'}: {value}")
    return f"- {'; '.join(cells)}\n"
