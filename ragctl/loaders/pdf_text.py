"""The text of PDF pages, and their joining into one document."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragctl.loaders.decode import clean
from ragctl.records import Page

# PDFium's mark for a hyphen at the end of a line; it has pulled the next line's word up to it.
_MARK = "\x02"
# Words are tried from their first letter only: from every letter, each would be read as often.
_AT_MARK = re.compile(r"((?<!\w)\w++)?\x02(\w*)")
_AT_LINE_END = re.compile(r"(?<!\w)(\w*[^\W\d_])[\u00ad\u2010-][ \t]*\n[ \t]*([^\W\d_]\w*)[ \t]*")
_LINE_END = re.compile(r"[\u00ad\u2010-][ \t]*\n")
_SOFT_HYPHEN = re.compile(r"\u00ad(?:[ \t]*\n[ \t]*)?")
_HYPHENATED = re.compile(r"(?<!\w)\w++-\w+")
# Only the ligatures: NFKC as a whole would also turn ² into 2 and ½ into 1⁄2.
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


class Encrypted(Exception):
    """The password, or the lack of one, does not open the file."""


def pdfium_texts(path: Path, password: str | None) -> list[str]:
    """Each page's text as PDFium gives it. Raises Encrypted, PdfiumError."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(path, password=password)
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
    except pypdfium2.PdfiumError:  # the other engine may still read it
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
    """The document's text and its pages. Pages are parted by an empty line, which belongs to the
    page before, so that the pages tile the text; a page without text is empty."""
    plain = [_tidy(text) for text in texts]
    # A hyphen at a line's end is kept where the document writes the word with one elsewhere.
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
    kept = "\ue002"  # clean() drops control characters, and the mark is one
    text = clean(text.replace(_MARK, kept)).replace(kept, _MARK)
    return _TRAILING.sub("", text.translate(_LIGATURES)).strip()


def _join_words(text: str, hyphenated: set[str]) -> str:
    def joined(match: re.Match[str]) -> str:
        left, right = match[1] or "", match[2]
        hyphen = "-" if _keeps_hyphen(left, right, hyphenated) else ""
        return left + hyphen + right

    def joined_line(match: re.Match[str]) -> str:
        return joined(match) + "\n"

    if _MARK in text:
        text = _AT_MARK.sub(joined, text)
    if _LINE_END.search(text):
        text = _AT_LINE_END.sub(joined_line, text)
    return _SOFT_HYPHEN.sub("", text).rstrip()


def _keeps_hyphen(left: str, right: str, hyphenated: set[str]) -> bool:
    """A hyphen that belongs to the word: as elsewhere, or before a capital or a digit."""
    if not left or not right or not left[-1].isalpha():
        return True
    return (
        f"{left}-{right}" in hyphenated
        or (right[0].isupper() and not left.isupper())
        or (right[0].isdigit())
    )
