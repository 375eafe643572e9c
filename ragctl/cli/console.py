"""Output: tables and colour on a terminal, plain text in a pipe, JSON on request.

Document text may contain terminal escape sequences, so every line goes through `text.one_line`
or `text.without_controls`. A terminal gets its lines wrapped between words; in a pipe a message is
one line. Standard error gets lines of text, or with `--log-format json` one JSON
object per line.
"""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ragctl.errors import UsageError
from ragctl.text import json_text, one_line, without_controls

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import Console, JustifyMethod

    from ragctl.records import Json

_NUMBER = re.compile(r"[-+<]?[\d,./]*")

PIPE_WIDTH = 80
INDENT = 2  # of the continuation lines of a message
MIN_TEXT_COLUMNS = 12  # of a column of text in a table
TABLE_GAP = 2  # columns between two of a table
MIN_COLUMNS = 20  # a terminal that says it is narrower is taken to have these
LOG_FORMATS = ("text", "json")
_format = "text"
_common_fields: "dict[str, Json]" = {}
_bar: "Bar | None" = None


def log_as(log_format: str) -> None:
    """Set the format of lines on standard error, one of LOG_FORMATS. Raises UsageError."""
    global _format
    if log_format not in LOG_FORMATS:
        raise UsageError(f"--log-format {log_format!r}: must be {' or '.join(LOG_FORMATS)}")
    _format = log_format
    _common_fields.clear()
    if logs_json():
        _log_libraries()


def _log_libraries() -> None:
    """Print the warnings that libraries log as JSON objects too."""
    import logging

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            level = record.levelname.lower()
            warn(record.getMessage(), level=level, event="library", library=record.name)

    logging.basicConfig(handlers=[Lines()], level=logging.WARNING)


def logs_json() -> bool:
    """Return whether lines on standard error are JSON objects."""
    return _format == "json"


def about(**fields: "Json") -> None:
    """Add fields to every JSON line from now on."""
    _common_fields.update(fields)


class Bar(Protocol):
    """What is drawn at the end of the terminal, and has to make room for a line."""

    def hide(self) -> None:
        """Remove it for now."""


def set_bar(bar: Bar | None) -> None:
    """Set what is drawn at the end of the terminal."""
    global _bar
    _bar = bar


def _make_room() -> None:
    if _bar is not None:
        _bar.hide()


def is_terminal() -> bool:
    """Return whether standard output is a terminal, which gets tables and excerpts."""
    return sys.stdout.isatty()


def width() -> int:
    """Return the width for text plots: the terminal's, and 80 in a pipe."""
    return size()[0] if is_terminal() else PIPE_WIDTH


def bar() -> str:
    """Return the character for bars: a block on a terminal that can show it, else "#"."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return "█" if is_terminal() and encoding == "utf8" else "#"


def has_colours() -> bool:
    """Return whether standard output gets colours and bold: see NO_COLOR, FORCE_COLOR and TERM."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal() and os.environ.get("TERM") not in ("dumb", "unknown")


def size() -> tuple[int, int]:
    """Return columns and rows of the terminal: COLUMNS and LINES, then its own; else 80 and 24."""
    columns, rows = shutil.get_terminal_size()
    return max(columns, MIN_COLUMNS), rows


def out() -> "Console":
    """Return a rich console for standard output."""
    from rich.console import Console

    columns, rows = size()
    return Console(
        highlight=False,
        soft_wrap=True,
        width=columns,
        height=rows,
        color_system="standard" if has_colours() else None,
        force_terminal=has_colours(),
        no_color=False,  # NO_COLOR is already considered
        legacy_windows=False,
    )


def say(text: str, *, indent: int = INDENT) -> None:
    """Print plain text on standard output, without what cannot be seen.

    On a terminal its lines end between words, and `indent` is that of continuation lines.
    """
    _make_room()
    sys.stdout.write(fitted(without_controls(text), indent) + "\n")


def say_unwrapped(text: str) -> None:
    """Print text that people copy, such as the line of a crontab: line breaks would spoil it."""
    _make_room()
    sys.stdout.write(without_controls(text) + "\n")


def fitted(text: str, indent: int = INDENT, stream: "TextIO | None" = None) -> str:
    """Return `text`, wrapped if `stream`, or standard output, is a terminal."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return text
    columns = columns_of(stream)
    if 2 * len(text) <= columns or (text.isascii() and len(text) <= columns and "\t" not in text):
        return text  # without the import
    from ragctl.cli.wrap import fill

    return fill(text, columns, indent)


def columns_of(stream: "TextIO") -> int:
    """Return the columns of a terminal: COLUMNS, then its own."""
    columns = size()[0]
    if stream is sys.stdout or os.environ.get("COLUMNS", "").isdecimal():
        return columns
    try:
        return max(os.get_terminal_size(stream.fileno()).columns or columns, MIN_COLUMNS)
    except (OSError, ValueError):
        return columns


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first a head: with styles on a terminal, as plain columns in a pipe.

    A column is aligned to the right if all its cells below the head are numbers. On a terminal that
    is too narrow each row is several lines, one a cell.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    columns = list(zip(*cells, strict=True))
    numeric = [all(_NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    if is_terminal() and _is_too_narrow(columns, numeric):
        for row in cells[1:]:
            for name, cell in zip(cells[0], row, strict=True):
                say(f"{name}: {cell}")
            say("")
    elif is_terminal():
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, padding=(0, TABLE_GAP, 0, 0))
        for head, right in zip(cells[0], numeric, strict=True):
            justify: JustifyMethod = "right" if right else "left"
            shown.add_column(Text(head), justify=justify, no_wrap=right, overflow="fold")
        for row in cells[1:]:
            shown.add_row(*map(Text, row))
        out().print(shown)
    else:
        _print_plain_columns(cells, numeric)


def _is_too_narrow(columns: Sequence[Sequence[str]], numeric: Sequence[bool]) -> bool:
    """Return whether a table would break the words of its text columns on this terminal."""
    least = sum(
        max(map(len, column)) if right else min(max(map(len, column)), MIN_TEXT_COLUMNS)
        for column, right in zip(columns, numeric, strict=True)
    )
    return least + TABLE_GAP * len(columns) > size()[0]


def _print_plain_columns(cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            gap + cell if right else cell + gap
            for cell, width, right in zip(row, widths, numeric, strict=True)
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
    """Print a line on standard error: `text`, or a JSON object with `fields`.

    `message` replaces `text` in the object.
    """
    if logs_json():
        entry = {"time": _now(), "level": level, "event": event, **_common_fields, **fields}
        line = json_text(_cleaned({**entry, "message": message or text}))
    else:
        line = fitted(one_line(text), stream=sys.stderr)
    _make_room()
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except RuntimeError:  # a signal handler interrupted another write
        os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="replace"))


def print_wait(text: str) -> None:
    """Print a line about another run, or a host, that is waited for."""
    warn(text, level="info", event="waiting")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _cleaned(value: "Json") -> "Json":
    """Return a JSON value in which each string is one safe line."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {one_line(key): _cleaned(item) for key, item in value.items()}
    return value


def print_json(value: "Json", *, indent: int | None = 2) -> None:
    """Print a JSON document; `indent` None: on one line."""
    sys.stdout.write(json_text(value, indent=indent) + "\n")
