"""Printing: people on a terminal, plain text in pipes, one JSON document where asked.

Document text is hostile: nothing reaches a terminal before `clean`. What goes to standard
error is lines of text, or with `--log-format json` one JSON object a line.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ragctl.errors import UsageError
from ragctl.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from ragctl.records import Json

_FIGURE = re.compile(r"[-+<]?[\d,./]*")

LOG_FORMATS = ("text", "json")
_format = "text"
_about: "dict[str, Json]" = {}


def log_as(form: str) -> None:
    """Choose how lines on standard error look, one of LOG_FORMATS. Raises UsageError."""
    global _format
    if form not in LOG_FORMATS:
        raise UsageError(f"--log-format {form!r}: one of {', '.join(LOG_FORMATS)}")
    _format = form
    _about.clear()
    if logs_json():
        _take_libraries_in()


def _take_libraries_in() -> None:
    """Let the warnings that libraries log be objects as well."""
    import logging

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            level = record.levelname.lower()
            warn(record.getMessage(), level=level, event="library", library=record.name)

    logging.basicConfig(handlers=[Lines()], level=logging.WARNING)


def logs_json() -> bool:
    return _format == "json"


def about(**fields: "Json") -> None:
    """Fields that every line of JSON has from now on."""
    _about.update(fields)


def out() -> "Console":
    """Standard output; rich leaves out colours where it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def say(text: str) -> None:
    """A line of plain text on standard output."""
    sys.stdout.write(text + "\n")


def table(rows: Sequence[Sequence[str]]) -> None:
    """Rows under a head: with styles on a terminal, columns of plain text in a pipe.

    Columns are aligned to the right where all cells under the head are figures.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    columns = list(zip(*cells, strict=True))
    figures = [all(_FIGURE.fullmatch(cell) for cell in column[1:]) for column in columns]
    if is_terminal():
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, padding=(0, 2, 0, 0))
        for head, right in zip(cells[0], figures, strict=True):
            shown.add_column(Text(head), justify="right" if right else "left", no_wrap=right)
        for row in cells[1:]:
            shown.add_row(*map(Text, row))
        out().print(shown)
        return
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in columns]
    for row in cells:
        padded = [
            gap + cell if right else cell + gap
            for cell, width, right in zip(row, widths, figures, strict=True)
            for gap in (" " * (width - cell_len(cell)),)
        ]
        say("  ".join(padded).rstrip())


def warn(
    text: str,
    *,
    level: str = "warning",
    event: str = "warning",
    message: str | None = None,
    **fields: "Json",
) -> None:
    """A line on standard error: `text`, or an object with `message` (else `text`) and `fields`."""
    if logs_json():
        said = {"time": _now(), "level": level, "event": event, **_about, **fields}
        line = json.dumps(_cleaned({**said, "message": message or text}), ensure_ascii=False)
    else:
        line = one_line(text)
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except RuntimeError:  # of a signal's handler, in the middle of another line
        os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="replace"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _cleaned(value: "Json") -> "Json":
    """A JSON value whose texts are one line each, as they are in text."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {one_line(key): _cleaned(item) for key, item in value.items()}
    return value


def print_json(value: "Json") -> None:
    """The one JSON document of a command: UTF-8, the keys in their documented order."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")
