"""The lines of a document as numpy arrays: indentation, gaps, fences, tables, list items.

Array types of this package: `Ints` holds character offsets or line numbers, `Bools` one flag per
line or character, `Codes` the code points of the text.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ragctl.records import Document

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint32]

MIN_WRAPPED_CHARACTERS = 32  # the line after a shorter one does not continue it
MAX_FIRST_WORD_CHARACTERS = 16  # a longer first word of a line counts as this long
COMMON_PREFIX_CHARACTERS = 6  # two lines that share as many are rows of a list or table
NEIGHBOUR_LINES = 4  # on each side of a line; the longest gives the width of its paragraph

_BULLETS = "-*+•"
_DIGITS = "0123456789"


def is_one_of(codes: Codes, characters: str) -> Bools:
    """Return which code points are among `characters`, all of which are below U+2030."""
    return _table(characters).take(codes, mode="clip")


@cache
def _table(characters: str) -> Bools:
    table = np.zeros(0x2031, np.bool_)
    table[[ord(character) for character in characters]] = True
    return table


def windows(codes: Codes, size: int) -> Codes:
    """Return a view of shape (characters - size + 1, size): row i is codes[i:i + size]."""
    step = codes.itemsize
    return np.ndarray((len(codes) - size + 1, size), codes.dtype, codes, 0, (step, step))


class Lines:
    """The lines of a document that are not blank, as parallel arrays of shape (lines,).

    Attributes:
        starts: offset of each line.
        ends: offset of its line end.
        first: offset of its first character that is not white space.
        indent: number of characters before that.
        lead: code point of the character at `first`.
        after_gap: whether a blank line precedes it.
        in_fence: whether it is in a fenced code block, including the lines of the fence.
        is_fence: whether it is a line of ``` or ~~~.
        in_table: whether it is a row of a pipe table.
        is_item: whether it begins a list item.
    """

    def __init__(self, document: Document, codes: Codes, space: Bools, solid: Ints) -> None:
        """Read the lines, in time linear in the text.

        Args:
            document: the document.
            codes: code points of its text, with a padding of zeros, shape (characters + padding,).
            space: which of them are white space, same shape.
            solid: offsets of the characters that are not white space, then the text's length.
        """
        length = len(document.text)
        breaks = (codes[:length] == ord("\n")).nonzero()[0]
        starts = np.concatenate(([0], breaks + 1))
        ends = np.concatenate((breaks, [length]))
        first = solid[solid.searchsorted(starts)]
        kept = (first < ends).nonzero()[0]
        self.starts: Ints = starts[kept]
        self.ends: Ints = ends[kept]
        self.first: Ints = first[kept]
        self.indent: Ints = self.first - self.starts
        self.after_gap: Bools = np.empty(len(kept), np.bool_)
        self.after_gap[:1] = kept[:1] > 1
        self.after_gap[1:] = kept[1:] - kept[:-1] > 1
        self.lead: Codes = codes[self.first]
        none = np.zeros(len(kept), np.bool_)
        self.in_fence: Bools = none
        self.is_fence: Bools = none
        self.in_table: Bools = none
        self.is_item: Bools = none
        if document.kind == "markdown":
            tick = (self.lead == ord("`")) | (self.lead == ord("~"))
            ticks = (tick & (self.lead == codes[self.first + 1])).nonzero()[0]
            if len(ticks):
                self.in_fence, self.is_fence = none.copy(), none.copy()
                self._find_fences(document.text, ticks)
        if document.kind != "code":
            self.in_table = (self.lead == ord("|")) & ~self.in_fence
            self.is_item = self._items(codes, space) & ~self.in_fence
        self.has_fence_or_table = bool((self.in_fence | self.in_table).any())

    def _find_fences(self, text: str, candidates: Ints) -> None:
        """Set `in_fence` and `is_fence`; `candidates` are the lines that begin with two ticks."""
        opened, fence = -1, ""
        for line in candidates.tolist():
            stripped = text[self.first[line] : self.ends[line]].rstrip()
            ticks = len(stripped) - len(stripped.lstrip(stripped[0]))
            rest = stripped[ticks:]
            if opened >= 0 and not rest and stripped.startswith(fence):
                self.in_fence[opened : line + 1] = self.is_fence[line] = True
                opened = -1
            elif ticks >= 3 and stripped[0] not in rest and (opened < 0 or rest):
                # "```python" within a fence: the open fence was most likely never closed.
                if opened >= 0:
                    self.is_fence[opened] = False
                self.is_fence[line] = True
                opened, fence = line, stripped[:ticks]
        if opened >= 0:
            self.in_fence[opened:] = True

    def _items(self, codes: Codes, space: Bools) -> Bools:
        """Return the lines that begin with a bullet, or with a number of one or two digits."""
        items = np.zeros(len(self.lead), np.bool_)
        candidates = is_one_of(self.lead, _BULLETS + _DIGITS).nonzero()[0]
        if len(candidates):
            one = self.first[candidates]
            two, three = one + 1, one + 2
            one_digit = is_one_of(codes[two], ".)") & space[three]
            two_digits = is_one_of(codes[three], ".)") & space[one + 3]
            bullet = is_one_of(codes[one], _BULLETS)
            items[candidates] = np.where(bullet, space[two], one_digit | two_digits)
        return items

    def wrapped(self, codes: Codes, classes: NDArray[np.uint8]) -> Bools:
        """Return the lines that continue a paragraph: their first word did not fit before.

        The width of the paragraph is that of the longest line around. Lines of one length, or
        with the same beginning, are rows of a list or table and not wrapped.
        """
        length = self.ends - self.starts
        widest = _over_neighbours(length, np.maximum)
        narrowest = _over_neighbours(length, np.minimum)
        # A word ends at white space and punctuation, and before Chinese or Japanese.
        stops = np.append(((classes != 0) | (codes >= 0x2E80)).nonzero()[0], len(codes))
        word = stops[stops.searchsorted(self.first + 1)] - self.first
        previous = np.concatenate(([0], length[:-1]))
        beginnings = windows(codes, COMMON_PREFIX_CHARACTERS)[self.first]
        alike = np.concatenate(([False], (beginnings[1:] == beginnings[:-1]).all(axis=1)))
        full = previous + 1 + np.minimum(word, MAX_FIRST_WORD_CHARACTERS) > widest
        full &= previous >= MIN_WRAPPED_CHARACTERS
        return full & (widest > narrowest) & ~alike & ~self.after_gap


def _over_neighbours(values: Ints, choose: Callable[[Ints, Ints], Ints]) -> Ints:
    """Return, for each line, the maximum or minimum over it and NEIGHBOUR_LINES on each side."""
    reduced = np.concatenate(
        (values[:1].repeat(NEIGHBOUR_LINES), values, values[-1:].repeat(NEIGHBOUR_LINES))
    )
    for step in (1, 2, 4, 1):  # over 2 lines, then 4, 8, 9
        reduced = choose(reduced[:-step], reduced[step:])
    return reduced
