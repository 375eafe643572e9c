"""Chunks from the spans of a document: overlap, page and heading path of each."""

import re
from bisect import bisect_right

from ragctl.chunking.cutting import Cutter
from ragctl.chunking.tokens import TokenMap
from ragctl.records import Chunk, Document, Heading

# The overlap begins after a match of the first pattern that has one in reach.
_OVERLAP_STARTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"[.!?…؟۔।॥][\"')\]»”’*_`]*\s+(?=\S)|[。！？；][」』）”’]*\s*(?=[^\s\ufe00-\ufe0f])|\n\s*\n\s*(?=\S)",
        r"[,;:—–،؛]\s+(?=\S)|[，、：]\s*(?=\S)",
        r"\s(?=\S)",
        # Chinese, Japanese, Korean, but not a voice mark
        r"(?=\S)(?=[\u2e80-\u3098\u309b-\u9fff\uac00-\ud7a3\uf900-\ufaff])",
    )
)


def make_chunks(document: Document, size: int, overlap: int) -> list[Chunk]:
    """Return the chunks of a document; see `ragctl.chunking.split`."""
    if not document.text or document.text.isspace():
        return []
    tokens = TokenMap(document.text)
    context = _Context(document)
    chunks: list[Chunk] = []
    for span in Cutter(document, tokens, size - overlap).spans():
        start, exact = span.start, span.tokens
        if overlap and chunks:
            low = max(context.heading_start(start), chunks[0].start)
            start, exact = _start_of_overlap(tokens, low, start, span.end, size, overlap) or (
                start,
                exact,
            )
        chunks.append(
            Chunk(
                ordinal=len(chunks),
                start=start,
                end=span.end,
                text=document.text[start : span.end],
                tokens=exact,
                page=context.page(start),
                heading=context.heading(start),
            )
        )
    return chunks


def _start_of_overlap(
    tokens: TokenMap, low: int, start: int, end: int, size: int, overlap: int
) -> tuple[int, int] | None:
    """Return where a chunk with overlap begins, and its number of tokens.

    It begins at a sentence if one begins within `overlap` tokens before `start`, else at a clause,
    a word, or a Chinese character. None if there is none of them, or the chunk would exceed
    `size`. The overlap does not begin before `low`.
    """
    text = tokens.text
    low = max(low, int(tokens.starts[max(0, tokens.at(start) - overlap)]))
    if low >= start:
        return None
    # The character at `low` may itself begin a sentence or a word.
    back = max(0, low - 2)
    for pattern in _OVERLAP_STARTS:
        for match in pattern.finditer(text, back, start):
            begin = match.end()
            if low <= begin < start and tokens.exact(begin, len(text[:start].rstrip())) <= overlap:
                exact = tokens.exact(begin, end)
                if exact <= size:
                    return begin, exact
    return None


class _Context:
    """The pages and headings of a document by character offset, looked up in O(log n)."""

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
        """Return the start of the heading in force at a position, 0 before the first heading."""
        found = bisect_right(self._starts, position)
        return self._starts[found - 1] if found else 0

    def heading(self, position: int) -> tuple[str, ...]:
        """Return the heading path at a position."""
        found = bisect_right(self._starts, position)
        return self._paths[found - 1] if found else ()

    def page(self, position: int) -> int | None:
        """Return the number of the page at a position, None without pages."""
        if not self._pages:
            return None
        return self._pages[max(0, bisect_right(self._page_starts, position) - 1)].number
