"""From a document to its chunks: spans, overlap, page and heading of each."""

import re
from bisect import bisect_right

from ragctl.chunking.cutting import Cutter
from ragctl.chunking.tokens import TokenMap
from ragctl.records import Chunk, Document, Heading

# Where repeated text may begin: behind these, the better ones first.
_BEGINNINGS = tuple(
    re.compile(pattern)
    for pattern in (
        r"[.!?…؟۔।॥][\"')\]»”’*_`]*\s+(?=\S)|[。！？；][」』）”’]*\s*(?=\S)|\n\s*\n\s*(?=\S)",
        r"[,;:—–،؛]\s+(?=\S)|[，、：]\s*(?=\S)",
        r"\s(?=\S)",
        r"(?=\S)(?=[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff])",  # Chinese, Japanese, Korean
    )
)


def chunks(document: Document, size: int, overlap: int) -> list[Chunk]:
    """The chunks of a document."""
    if not document.text or document.text.isspace():
        return []
    tokens = TokenMap(document.text)
    context = _Context(document)
    found: list[Chunk] = []
    for span in Cutter(document, tokens, size - overlap).spans():
        start, exact = span.start, span.tokens
        if overlap and found:
            low = max(context.heading_start(start), found[0].start)
            start, exact = _repeat(tokens, low, start, span.end, size, overlap) or (start, exact)
        found.append(
            Chunk(
                ordinal=len(found),
                start=start,
                end=span.end,
                text=document.text[start : span.end],
                tokens=exact,
                page=context.page(start),
                heading=context.heading(start),
            )
        )
    return found


def _repeat(
    tokens: TokenMap, low: int, start: int, end: int, size: int, overlap: int
) -> tuple[int, int] | None:
    """Where the chunk begins when it repeats the end of the text before it, and its tokens.

    At a sentence if one begins within `overlap` tokens before `start`, else at
    a clause, a word, a Chinese character; None where none does.
    """
    text = tokens.text
    low = max(low, int(tokens.starts[max(0, tokens.at(start) - overlap)]))
    if low >= start:
        return None
    # The first character may itself begin a sentence or a word.
    back = max(0, low - 2)
    for pattern in _BEGINNINGS:
        for match in pattern.finditer(text, back, start):
            begin = match.end()
            if low <= begin < start and tokens.exact(begin, len(text[:start].rstrip())) <= overlap:
                exact = tokens.exact(begin, end)
                if exact <= size:
                    return begin, exact
    return None


class _Context:
    """Pages and headings by character offset."""

    def __init__(self, document: Document) -> None:
        self._headings = sorted(document.headings, key=lambda heading: heading.start)
        self._starts = [heading.start for heading in self._headings]
        self._paths: list[tuple[str, ...]] = []
        open_: list[Heading] = []
        for heading in self._headings:
            while open_ and open_[-1].level >= heading.level:
                open_.pop()
            open_.append(heading)
            self._paths.append(tuple(each.title for each in open_))
        self._pages = sorted(document.pages, key=lambda page: page.start)
        self._page_starts = [page.start for page in self._pages]

    def heading_start(self, position: int) -> int:
        """Start of the heading in force at a character, 0 before the first."""
        found = bisect_right(self._starts, position)
        return self._starts[found - 1] if found else 0

    def heading(self, position: int) -> tuple[str, ...]:
        found = bisect_right(self._starts, position)
        return self._paths[found - 1] if found else ()

    def page(self, position: int) -> int | None:
        if not self._pages:
            return None
        return self._pages[max(0, bisect_right(self._page_starts, position) - 1)].number
