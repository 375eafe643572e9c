"""Bytes to text: encodings detected, line ends and control characters made plain."""

import codecs
import re

from ragctl.errors import DocumentError

_BOMS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# In order of preference, where a sample fits several equally well.
_LATIN = ("cp1252", "cp1250", "iso8859_2", "iso8859_9", "iso8859_15")
_OTHERS = (
    *("cp1251", "gb18030", "shift_jis", "euc_kr", "big5", "koi8_r", "cp866"),
    *("iso8859_5", "euc_jp", "cp1253", "cp1255", "cp1256"),
)
_SAMPLE = 32_768  # bytes shown to the detector
_BINARY = 0.02  # share of control characters from which on a file is no text
_STRAY = 4  # control characters that a short text may hold all the same
_UTF8_DAMAGE = 20  # good characters that outweigh one broken byte

_ESCAPE = r"\x1b\[[0-9;?]*[ -/]*[@-~]"  # a terminal's colours
_BREAKS = "\x0b\x0c\x1c\x1d\x1e\x85"  # characters that other programs take for line ends
_ODD = re.compile(f"{_ESCAPE}|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_ASCII = {
    **dict.fromkeys([*range(9), *range(11, 32), 127]),
    **dict.fromkeys(map(ord, _BREAKS[:-1]), "\n"),
}
_CONTROLS = bytes({*range(32), 127} - {8, 9, 10, 11, 12, 13, 27})


def clean(text: str) -> str:
    """Text with `\\n` line ends, no control characters but `\\n` and tab, no lone surrogates.

    Form feeds and other breaks become line ends, terminal colours and other control characters
    go, a lone surrogate becomes U+FFFD.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and "\x1b" not in text:
        return text.translate(_ASCII)
    return _ODD.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    found = match[0]
    if found in _BREAKS:
        return "\n"
    return "\ufffd" if "\ud800" <= found <= "\udfff" else ""


def decode(data: bytes, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Clean text and warnings.

    The byte order mark decides, then `encoding` if given, then strict UTF-8, then detection.
    Raises DocumentError for bytes that are no text.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _lenient(data[len(mark) :], name)
    if encoding is not None:
        try:
            return clean(data.decode(encoding)), ()
        except (UnicodeDecodeError, LookupError) as error:
            raise DocumentError(f"is not in {encoding}: {error}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_legacy(data)
    head = data[:65_536]
    if len(head) - len(head.translate(None, _CONTROLS)) > _BINARY * len(head) + _STRAY:
        return _decode_utf16(data)
    return clean(text), ()


def _lenient(data: bytes, encoding: str) -> tuple[str, tuple[str, ...]]:
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    if broken > _BINARY * len(text):
        raise DocumentError(f"looks binary, though it begins with the mark of {encoding}")
    warnings = (f"{broken} characters are not valid {encoding}",) if broken else ()
    return clean(text), warnings


def _decode_utf16(data: bytes) -> tuple[str, tuple[str, ...]]:
    """UTF-16 without a mark shows by NULs in every other byte."""
    if len(data) % 2 == 0:
        for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            highs, lows = data[start::2], data[1 - start :: 2]
            if highs.count(0) > 0.4 * len(highs) and lows.count(0) <= 0.01 * len(lows):
                return _lenient(data, name)
    raise DocumentError("looks binary, not text")


def _decode_legacy(data: bytes) -> tuple[str, tuple[str, ...]]:
    if 0 in data:
        return _decode_utf16(data)
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if _good(text) >= _UTF8_DAMAGE * broken:
        return clean(text), (f"{broken} characters are not valid utf-8",)
    encoding = detect(data)
    if encoding is None:
        raise DocumentError("looks binary, or is in an unknown encoding; give --encoding")
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    return clean(text), (f"{broken} characters are not valid {encoding}",) if broken else ()


def _good(text: str) -> int:
    """How many characters beyond ASCII came out right."""
    return len(text) - len(text.encode("ascii", "ignore")) - text.count("\ufffd")


def detect(data: bytes) -> str | None:
    """The likely legacy encoding, or None. Only lines with non-ASCII bytes are looked at."""
    from charset_normalizer import from_bytes

    lines: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            lines.append(line[:_SAMPLE])
            size += len(line)
            if size > _SAMPLE:
                break
    sample = b"\n".join(lines)
    runs = re.findall(rb"[\x80-\xff]+", sample)
    # Accents stand alone among ASCII letters; words of other scripts are runs of high bytes.
    latin = sum(map(len, runs)) <= 1.6 * len(runs)
    candidates = _LATIN if latin else (*_OTHERS, *_LATIN)
    for end in range(len(sample), len(sample) - 4, -1):  # a line cut within a character
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
