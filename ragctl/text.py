"""Make foreign text safe to print (documents, file names, answers of servers); count things."""

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragctl.records import Json

_STRING = r"(?:\x1b[\]PX^_]|(?<![\x80-\xff])[\x90\x98\x9d-\x9f])"  # begins an OSC, a DCS …
_INSIDE = r"[^\x07\x1b\x90\x98\x9c-\x9f]"  # of such a string
ESCAPE_SEQUENCE = (
    r"(?:\x1b\[|(?<![\x80-\xff])\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rf"|{_STRING}{_INSIDE}{{0,4096}}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]+[0-~]"  # character sets
)
"""A pattern of terminal escape sequences, with the text inside of them.

An 8-bit introducer after a character above U+007F is none: UTF-8 decoded as Latin-1 is full of
those.
"""

# A string that does not end goes up to the end of its line.
_SEQUENCE = re.compile(rf"{ESCAPE_SEQUENCE}|{_STRING}(?:(?!\n){_INSIDE})*")
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\u2028\u2029]")

# Letters of scripts in which a joiner or non-joiner between two letters changes how they look.
_JOINING = "\u0600-\u08ff\u0900-\u109f\u1780-\u17b3\u1820-\u18af\ufb50-\ufdcf\ufe70-\ufefc"

# Characters that cannot be seen: controls except tab and line feed, lone surrogates,
# noncharacters, and those that Unicode calls default-ignorable (zero-width and bidirectional
# controls, fillers, variation selectors, tags).
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    f"|(?<![{_JOINING}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINING}])"
)


def without_controls(text: str) -> str:
    """Return `text` without escape sequences and characters that cannot be seen.

    Tabs stay; every line end becomes a line feed. Joiners stay where letters need them.
    """
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub("", _LINE_END.sub("\n", _SEQUENCE.sub("", text)))


def json_text(value: "Json", *, indent: int | None = None) -> str:
    """Return `value` as JSON that is safe to print, and can be encoded as UTF-8.

    Characters that cannot be seen are escaped; lone surrogates become "?".
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _INVISIBLE.sub(_escaped, text.encode("utf-8", "replace").decode("utf-8"))


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def one_line(text: str, *, limit: int | None = None, printable_only: bool = False) -> str:
    """Return `text` as one line that is safe to print; runs of white space become one space.

    Args:
        text: text from anywhere.
        limit: longest result in characters; what is cut off is replaced by "…".
        printable_only: replace what has no glyph by a space: right for answers of servers,
            where a control character may stand between two words. Otherwise it is left out.
    """
    if printable_only:
        text = _SEQUENCE.sub(" ", text)
        text = "".join(char if char.isprintable() else " " for char in text)
    line = collapse_whitespace(without_controls(text))
    return line if limit is None or len(line) <= limit else f"{line[:limit]}…"


def collapse_whitespace(text: str) -> str:
    """Return `text` with each run of white space replaced by one space, and none at the ends."""
    return " ".join(text.split())


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, such as "1 chunk" or "1,200 chunks".

    `many`: the plural, if it is not `one` with an "s": counted(n, "text was", "texts were").
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def readable_size(size: float) -> str:
    """Return a number of bytes for people: "12.3 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def readable_time(seconds: float) -> str:
    """Return seconds since 1970 for people: "2026-11-29 22:27 UTC"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe_exception(error: BaseException) -> str:
    """Return an exception of another library as one line: its class and its message."""
    message = collapse_whitespace(str(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
