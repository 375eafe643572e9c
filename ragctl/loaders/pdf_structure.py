"""A PDF as pypdf reads it: outline, page labels, metadata, and text where PDFium finds none.

pypdf raises nearly any error on damaged files. That must not lose the text that PDFium has read,
so every call into pypdf goes through `_attempt`, which notes the failure.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ragctl.loaders.decode import clean
from ragctl.loaders.metadata import MAX_PROPERTY_CHARACTERS
from ragctl.records import Heading, Json, Page
from ragctl.text import collapse_whitespace

T = TypeVar("T")

MAX_OUTLINE_ENTRIES = 20_000  # an outline may loop
MAX_REASON_CHARACTERS = 200  # of an error's message
_NUMBERING = re.compile(
    r"^(?:(?:chapter|part|section|appendix)\s+)?[\dA-Z]+(?:\.\d+)*[.):]?\s+", re.I
)
_META_NAMES = ("author", "subject", "keywords")
_PLACEHOLDER_TITLES = frozenset({"", "untitled", "(anonymous)", "unspecified"})
_PROGRAM_PREFIX = re.compile(r"^(?:Microsoft (?:Word|PowerPoint|Excel)|PowerPoint Presentation) - ")


class PdfStructure:
    """A PDF read by pypdf; parts that pypdf cannot read are empty, and `failure` says why."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.failure = ""
        self.page_count: int = self._attempt(lambda: len(reader.pages), 0)
        self.labels: list[str] = self._attempt(lambda: list(reader.page_labels), [])
        self.meta: dict[str, Json] = {}
        self.title: str | None = None
        information: dict[str, str] = self._attempt(lambda: _information(reader), {})
        for name, value in information.items():
            if name == "title":
                self.title = None if value.lower() in _PLACEHOLDER_TITLES else value
            elif value.lower() not in _PLACEHOLDER_TITLES:
                self.meta[name] = value
        self._outline: list[tuple[int, str, int]] = self._attempt(lambda: _outline(reader), [])

    def page_text(self, number: int) -> str:
        """Return the text of a page by its index; "" if there is none."""
        if number >= self.page_count:
            return ""
        return str(self._attempt(lambda: self._reader.pages[number].extract_text(), ""))

    def headings(self, text: str, pages: Sequence[Page]) -> tuple[Heading, ...]:
        """Return the outline's entries at the lines of their titles.

        An entry whose title is not found on its page is at the start of the page.
        """
        found: list[Heading] = []
        for level, title, number in self._outline:
            if number < len(pages):
                page = pages[number]
                after = found[-1].start + 1 if found and found[-1].start >= page.start else 0
                start = _find_line(title, text, max(page.start, after), page.end)
                if start is None:
                    start = _find_line(title, text, page.start, page.end)
                found.append(Heading(page.start if start is None else start, level, title))
        found.sort(key=lambda heading: heading.start)
        return tuple(found)

    def _attempt(self, call: Callable[[], T], otherwise: T) -> T:
        try:
            return call()
        except MemoryError:
            raise
        # On damaged files pypdf raises KeyError, TypeError, RecursionError and many more.
        except Exception as error:  # noqa: BLE001
            reason = collapse_whitespace(str(error))[:MAX_REASON_CHARACTERS]
            self.failure = self.failure or f"{type(error).__name__}: {reason}"
            return otherwise


class _EmptyReader:
    """The reader of a file that pypdf cannot open."""

    pages: tuple[()] = ()
    page_labels: tuple[()] = ()
    outline: tuple[()] = ()
    metadata = None


def open_structure(data: bytes, password: str | None) -> PdfStructure:
    """Return the structure of a PDF; empty, with its `failure`, if pypdf cannot open it."""
    import pypdf

    def reader() -> Any:
        opened = pypdf.PdfReader(io.BytesIO(data))
        if opened.is_encrypted:
            opened.decrypt(password or "")
        return opened

    empty = PdfStructure(_EmptyReader())
    opened = empty._attempt(reader, None)
    return empty if opened is None else PdfStructure(opened)


def _information(reader: Any) -> dict[str, str]:
    information = reader.metadata
    if information is None:
        return {}
    found = {}
    for name in ("title", *_META_NAMES):
        value = getattr(information, name)
        if isinstance(value, str) and (
            plain := _PROGRAM_PREFIX.sub("", collapse_whitespace(clean(value)))
        ):
            found[name] = plain[:MAX_PROPERTY_CHARACTERS]
    return found


def _outline(reader: Any) -> list[tuple[int, str, int]]:
    """Return (level, title, page index) of each entry in reading order, without recursion."""
    entries: list[tuple[int, str, int]] = []
    stack = [iter(reader.outline)]
    while stack and len(entries) < MAX_OUTLINE_ENTRIES:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, list):
            stack.append(iter(entry))
        else:
            number = reader.get_destination_page_number(entry)
            title = collapse_whitespace(clean(str(entry.title)))
            if title and number is not None and number >= 0:
                entries.append((min(len(stack), 6), title, number))
    return entries


def _find_line(title: str, text: str, start: int, end: int) -> int | None:
    """Return the offset of the first line in text[start:end] that begins with a title.

    Either the title or the line may lack the section number.
    """
    for variant in (title, _NUMBERING.sub("", title)):
        words = variant.split()
        if words:
            pattern = r"\s+".join(map(re.escape, words))
            numbering = r"(?:[\dA-Z]+(?:\.\d+)*[.):]?\s+)?"
            match = re.compile(rf"^[ \t]*{numbering}{pattern}", re.M | re.I).search(
                text, start, end
            )
            if match:
                return match.start()
    return None
