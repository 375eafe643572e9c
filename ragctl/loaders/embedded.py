"""Embedded binary data in a text: data URIs and blocks of base64.

They are removed, and what is left is the document's text, so offsets are exact. Line ends are kept,
so line numbers stay those of the file.
"""

import re
from collections.abc import Iterator

MIN_RUN_CHARACTERS = 256  # of base64 in one line
MIN_BLOCK_LINES = 4  # of base64, all of one length; a last line may be shorter
MIN_TEXT_URI_CHARACTERS = 200  # shorter data URIs of text are kept: they are examples
# Shares of base64 of random bytes are 0.41, 0.41 and 0.16. Words, paths and hexadecimal numbers
# lack one of the three.
MIN_LETTER_SHARE = 0.12  # of upper-case letters, and of lower-case letters
MIN_DIGIT_SHARE = 0.04

_BASE64 = "A-Za-z0-9+/_-"
# The last line of a block, which is shorter: padded, or with capitals and digits.
_SHORTER = (
    rf"(?:[{_BASE64}]*+=++|"
    rf"(?=[{_BASE64}]*?(?-i:[A-Z]))(?=[{_BASE64}]*?[0-9])[{_BASE64}]{{12,}}+)"
)
_URI = re.compile(  # RFC 2397
    rf"""(?<![\w.-])data:(?P<type>[a-z]+/[\w.+-]+)?(?:;[\w-]+=[\w.-]+|;utf-?8)*+
        (?:
            ;base64,\s*+(?:%[0-9a-f]{{2}}|[={_BASE64}])*+
            (?:[ \t]*+\n[ \t]*+[{_BASE64}]{{40,}}+=*+)*+(?:[ \t]*+\n[ \t]*+{_SHORTER})?+
        | , (?P<open>)
        )""",
    re.VERBOSE | re.IGNORECASE,
)
_RUN = re.compile(rf"(?<![{_BASE64}])[{_BASE64}]{{{MIN_RUN_CHARACTERS},}}+=*+")
_LINE = re.compile(rf"^[ \t>\"']*+(?P<data>[{_BASE64}]{{40,}}+=*+)[\"',;+\\ \t]*+$", re.MULTILINE)
_LAST_LINE = re.compile(rf"\n[ \t>\"']*+{_SHORTER}[\"',;+\\ \t]*+$", re.MULTILINE)
# The end of a data URI that is not base64, by the character before it.
_ENDS = {'"': re.compile(r'[^"]*+'), "'": re.compile(r"[^']*+"), "(": re.compile(r"[^)\s]*+")}
_END = re.compile(r"[^\s\"'<>)]*+")
_NOT_LINE_END = re.compile(r"[^\n]+")


def without_embedded(text: str) -> str:
    """Return a text without data URIs and blocks of base64; its line ends are kept."""
    for find in (_uris, _runs, _blocks):
        kept, at = [], 0
        for start, end in find(text):
            kept += [text[at:start], _NOT_LINE_END.sub("", text[start:end])]
            at = end
        if at:
            text = "".join([*kept, text[at:]])
    return text


def _uris(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the data URIs."""
    at = 0
    while found := _URI.search(text, at):
        at = found.end()
        if found["open"] is not None:
            before = text[found.start() - 1] if found.start() else ""
            at = _end_of_text_uri(text, before, at)
            media = (found["type"] or "text/plain").lower()
            if media.startswith("text/") and at - found.start() < MIN_TEXT_URI_CHARACTERS:
                continue
        yield found.start(), at


def _end_of_text_uri(text: str, before: str, start: int) -> int:
    """Return the end of a data URI whose data is text; `before` is the character before it."""
    if text.startswith("<svg", start):  # not percent-encoded, as browsers accept it
        closing = text.find("</svg>", start)
        if closing >= 0:
            return closing + len("</svg>")
    end = _ENDS.get(before, _END).match(text, start)
    return end.end() if end else start


def _runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of long runs of base64 within a line."""
    for run in _RUN.finditer(text):
        if _is_base64(run[0]):
            yield run.span()


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of blocks of lines of base64."""
    lines: list[re.Match[str]] = []
    for line in _LINE.finditer(text):
        follows = lines and line.start() == lines[-1].end() + 1
        if lines and not (follows and len(line["data"]) == len(lines[0]["data"])):
            yield from _block(text, lines)
            lines = []
        lines.append(line)
    yield from _block(text, lines)


def _block(text: str, lines: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    if len(lines) >= MIN_BLOCK_LINES and _is_base64("".join(line["data"] for line in lines)):
        last = _LAST_LINE.match(text, lines[-1].end())
        yield lines[0].start(), last.end() if last else lines[-1].end()


def _is_base64(data: str) -> bool:
    upper = sum("A" <= character <= "Z" for character in data)
    lower = sum("a" <= character <= "z" for character in data)
    digits = sum("0" <= character <= "9" for character in data)
    return min(upper, lower) >= MIN_LETTER_SHARE * len(data) and digits >= MIN_DIGIT_SHARE * len(
        data
    )
