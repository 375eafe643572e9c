"""Bar charts as text, measured in terminal cells."""

from collections.abc import Iterator, Mapping
from math import ceil

from rich.cells import cell_len, set_cell_size

from ragctl.text import one_line

MAX_BARS = 8
MIN_BAR_CELLS = 8
MAX_LABEL_SHARE = 0.5  # of the width
INDENT, GAP = "  ", "  "


def bar_chart(
    title: str, counts: Mapping[str, int], width: int, *, bar: str, most: int = MAX_BARS
) -> Iterator[str]:
    """Yield a title, and a line for each of the largest counts, in at most `width` cells.

    Of more than `most` counts the last ones share a line. `bar`: the character of the bars, one
    cell wide.
    """
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if len(rows) > most:
        others = rows[most - 1 :]
        rows = rows[: most - 1]
        rows.append((f"{len(others):,} others", sum(count for _, count in others)))
    if not rows:
        return
    yield title
    numbers = [f"{count:,}" for _, count in rows]
    number_width = max(map(len, numbers))
    room = width - len(INDENT) - 2 * len(GAP) - number_width
    longest = max(1, min(int(MAX_LABEL_SHARE * width), room - MIN_BAR_CELLS))
    labels = [shortened(one_line(label), longest) for label, _ in rows]
    label_width = max(map(cell_len, labels))
    largest = max(max(count for _, count in rows), 1)
    for label, number, (_, count) in zip(labels, numbers, rows, strict=True):
        cells = ceil(count / largest * max(1, room - label_width))
        padded = set_cell_size(label, label_width)
        yield f"{INDENT}{padded}{GAP}{number:>{number_width}}{GAP}{bar * cells}".rstrip()


def shortened(text: str, cells: int) -> str:
    """Return the text in at most `cells` cells; of a longer one its end."""
    if cell_len(text) <= cells:
        return text
    end = len(text)
    start, used = end, 1
    while start and used + cell_len(text[start - 1]) <= cells:
        start -= 1
        used += cell_len(text[start])
    return f"…{text[start:]}"
