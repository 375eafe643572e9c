"""Make foreign text safe to print (documents, file names, answers of servers); count things."""

import re

# First whole terminal escape sequences (CSI, OSC and similar), then every control character
# except tab and newline, characters that reorder or hide text, and lone surrogates.
_UNSAFE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[@-Z\\-_]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|[\u202a-\u202e\u2066-\u2069\u200e\u200f\ufeff]"
    r"|[\ud800-\udfff]"
)


def without_controls(text: str) -> str:
    """Return `text` without escape sequences, control characters and direction overrides.

    Tabs and line ends stay.
    """
    return _UNSAFE.sub("", text)


def one_line(text: str, *, limit: int | None = None, printable_only: bool = False) -> str:
    """Return `text` as one line that is safe to print; runs of white space become one space.

    Args:
        text: text from anywhere.
        limit: longest result in characters; what is cut off is replaced by "…".
        printable_only: replace every character without a glyph by a space. Right for error
            messages and names; wrong for document text, in which zero-width joiners shape
            letters and emoji. Otherwise only dangerous characters go, without a replacement.
    """
    if printable_only:
        text = "".join(char if char.isprintable() else " " for char in text)
    else:
        text = without_controls(text)
    line = collapse_whitespace(text)
    return line if limit is None or len(line) <= limit else f"{line[:limit]}…"


def collapse_whitespace(text: str) -> str:
    """Return `text` with each run of white space replaced by one space, and none at the ends."""
    return " ".join(text.split())


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, such as "1 chunk" or "1,200 chunks".

    `many`: the plural, if it is not `one` with an "s": counted(n, "text was", "texts were").
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def describe_exception(error: BaseException) -> str:
    """Return an exception of another library as one line: its class and its message."""
    message = collapse_whitespace(str(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
