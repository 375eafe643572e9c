"""Cuts a text into spans that fit a budget of tokens, so that an edit stays local.

A span that fits is a chunk. Any other is cut at one place into two, and each
part is treated alike. Among the places of the strongest kind that lie far
enough from both ends, the one with the highest rank is taken: a hash of the
text that follows it. So the places form a treap ordered by what they say, not
by how far they lie from the top. New text adds its own places and changes the
rank of no other: every span that does not hold the edit is cut as before. Only
the last spans on the way down to the edit can change, where its length decides
what fits and what lies far enough from the ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.places import HEADINGS, Bools, Ints, Place, Reader
from ragctl.chunking.tokens import TokenMap
from ragctl.records import Document

# Kinds in the order in which they are tried, with the least part of the budget
# that a cut must leave on either side (0: one token).
ORDER: tuple[tuple[Place, float], ...] = (
    *((heading, 0.125) for heading in HEADINGS),
    (Place.BLOCK, 0.25),
    (Place.PART, 0.25),
    (Place.LINE, 0.25),
    (Place.SENTENCE, 0.25),
    (Place.BLOCK, 0.0),
    (Place.ROW, 0.0),
    (Place.CLAUSE, 0.25),
    (Place.ORPHAN, 0.0),
    (Place.WORD, 0.25),
    (Place.PART, 0.0),
    (Place.LINE, 0.0),
    (Place.SENTENCE, 0.0),
    (Place.CLAUSE, 0.0),
    (Place.WORD, 0.0),
    (Place.CHARACTER, 0.25),
    (Place.CHARACTER, 0.0),
)
# Tokens by which a span's share of the whole text's tokens may miss its own count.
SLACK = 8


@dataclass(frozen=True, slots=True)
class Tier:
    """The places of one kind: their characters, tokens and ranks, in text order."""

    places: Ints
    tokens: Ints
    ranks: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int
    first: int  # token at start
    last: int  # token at end
    exact: int = 0  # tokens, once counted


class Cutter:
    """Cuts one document. `spans()` gives its chunks' spans in order."""

    def __init__(self, document: Document, tokens: TokenMap, size: int) -> None:
        self._text = document.text
        self._document = document
        self._map = tokens
        self._size = size
        self._tiers: dict[Place, Tier] = {}
        self._fine: dict[Place, tuple[int, int]] = {}  # the span that a fine tier covers
        self._read: Reader | None = None

    @property
    def reader(self) -> Reader:
        if self._read is None:
            self._read = Reader(self._document)
        return self._read

    def spans(self) -> Iterator[Span]:
        text = self._text
        start = len(text) - len(text.lstrip())
        end = len(text.rstrip())
        if start >= end:
            return
        stack = [self._span(start, end)]
        while stack:
            span = stack.pop()
            if span.last - span.first <= self._size + SLACK:
                exact = self._map.exact(span.start, span.end)
                if exact <= self._size:
                    yield Span(span.start, span.end, span.first, span.last, exact)
                    continue
            place = self._cut(span)
            end = place
            while text[end - 1].isspace():
                end -= 1
            start = self.reader.indentation(place)
            stack.append(self._span(start, span.end))
            stack.append(self._span(span.start, end))

    def _span(self, start: int, end: int) -> Span:
        return Span(start, end, self._map.at(start), self._map.at(end))

    def _cut(self, span: Span) -> int:
        for kind, part in ORDER:
            tier = self._tier(kind, span)
            if not len(tier.places):
                continue
            margin = max(1, int(part * self._size))
            place = self._best(tier, span, margin)
            if place is not None:
                return place
        # Fewer tokens than the parts would need: a lone cluster of combining characters.
        return span.start + (span.end - span.start + 1) // 2

    def _best(self, tier: Tier, span: Span, margin: int) -> int | None:
        """The place of highest rank at least `margin` tokens inside of a span.

        Of a span of up to three chunks' length, places that leave no need for
        a further chunk go before the others.
        """
        length = span.last - span.first
        size = self._size - 2
        lowest, highest = span.first + margin, span.last - margin
        if length <= 2 * size:
            windows = [(span.last - size, span.first + size)]
        elif length <= 3 * size:
            windows = [
                (span.last - 2 * size, span.first + size),
                (span.last - size, span.first + 2 * size),
            ]
        else:
            windows = []
        for low, high in windows:
            if (
                found := self._highest(tier, span, max(low, lowest), min(high, highest))
            ) is not None:
                return found
        return self._highest(tier, span, lowest, highest)

    def _highest(self, tier: Tier, span: Span, low: int, high: int) -> int | None:
        if low > high:
            return None
        left = int(tier.tokens.searchsorted(low))
        right = int(tier.tokens.searchsorted(high, "right"))
        while left < right and tier.places[left] <= span.start:
            left += 1
        while left < right and tier.places[right - 1] >= span.end:
            right -= 1
        if left >= right:
            return None
        ranks = tier.ranks[left:right]
        best = left + int(ranks.argmax())
        # Text that repeats itself has equal ranks: fill chunks from its beginning.
        near = int(tier.tokens.searchsorted(span.first + self._size - 2, "right"))
        if best < near:
            equal = np.flatnonzero(tier.ranks[best : min(near, right)] == tier.ranks[best])
            best += int(equal[-1])
        return int(tier.places[best])

    def _tier(self, kind: Place, span: Span) -> Tier:
        if kind in (Place.WORD, Place.CHARACTER):
            low, high = self._fine.get(kind, (0, 0))
            if not low <= span.start < span.end <= high:
                self._fine[kind] = (span.start, span.end)
                read = self.reader.words if kind is Place.WORD else self.reader.characters
                self._tiers[kind] = self._make(read(span.start, span.end))
        elif kind not in self._tiers:
            if kind is Place.SENTENCE:
                self._tiers[kind] = self._make(self.reader.sentences())
            elif kind is Place.CLAUSE:
                self._tiers[kind] = self._make(self.reader.clauses())
            else:
                found = self.reader.structure(self._fits)
                for each in (
                    *HEADINGS,
                    Place.BLOCK,
                    Place.PART,
                    Place.LINE,
                    Place.ROW,
                    Place.ORPHAN,
                ):
                    self._tiers[each] = self._make(found.get(each, np.zeros(0, np.int64)))
        return self._tiers[kind]

    def _make(self, places: Ints) -> Tier:
        return Tier(places, self._map.at_all(places), self.reader.rank(places))

    def _fits(self, starts: Ints, ends: Ints) -> Bools:
        return self._map.at_all(ends) - self._map.at_all(starts) <= self._size
