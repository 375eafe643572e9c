"""Decode files: detect the encoding, unify line ends, remove control characters."""

import codecs
import re

from ragctl.errors import DocumentError
from ragctl.text import ESCAPE_SEQUENCE, counted

_BOMS = (  # longest first: the BOM of UTF-32-LE begins with that of UTF-16-LE
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# In order of preference when a sample fits several equally well.
_LATIN_ENCODINGS = ("cp1252", "cp1250", "iso8859_2", "iso8859_9", "iso8859_15")
_OTHER_ENCODINGS = (
    *("cp1251", "gb18030", "shift_jis", "euc_kr", "big5", "koi8_r", "cp866"),
    *("iso8859_5", "euc_jp", "cp1253", "cp1255", "cp1256"),
)
SAMPLE_BYTES = 32_768  # given to the detector
MAX_CONTROL_SHARE = 0.02  # of a text; a file with more control characters is binary
MAX_BROKEN_SHARE = 0.02  # of a text with a byte order mark; with more it is binary
ALLOWED_CONTROLS = 4  # control characters accepted in however short a text
MIN_VALID_PER_BROKEN = 20  # valid non-ASCII characters per broken byte in a damaged UTF-8 text
CONTROL_SAMPLE_BYTES = 65_536  # searched for control characters
MIN_HIGH_NUL_SHARE = 0.4  # of the high bytes, in UTF-16 without a byte order mark
MAX_LOW_NUL_SHARE = 0.01  # of the low bytes, likewise
MAX_LATIN_RUN_BYTES = 1.6  # mean length of runs of high bytes in a Latin text

_LINE_BREAKS = "\x0b\x0c\x1c\x1d\x1e\x85"  # that other programs read as line ends
_UNWANTED = re.compile(
    f"{ESCAPE_SEQUENCE}|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]"
)
_ASCII_CONTROLS = {
    **dict.fromkeys([*range(9), *range(11, 32), 127]),
    **dict.fromkeys(map(ord, _LINE_BREAKS[:-1]), "\n"),
}
_CONTROLS = bytes({*range(32), 127} - {8, 9, 10, 11, 12, 13, 27})


def clean(text: str) -> str:
    r"""Return text with `\n` line ends and without control characters, except `\n` and tab.

    Form feeds and other breaks become line ends; terminal escape sequences and other control
    characters are removed; a lone surrogate becomes U+FFFD.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and "\x1b" not in text:
        return text.translate(_ASCII_CONTROLS)
    return _UNWANTED.sub(_replace_unwanted, text)


def _replace_unwanted(match: re.Match[str]) -> str:
    character = match[0]
    if character in _LINE_BREAKS:
        return "\n"
    return "\ufffd" if "\ud800" <= character <= "\udfff" else ""


def decode(data: bytes, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, made `clean`, and warnings.

    A byte order mark decides the encoding; else `encoding`, if given; else strict UTF-8, then
    detection. Raises DocumentError for bytes that are not text.
    """
    for bom, name in _BOMS:
        if data.startswith(bom):
            return _decode_damaged(data[len(bom) :], name)
    if encoding is not None:
        try:
            return clean(data.decode(encoding)), ()
        except (UnicodeDecodeError, LookupError) as error:
            raise DocumentError(f"is not in {encoding}: {error}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_legacy(data)
    head = data[:CONTROL_SAMPLE_BYTES]
    if (
        len(head) - len(head.translate(None, _CONTROLS))
        > MAX_CONTROL_SHARE * len(head) + ALLOWED_CONTROLS
    ):
        return _decode_utf16(data)
    return clean(text), ()


def _decode_damaged(data: bytes, encoding: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file whose encoding is certain, with U+FFFD for broken bytes."""
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    if broken > MAX_BROKEN_SHARE * len(text):
        raise DocumentError(
            f"looks binary, though it begins with the byte order mark of {encoding}"
        )
    return clean(text), _broken_warning(broken, encoding)


def _decode_utf16(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Decode UTF-16 without a byte order mark, recognised by a NUL in many high bytes."""
    if len(data) % 2 == 0:
        for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            highs, lows = data[start::2], data[1 - start :: 2]
            high_nuls, low_nuls = highs.count(0), lows.count(0)
            if high_nuls > MIN_HIGH_NUL_SHARE * len(highs) and low_nuls <= MAX_LOW_NUL_SHARE * len(
                lows
            ):
                return _decode_damaged(data, name)
    raise DocumentError("looks binary, not text")


def _decode_legacy(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Decode bytes that are not valid UTF-8."""
    if 0 in data:
        return _decode_utf16(data)
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if _count_non_ascii(text) >= MIN_VALID_PER_BROKEN * broken:
        return clean(text), _broken_warning(broken, "utf-8")
    encoding = detect(data)
    if encoding is None:
        raise DocumentError("looks binary, or is in an unknown encoding; give --encoding")
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    return clean(text), _broken_warning(broken, encoding)


def _broken_warning(count: int, encoding: str) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{counted(count, 'character is', 'characters are')} not valid {encoding}",)


def _count_non_ascii(text: str) -> int:
    """Return how many valid characters beyond ASCII a decoded text holds."""
    return len(text) - len(text.encode("ascii", "ignore")) - text.count("\ufffd")


def detect(data: bytes) -> str | None:
    """Return the likely legacy encoding, judged by the lines with non-ASCII bytes, or None."""
    from charset_normalizer import from_bytes

    lines: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            lines.append(line[:SAMPLE_BYTES])
            size += len(line)
            if size > SAMPLE_BYTES:
                break
    sample = b"\n".join(lines)
    runs = re.findall(rb"[\x80-\xff]+", sample)
    # Accented letters are single high bytes among ASCII; words of other scripts are runs of them.
    latin = sum(map(len, runs)) <= MAX_LATIN_RUN_BYTES * len(runs)
    candidates = _LATIN_ENCODINGS if latin else (*_OTHER_ENCODINGS, *_LATIN_ENCODINGS)
    for end in range(len(sample), len(sample) - 4, -1):  # the sample may end within a character
        matches = from_bytes(
            sample[:end],
            steps=10,
            cp_isolation=list(candidates),
            preemptive_behaviour=False,
            enable_fallback=False,
        )
        ranked = [
            (round(match.chaos, 2), -match.coherence, candidates.index(name))
            for match in matches
            for name in match.could_be_from_charset
            if name in candidates
        ]
        if ranked:
            return candidates[min(ranked)[2]]
    return None
