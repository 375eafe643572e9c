"""Cut a text into spans of at most a number of tokens, so that an edit changes few of them.

A span that fits is left whole. Any other is cut at one position into two parts, which are treated
the same way. Among the positions of the strongest kind that are far enough from both ends, the one
of the highest rank is chosen; its rank is a hash of the text that follows. So the cuts form a treap
whose priorities depend on the text there, not on its distance from the beginning: new text adds
positions of its own and leaves the order of the others as it was, and every span without the edit
is cut as before. Then small spans are joined to a neighbour if both fit into one chunk, across
the weakest cuts first; this too depends on neighbours only.

An edit can still change: the chunk that holds it; a neighbour that is joined to it, or no longer
is; and, if a new position has the highest rank of a larger span, the chunks at that cut and at the
cut that it replaces.

Each level of cuts compares every rank once. As ranks are random, the expected number of levels
grows with the logarithm of the number of chunks; text that repeats itself has equal ranks, and
is cut into chunks from its beginning.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.boundaries import HEADINGS, Boundary, BoundaryReader
from ragctl.chunking.lines import Bools, Ints
from ragctl.chunking.tokens import TokenMap
from ragctl.records import Document

# Shares of the chunk size: the minimum that a cut leaves on either side, and the size below which
# a span is joined to a neighbour. Chosen by simulating edits: joining larger spans fills chunks
# better, but lets an edit change more of them. With these values none of 90,000 simulated edits
# changed more than four chunks (with 0.2 and 0.34, one in some thousands changed five), and chunks
# are 0.6 full on average.
MIN_PART_SHARE = 0.25
SMALL_SHARE = 0.25
HEADING_MIN_PART_SHARE = 1 / 8  # lower, so that short sections stay chunks of their own
HEADING_SMALL_SHARE = 1 / 8

# Kinds in the order in which they are tried, with the minimum share on either side (0: one token).
ORDER: tuple[tuple[Boundary, float], ...] = (
    *((heading, HEADING_MIN_PART_SHARE) for heading in HEADINGS),
    (Boundary.BLOCK, MIN_PART_SHARE),
    (Boundary.PART, MIN_PART_SHARE),
    (Boundary.LINE, MIN_PART_SHARE),
    (Boundary.SENTENCE, MIN_PART_SHARE),
    (Boundary.LOWER_SENTENCE, MIN_PART_SHARE),
    (Boundary.BLOCK, 0.0),
    (Boundary.ROW, 0.0),
    (Boundary.CLAUSE, MIN_PART_SHARE),
    (Boundary.ORPHAN, 0.0),
    (Boundary.WORD, MIN_PART_SHARE),
    (Boundary.PART, 0.0),
    (Boundary.LINE, 0.0),
    (Boundary.SENTENCE, 0.0),
    (Boundary.LOWER_SENTENCE, 0.0),
    (Boundary.CLAUSE, 0.0),
    (Boundary.WORD, 0.0),
    (Boundary.CHARACTER, MIN_PART_SHARE),
    (Boundary.CHARACTER, 0.0),
)
# A span may have this many tokens fewer by itself than within the whole text.
SLACK_TOKENS = 8


class Cut(NamedTuple):
    """A position at which a text is cut, and how strong a boundary it is."""

    position: int
    kind: Boundary
    rank: int


class Span(NamedTuple):
    """A span text[start:end], which begins with token `first` and ends before token `last`."""

    start: int
    end: int
    first: int
    last: int
    cut: Cut  # at its beginning
    step: int = 0  # index into the order to resume from: a kind absent here is absent in its parts
    tokens: int = 0  # the exact number, once counted


class Candidates:
    """The positions of one kind, with their tokens and ranks: sorted arrays of one shape."""

    def __init__(self, positions: Ints, tokens: Ints, ranks: NDArray[np.uint32]) -> None:
        # memoryviews, which bisect reads faster than arrays
        self._positions, self._tokens = positions.data, tokens.data
        self._ranks = ranks

    def highest(self, kind: Boundary, after: int, low: int, high: int, full: int) -> Cut | None:
        """Return the position of the highest rank, or None without a position in range.

        The position is after the character `after`, at one of the tokens `low` to `high`. Among
        equal ranks the last one up to token `full` is chosen, so that chunks are filled.
        """
        left = max(bisect_right(self._positions, after), bisect_left(self._tokens, low))
        right = bisect_right(self._tokens, high)
        if left >= right:
            return None
        best = left + int(self._ranks[left:right].argmax())
        # Equal ranks: the text repeats itself.
        if self._tokens[best] < full < high:
            near = bisect_right(self._tokens, full)
            best = near - 1 - int(self._ranks[best:near][::-1].argmax())
        return Cut(self._positions[best], kind, int(self._ranks[best]))


class Cutter:
    """Cuts one document into spans of at most `size` tokens."""

    def __init__(self, document: Document, tokens: TokenMap, size: int) -> None:
        self._document = document
        self._text = document.text
        self._map = tokens
        self._size = size
        self._candidates_by_kind: dict[Boundary, Candidates] = {}
        # The (start, end) for which words and characters are known.
        self._covered_spans: dict[Boundary, tuple[int, int]] = {}

    def spans(self) -> list[Span]:
        """Return the spans of the document's chunks, in order."""
        return self._join_small(list(self._cut_until_fit()))

    @cached_property
    def _boundaries(self) -> BoundaryReader:
        return BoundaryReader(self._document, self._fits)

    @cached_property
    def _applicable_order(self) -> list[tuple[Boundary, float]]:
        """ORDER without the kinds of headings that are not in the document."""
        levels = {heading.level for heading in self._document.headings}
        absent = {level for level in HEADINGS if level not in levels}
        if not levels:
            absent.add(Boundary.ORPHAN)
        return [(kind, share) for kind, share in ORDER if kind not in absent]

    def _cut_until_fit(self) -> Iterator[Span]:
        """Yield spans that fit, in order: the leaves of the tree of cuts."""
        start = len(self._text) - len(self._text.lstrip())
        end = len(self._text.rstrip())
        if start >= end:
            return
        first, last = self._map.at(start), self._map.at(end)
        stack = [Span(start, end, first, last, Cut(start, Boundary.HEADING_1, 0))]
        while stack:
            span = stack.pop()
            if span.last - span.first <= self._size + SLACK_TOKENS:
                tokens = self._map.exact(span.start, span.end)
                if tokens <= self._size:
                    yield span._replace(tokens=tokens)
                    continue
            cut, step = self._choose_cut(span)
            end = cut.position
            while self._text[end - 1].isspace():
                end -= 1
            start = self._boundaries.indentation(cut.position)
            stack.append(Span(start, span.end, self._map.at(start), span.last, cut, step))
            stack.append(Span(span.start, end, span.first, self._map.at(end), span.cut, step))

    def _join_small(self, leaves: list[Span]) -> list[Span]:
        """Return the spans with small ones joined to a neighbour, across the weakest cuts first."""
        spans: list[Span | None] = [*leaves]
        owner = list(range(len(leaves)))  # by the last leaf of a span: its index in `spans`
        after = [*range(1, len(leaves)), -1]  # by the first leaf of a span: that of the next span
        weakest = sorted(
            range(1, len(leaves)), key=lambda i: (-leaves[i].cut.kind, leaves[i].cut.rank, i)
        )
        for index in weakest:
            left, right = spans[owner[index - 1]], spans[index]
            assert left is not None
            assert right is not None
            small = HEADING_SMALL_SHARE if right.cut.kind in HEADINGS else SMALL_SHARE
            if min(left.tokens, right.tokens) >= small * self._size:
                continue
            if right.last - left.first > self._size + SLACK_TOKENS:
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

    def _choose_cut(self, span: Span) -> tuple[Cut, int]:
        """Return where to cut a span, and the index into the order at which that was found."""
        for step in range(span.step, len(self._applicable_order)):
            kind, share = self._applicable_order[step]
            inner = max(1, int(share * self._size))
            low, high = span.first + inner, span.last - inner
            if low > high:
                continue
            # Two tokens fewer: the indentation may be a token that begins before the span.
            full = span.first + self._size - 2
            cut = self._candidates(kind, span).highest(kind, span.cut.position, low, high, full)
            if cut is not None:
                return cut, step
        # A few grapheme clusters of many tokens each, or one that has to be cut.
        middle = span.start + (span.end - span.start + 1) // 2
        clusters = self._boundaries.characters(span.start, span.end)
        if len(clusters):
            middle = int(clusters[np.abs(clusters - middle).argmin()])
        return Cut(middle, Boundary.CHARACTER, 0), len(self._applicable_order)

    def _candidates(self, kind: Boundary, span: Span) -> Candidates:
        """Return the positions of a kind: in the whole text; words and characters in the span."""
        if kind in (Boundary.WORD, Boundary.CHARACTER):
            low, high = self._covered_spans.get(kind, (0, 0))
            if not low <= span.start < span.end <= high:
                self._covered_spans[kind] = (span.start, span.end)
                boundaries = self._boundaries
                read = boundaries.words if kind is Boundary.WORD else boundaries.characters
                self._candidates_by_kind[kind] = self._rank(kind, read(span.start, span.end))
        elif kind not in self._candidates_by_kind:
            self._candidates_by_kind[kind] = self._rank(kind, self._boundaries.positions(kind))
        return self._candidates_by_kind[kind]

    def _rank(self, kind: Boundary, positions: Ints) -> Candidates:
        return Candidates(
            positions, self._map.at_all(positions), self._boundaries.rank(kind, positions)
        )

    def _fits(self, starts: Ints, ends: Ints) -> Bools:
        """Return which spans text[starts[i]:ends[i]] have at most `size` tokens."""
        fits: Bools = self._map.at_all(ends) - self._map.at_all(starts) <= self._size
        return fits
