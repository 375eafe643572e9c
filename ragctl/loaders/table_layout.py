"""What a CSV file looks like: its delimiter, the lines before its table, and its column names."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ragctl.text import collapse_whitespace

DELIMITERS = ",;\t|"
SAMPLE_CHARACTERS = 65_536  # from which the layout is guessed
SAMPLE_ROWS = 50
MAX_PREAMBLE_CELLS = 2  # of a row before the table: "Account:", "DE12"
SURE_FIT = 0.8  # below it the delimiter is a guess
MAX_LENGTH_RATIO = 2.5  # of values to a name; a name of one word over sentences is a name

_NUMBER = re.compile(r"[-+]?[\d\s.,/:%€$£-]*\d[\d\s.,/:%€$£-]*(?:EUR|USD|kg|%)?$")
_YEAR = re.compile(r"(?:19|20)\d\d$")
_UNCUT = {
    each: re.compile(f"[{re.escape(DELIMITERS.replace(each, ''))}](?! )") for each in DELIMITERS
}
# Words that name columns.
_NAMES = """
    id key name title text type date time city country email phone address description category
    author language label value price amount status code url question answer first last region
    naam nom ville titre texte prix pays datum titel text stadt ort land preis betrag artikel
    beschreibung kategorie menge straße plz nummer frage antwort nombre ciudad país precio
    fecha имя название город дата цена текст адрес описание страна вопрос ответ товар
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is cut; `preamble`: rows before the table; `header`: the next has the names."""

    delimiter: str
    preamble: int
    header: bool
    warnings: tuple[str, ...] = ()


def split_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not blank."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    return (row for row in reader if any(cell and not cell.isspace() for cell in row))


def guess_layout(text: str, delimiter: str | None = None) -> Layout:
    """Return the layout of a table, with warnings for what is not certain."""
    warnings: tuple[str, ...] = ()
    if delimiter is None:
        delimiter, fit = _best_delimiter(text)
        if fit < SURE_FIT:
            warnings += (f"the delimiter is a guess: {delimiter!r}",)
    rows = _sample(text, delimiter)
    preamble = _preamble(rows)
    table = rows[preamble:]
    header, sure = _has_header(table)
    if not sure and table:
        names = "; ".join(map(collapse_whitespace, table[0]))[:80]
        warnings += (f"whether the first row names the columns is a guess: {names}",)
    return Layout(delimiter, preamble, header, warnings)


def find_delimiter(text: str) -> str:
    """Return the delimiter that cuts most rows into as many cells, and leaves none within them."""
    return _best_delimiter(text)[0]


def _best_delimiter(text: str) -> tuple[str, float]:
    fits = {each: _fit(text, each) for each in DELIMITERS}
    best = max(DELIMITERS, key=fits.__getitem__)
    # A file of one column has no delimiter.
    return best, fits[best][0] if fits[best][1] > 1 else 1.0


def _sample(text: str, delimiter: str) -> list[list[str]]:
    sample = text[:SAMPLE_CHARACTERS]
    if len(text) > SAMPLE_CHARACTERS:
        sample = sample[: sample.rfind("\n") + 1] or sample
    rows = []
    for row in split_rows(sample, delimiter):
        rows.append(row)
        if len(rows) == SAMPLE_ROWS:
            break
    if len(rows) < 2 and len(sample) < len(text):  # a row is longer than the sample
        rows = list(islice(split_rows(text, delimiter), 2))
    return rows


def _fit(text: str, delimiter: str) -> tuple[float, int]:
    """Return how well a delimiter fits, 0 … 1, and the number of cells in most rows.

    The fit is the share of rows of that width, behind a preamble, times the share of cells that
    hold no other delimiter: `Pump;1` of `Pump;1,5` does.
    """
    try:
        rows = _sample(text, delimiter)
    except csv.Error:
        return 0.0, 0
    rows = rows[_preamble(rows) :]
    width, count = _usual_width(rows)
    if width < 2:
        return 0.0, 0
    cells = [cell for row in rows for cell in row[:1000]]
    clean = sum(
        1 for cell in cells if _NUMBER.match(cell[:100]) or not _UNCUT[delimiter].search(cell)
    )
    return count / len(rows) * clean / len(cells), width


def _usual_width(rows: list[list[str]]) -> tuple[int, int]:
    widths = Counter(map(len, rows))
    return max(widths.items(), key=lambda item: item[::-1], default=(1, 0))


def _preamble(rows: list[list[str]]) -> int:
    """Return how many rows come before the table: they have few values, its rows have more."""
    width = _usual_width(rows)[0]
    if width <= MAX_PREAMBLE_CELLS:
        return 0
    for number, row in enumerate(rows):
        if any(cell.strip() for cell in row[MAX_PREAMBLE_CELLS:]):
            return number
    return 0


def _has_header(rows: list[list[str]]) -> tuple[bool, bool]:
    """Return whether the first row holds the names of columns, and whether that is certain."""
    if len(rows) < 2:
        return False, True
    first = [collapse_whitespace(cell) for cell in rows[0]]
    given = [name for name in first if name]
    numbers = [name for name in given if _NUMBER.match(name[:100])]
    counted = [str(n) for n in range(len(first))], [str(n + 1) for n in range(len(first))]
    if first in counted and len(first) > 1:
        return any(row[: len(first)] != first for row in rows[1:]), len(first) > 2
    if len(given) <= len(first) / 2 or not all(map(_YEAR.match, numbers)):
        return False, True
    like = False  # a name that looks like the values below it
    for number, name in enumerate(first[:1000]):
        values = [row[number] for row in rows[1:] if number < len(row) and row[number].strip()]
        if not name or not values or name in numbers:
            continue
        if sum(1 for value in values if _NUMBER.match(value[:100])) > len(values) / 2:
            return True, True
        mean = sum(map(len, values)) / len(values)
        like |= (
            mean <= MAX_LENGTH_RATIO * len(name) and name[:1].isupper() == values[0][:1].isupper()
        )
    words = {word for name in given for word in re.findall(r"[^\W\d_]+", name.lower())}
    if not words.isdisjoint(_NAMES.split()) or not like:
        return True, True
    return False, False
