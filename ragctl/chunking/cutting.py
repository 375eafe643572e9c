"""Cuts a text into spans that fit a budget of tokens, so that an edit stays local.

A span that fits is left whole. Any other is cut at one place into two, and
each part is treated alike. Among the places of the strongest kind that lie far
enough from both ends, the one of the highest rank is taken, where the rank is a
hash of the text that follows the place. So the cuts form a treap ordered by
what the text says there, not by how far it lies from the top: new text adds
places of its own and changes the order of no others, and every span that does
not hold the edit is cut as before. Then small spans are joined to a neighbour
where both fit one chunk, across the weakest cuts first, which looks no further
than the neighbours either.

What an edit can still change: the chunk that holds it; a neighbour that is
joined to it or no longer is; and, when one of the new places happens to have
the highest rank of a larger span, the chunks at that cut and at the one that
it displaced.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.boundaries import HEADINGS, Boundary, Reader
from ragctl.chunking.lines import Bools, Ints
from ragctl.chunking.tokens import TokenMap
from ragctl.records import Document

# Parts of the budget: what a cut leaves on either side at least, and what is
# small enough to be joined to a neighbour. Chosen by simulating edits: larger
# joins fill chunks better, and let an edit change more of them. At these, none
# of 90,000 simulated edits changed more than four chunks (at 0.2 and 0.34, one
# in some thousands changed five), and chunks are 0.6 full on average.
MARGIN = 0.25
SMALL = 0.25
HEADING_MARGIN = 1 / 8  # short sections stay chunks of their own
HEADING_SMALL = 1 / 8

# Kinds in the order in which they are tried, with their margins (0: one token).
ORDER: tuple[tuple[Boundary, float], ...] = (
    *((heading, HEADING_MARGIN) for heading in HEADINGS),
    (Boundary.BLOCK, MARGIN),
    (Boundary.PART, MARGIN),
    (Boundary.LINE, MARGIN),
    (Boundary.SENTENCE, MARGIN),
    (Boundary.BLOCK, 0.0),
    (Boundary.ROW, 0.0),
    (Boundary.CLAUSE, MARGIN),
    (Boundary.ORPHAN, 0.0),
    (Boundary.WORD, MARGIN),
    (Boundary.PART, 0.0),
    (Boundary.LINE, 0.0),
    (Boundary.SENTENCE, 0.0),
    (Boundary.CLAUSE, 0.0),
    (Boundary.WORD, 0.0),
    (Boundary.CHARACTER, MARGIN),
    (Boundary.CHARACTER, 0.0),
)
# Tokens by which a span's share of the whole text's tokens may exceed its own count.
SLACK = 8


class Cut(NamedTuple):
    """Where a span begins, and how strong a place that is."""

    place: int
    kind: Boundary
    rank: int


class Span(NamedTuple):
    """text[start:end], from token `first` to `last` of the whole text."""

    start: int
    end: int
    first: int
    last: int
    cut: Cut
    step: int = 0  # of the order: what the whole has no place for, its parts have none for
    tokens: int = 0  # exact, once counted


class Tier:
    """The places of one kind: their characters, tokens and ranks, in text order."""

    def __init__(self, places: Ints, tokens: Ints, ranks: NDArray[np.uint32]) -> None:
        # As memoryviews: what bisect reads faster than arrays.
        self._places, self._tokens = places.data, tokens.data
        self._ranks = ranks

    def highest(self, kind: Boundary, after: int, low: int, high: int, full: int) -> Cut | None:
        """The place of highest rank behind a character, from token `low` to token `high`."""
        left = max(bisect_right(self._places, after), bisect_left(self._tokens, low))
        right = bisect_right(self._tokens, high)
        if left >= right:
            return None
        best = left + int(self._ranks[left:right].argmax())
        # Text that repeats itself has equal ranks: fill chunks from its beginning.
        if self._tokens[best] < full < high:
            near = bisect_right(self._tokens, full)
            best = near - 1 - int(self._ranks[best:near][::-1].argmax())
        return Cut(self._places[best], kind, int(self._ranks[best]))


class Cutter:
    """Cuts one document into spans of at most `size` tokens."""

    def __init__(self, document: Document, tokens: TokenMap, size: int) -> None:
        self._document = document
        self._text = document.text
        self._map = tokens
        self._size = size
        self._tiers: dict[Boundary, Tier] = {}
        self._covered: dict[Boundary, tuple[int, int]] = {}  # by the tiers of words and characters

    def spans(self) -> list[Span]:
        """The spans of the document's chunks, in order."""
        return self._join(list(self._leaves()))

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._document, self._fits)

    @cached_property
    def _order(self) -> list[tuple[Boundary, float]]:
        """`ORDER` without the headings that this document has none of."""
        levels = {heading.level for heading in self._document.headings}
        none = {level for level in HEADINGS if level not in levels}
        if not levels:
            none.add(Boundary.ORPHAN)
        return [(kind, margin) for kind, margin in ORDER if kind not in none]

    def _leaves(self) -> Iterator[Span]:
        start = len(self._text) - len(self._text.lstrip())
        end = len(self._text.rstrip())
        if start >= end:
            return
        first, last = self._map.at(start), self._map.at(end)
        stack = [Span(start, end, first, last, Cut(start, Boundary.HEADING_1, 0))]
        while stack:
            span = stack.pop()
            if span.last - span.first <= self._size + SLACK:
                tokens = self._map.exact(span.start, span.end)
                if tokens <= self._size:
                    yield span._replace(tokens=tokens)
                    continue
            cut, step = self._cut(span)
            end = cut.place
            while self._text[end - 1].isspace():
                end -= 1
            start = self._reader.indentation(cut.place)
            stack.append(Span(start, span.end, self._map.at(start), span.last, cut, step))
            stack.append(Span(span.start, end, span.first, self._map.at(end), span.cut, step))

    def _join(self, leaves: list[Span]) -> list[Span]:
        """Small spans joined to neighbours, across the weakest cuts first."""
        spans: list[Span | None] = [*leaves]
        owner = list(range(len(leaves)))  # of a span's last leaf: where the span is kept
        after = [*range(1, len(leaves)), -1]  # of a span's first leaf: the next span's
        weakest = sorted(
            range(1, len(leaves)), key=lambda i: (-leaves[i].cut.kind, leaves[i].cut.rank, i)
        )
        for index in weakest:
            left, right = spans[owner[index - 1]], spans[index]
            assert left is not None
            assert right is not None
            small = HEADING_SMALL if right.cut.kind in HEADINGS else SMALL
            if min(left.tokens, right.tokens) >= small * self._size:
                continue
            if right.last - left.first > self._size + SLACK:
                continue
            tokens = self._map.exact(left.start, right.end)
            if tokens > self._size:
                continue
            keeper = owner[index - 1]
            spans[keeper] = left._replace(end=right.end, last=right.last, tokens=tokens)
            spans[index] = None
            after[keeper] = after[index]
            last = (after[keeper] if after[keeper] >= 0 else len(leaves)) - 1
            owner[last] = keeper
        return [span for span in spans if span is not None]

    def _cut(self, span: Span) -> tuple[Cut, int]:
        for step in range(span.step, len(self._order)):
            kind, margin = self._order[step]
            inner = max(1, int(margin * self._size))
            low, high = span.first + inner, span.last - inner
            if low > high:
                continue
            # Beyond the span's own beginning too: its indentation may be a token that lies before.
            full = span.first + self._size - 2
            cut = self._tier(kind, span).highest(kind, span.cut.place, low, high, full)
            if cut is not None:
                return cut, step
        # No character begins a token of its own: a few characters of many tokens each.
        middle = span.start + (span.end - span.start + 1) // 2
        return Cut(middle, Boundary.CHARACTER, 0), len(self._order)

    def _tier(self, kind: Boundary, span: Span) -> Tier:
        if kind in (Boundary.WORD, Boundary.CHARACTER):
            low, high = self._covered.get(kind, (0, 0))
            if not low <= span.start < span.end <= high:
                self._covered[kind] = (span.start, span.end)
                read = self._reader.words if kind is Boundary.WORD else self._reader.characters
                self._tiers[kind] = self._make(kind, read(span.start, span.end))
        elif kind not in self._tiers:
            self._tiers[kind] = self._make(kind, self._reader.places(kind))
        return self._tiers[kind]

    def _make(self, kind: Boundary, places: Ints) -> Tier:
        return Tier(places, self._map.at_all(places), self._reader.rank(kind, places))

    def _fits(self, starts: Ints, ends: Ints) -> Bools:
        fits: Bools = self._map.at_all(ends) - self._map.at_all(starts) <= self._size
        return fits
