"""The lines of a document: indentation, gaps, fences, tables, items, wrapped lines."""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ragctl.records import Document

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.uint32]

_ALIKE = 6  # first characters that two rows of something share
_FIRST_WORD = 16  # characters of a line's first word that are measured
_WRAPPED = 32  # a shorter line is not a wrapped one
_AROUND = 4  # lines before and after one that say how wide its paragraph is

_BULLETS = "-*+•"
_DIGITS = "0123456789"


def among(codes: Codes, marks: str) -> Bools:
    """Which code points are one of some marks below U+2030."""
    return _table(marks).take(codes, mode="clip")


@cache
def _table(marks: str) -> Bools:
    table = np.zeros(0x2031, np.bool_)
    table[[ord(mark) for mark in marks]] = True
    return table


def windows(codes: Codes, size: int) -> Codes:
    """A view: row i is the `size` code points from i on."""
    step = codes.itemsize
    return np.ndarray((len(codes) - size + 1, size), codes.dtype, codes, 0, (step, step))


class Lines:
    """The lines of a document that hold more than white space, as parallel arrays.

    `solid`: the characters that are not white space, and the text's end.
    """

    def __init__(self, document: Document, codes: Codes, space: Bools, solid: Ints) -> None:
        length = len(document.text)
        breaks = (codes[:length] == ord("\n")).nonzero()[0]
        starts = np.concatenate(([0], breaks + 1))
        ends = np.concatenate((breaks, [length]))
        first = solid[solid.searchsorted(starts)]
        kept = (first < ends).nonzero()[0]
        self.starts: Ints = starts[kept]
        self.ends: Ints = ends[kept]
        self.first: Ints = first[kept]  # first character that is not white space
        self.indent: Ints = self.first - self.starts
        self.gap: Bools = np.empty(len(kept), np.bool_)  # an empty line stands before it
        self.gap[:1] = kept[:1] > 1
        self.gap[1:] = kept[1:] - kept[:-1] > 1
        self.lead = codes[self.first]
        none = np.zeros(len(kept), np.bool_)
        self.fence: Bools = none  # ``` or ~~~, and what stands between
        self.mark: Bools = none  # the ``` or ~~~ alone
        self.table: Bools = none
        self.item: Bools = none
        if document.kind == "markdown":
            tick = (self.lead == ord("`")) | (self.lead == ord("~"))
            ticks = (tick & (self.lead == codes[self.first + 1])).nonzero()[0]
            if len(ticks):
                self.fence, self.mark = none.copy(), none.copy()
                self._fences(document.text, ticks)
        if document.kind != "code":
            self.table = (self.lead == ord("|")) & ~self.fence
            self.item = self._items(codes, space) & ~self.fence
        self.framed = bool((self.fence | self.table).any())

    def _fences(self, text: str, candidates: Ints) -> None:
        opened, fence = -1, ""
        for line in candidates.tolist():
            stripped = text[self.first[line] : self.ends[line]].rstrip()
            ticks = len(stripped) - len(stripped.lstrip(stripped[0]))
            rest = stripped[ticks:]
            if opened >= 0 and not rest and stripped.startswith(fence):
                self.fence[opened : line + 1] = self.mark[line] = True
                opened = -1
            elif ticks >= 3 and stripped[0] not in rest and (opened < 0 or rest):
                # "```python" inside of a fence: more likely one before was never closed.
                if opened >= 0:
                    self.mark[opened] = False
                self.mark[line] = True
                opened, fence = line, stripped[:ticks]
        if opened >= 0:
            self.fence[opened:] = True

    def _items(self, codes: Codes, space: Bools) -> Bools:
        """Lines that begin with a bullet, or with a number of one or two digits."""
        found = np.zeros(len(self.lead), np.bool_)
        few = among(self.lead, _BULLETS + _DIGITS).nonzero()[0]
        if len(few):
            one = self.first[few]
            two, three = one + 1, one + 2
            short = among(codes[two], ".)") & space[three]
            long = among(codes[three], ".)") & space[one + 3]
            bullet = among(codes[one], _BULLETS)
            found[few] = np.where(bullet, space[two], short | long)
        return found

    def wrapped(self, codes: Codes, kinds: NDArray[np.uint8]) -> Bools:
        """Lines that go on a paragraph: their first word had no room on the line before.

        "No room" is judged by the longest of the lines around. Lines of one
        length, or with one beginning, are rows of something.
        """
        length = self.ends - self.starts
        widest, narrowest = _around(length, np.maximum), _around(length, np.minimum)
        # A word ends at any mark, and before Chinese or Japanese.
        stops = np.append(((kinds != 0) | (codes >= 0x2E80)).nonzero()[0], len(codes))
        word = stops[stops.searchsorted(self.first + 1)] - self.first
        previous = np.concatenate(([0], length[:-1]))
        beginnings = windows(codes, _ALIKE)[self.first]
        alike = np.concatenate(([False], (beginnings[1:] == beginnings[:-1]).all(axis=1)))
        full = (previous + 1 + np.minimum(word, _FIRST_WORD) > widest) & (previous >= _WRAPPED)
        return full & (widest > narrowest) & ~alike & ~self.gap


def _around(values: Ints, best: Callable[[Ints, Ints], Ints]) -> Ints:
    """The best of each value and the four before and after it."""
    found = np.concatenate((values[:1].repeat(_AROUND), values, values[-1:].repeat(_AROUND)))
    for step in (1, 2, 4, 1):  # of 2, of 4, of 8, of 9
        found = best(found[:-step], found[step:])
    return found
