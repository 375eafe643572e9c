"""The text of PDF pages, joined to that of one document, with words across lines restored."""

import re
from collections.abc import Sequence
from typing import Any

from ragctl.loaders.decode import clean
from ragctl.records import Page

# PDFium writes this for a hyphen at the end of a line, followed directly by the next line.
_HYPHEN = "\x02"
_SAFE_HYPHEN = "\ue002"  # from the private use area
# A match begins only at the first letter of a word: trying every letter takes quadratic time.
_WORD_AT_HYPHEN = re.compile(r"((?<!\w)\w++)?\x02(\w*)")
_WORD_AT_LINE_END = re.compile(
    r"(?<!\w)(\w*[^\W\d_])[\u00ad\u2010-][ \t]*\n[ \t]*([^\W\d_]\w*)[ \t]*"
)
_HYPHEN_AT_LINE_END = re.compile(r"[\u00ad\u2010-][ \t]*\n")
_SOFT_HYPHEN = re.compile(r"\u00ad(?:[ \t]*\n[ \t]*)?")
_HYPHENATED = re.compile(r"(?<!\w)\w++-\w+")
# NFKC would also turn ² into 2 and ½ into 1⁄2.
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_TRAILING_BLANKS = re.compile(r"[ \t]+$", re.MULTILINE)


class Encrypted(Exception):
    """The file is encrypted, and the password, if one is given, does not open it."""


def pdfium_texts(data: bytes, password: str | None) -> list[str]:
    """Return the text of each page as PDFium gives it. Raises Encrypted, PdfiumError."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(data, password=password)
    except pypdfium2.PdfiumError as error:
        if error.err_code == raw.FPDF_ERR_PASSWORD:
            raise Encrypted from error
        raise
    try:
        return [_pdfium_page(document, number) for number in range(len(document))]
    finally:
        document.close()


def _pdfium_page(document: Any, number: int) -> str:
    import pypdfium2

    try:
        page = document[number]
    except pypdfium2.PdfiumError:  # pypdf may still read it
        return ""
    try:
        text_page = page.get_textpage()
        try:
            return str(text_page.get_text_bounded())
        finally:
            text_page.close()
    finally:
        page.close()


def join_pages(texts: Sequence[str], labels: Sequence[str]) -> tuple[str, tuple[Page, ...]]:
    """Return the document's text and its pages.

    A blank line between two pages belongs to the first, so that the pages cover the whole text; a
    page without text is empty. `labels` are the printed page numbers.
    """
    plain = [_tidy(text) for text in texts]
    # A hyphen at the end of a line is kept if the document has the hyphenated word elsewhere.
    hyphenated = {word for text in plain for word in _HYPHENATED.findall(text)}
    joined = [_join_words(text, hyphenated) for text in plain]
    last = max((number for number, text in enumerate(joined) if text), default=-1)
    parts: list[str] = []
    pages: list[Page] = []
    start = 0
    for number, text in enumerate(joined):
        part = f"{text}\n\n" if text and number < last else f"{text}\n" if text else ""
        label = labels[number] if number < len(labels) else ""
        printed = label if label and label != str(number + 1) else None
        pages.append(Page(number + 1, start, start + len(part), printed))
        parts.append(part)
        start += len(part)
    return "".join(parts), tuple(pages)


def _tidy(text: str) -> str:
    # `clean` would remove the placeholder of PDFium, which is a control character.
    text = clean(text.replace(_HYPHEN, _SAFE_HYPHEN)).replace(_SAFE_HYPHEN, _HYPHEN)
    return _TRAILING_BLANKS.sub("", text.translate(_LIGATURES)).strip()


def _join_words(text: str, hyphenated: set[str]) -> str:
    def joined(match: re.Match[str]) -> str:
        left, right = match[1] or "", match[2]
        hyphen = "-" if _keeps_hyphen(left, right, hyphenated) else ""
        return left + hyphen + right

    def joined_line(match: re.Match[str]) -> str:
        return joined(match) + "\n"

    if _HYPHEN in text:
        text = _WORD_AT_HYPHEN.sub(joined, text)
    if _HYPHEN_AT_LINE_END.search(text):
        text = _WORD_AT_LINE_END.sub(joined_line, text)
    return _SOFT_HYPHEN.sub("", text).rstrip()


def _keeps_hyphen(left: str, right: str, hyphenated: set[str]) -> bool:
    """Return whether a hyphen belongs to the word: used elsewhere, or before a capital or digit."""
    if not left or not right or not left[-1].isalpha():
        return True
    return (
        f"{left}-{right}" in hyphenated
        or (right[0].isupper() and not left.isupper())
        or (right[0].isdigit())
    )
