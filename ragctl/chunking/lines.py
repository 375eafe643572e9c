"""The lines of a document: indentation, gaps, fences, tables, items, wrapped lines."""

import numpy as np
from numpy.typing import NDArray

from ragctl.records import Document

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ALIKE = 6  # first characters that two rows of something share
_FIRST_WORD = 16  # characters of a line's first word that are measured
_WRAPPED = 32  # a shorter line is not a wrapped one


class Lines:
    """The lines of a document that hold more than white space, as parallel arrays."""

    def __init__(self, document: Document, codes: NDArray[np.uint32], space: Bools) -> None:
        length = len(document.text)
        breaks = np.flatnonzero(codes[:length] == ord("\n"))
        starts = np.concatenate(([0], breaks + 1))
        ends = np.concatenate((breaks, [length]))
        first = starts.copy()
        indented = np.flatnonzero(space[starts])
        if len(indented):
            solid = np.append(np.flatnonzero(~space[:length]), length)
            first[indented] = solid[solid.searchsorted(starts[indented])]
        kept = np.flatnonzero(first < ends)
        self.starts: Ints = starts[kept]
        self.ends: Ints = ends[kept]
        self.first: Ints = first[kept]  # first character that is not white space
        self.indent: Ints = self.first - self.starts
        self.gap: Bools = np.diff(kept, prepend=0) > 1  # an empty line stands before it
        self.lead = codes[self.first]
        second, third = codes[self.first + 1], codes[self.first + 2]
        self.fence = np.zeros(len(kept), np.bool_)  # ``` or ~~~, and what stands between
        self.mark = np.zeros(len(kept), np.bool_)  # the ``` or ~~~ alone
        if document.kind == "markdown":
            tick = (self.lead == ord("`")) | (self.lead == ord("~"))
            self._fences(document.text, np.flatnonzero(tick & (self.lead == second)))
        prose = ~self.fence & (document.kind != "code")
        self.table: Bools = (self.lead == ord("|")) & prose
        bullet = (
            np.isin(self.lead, np.array([ord(mark) for mark in "-*+•"])) & space[self.first + 1]
        )
        digit = (self.lead >= ord("0")) & (self.lead <= ord("9"))
        number = digit & (
            (((second == ord(".")) | (second == ord(")"))) & space[self.first + 2])
            | (((third == ord(".")) | (third == ord(")"))) & space[self.first + 3])
        )
        self.item: Bools = (bullet | number) & prose

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

    def wrapped(self, codes: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> Bools:
        """Lines that go on a paragraph: their first word had no room on the line before.

        "No room" is judged by the longest of the lines around. Lines of one
        length, or with one beginning, are rows of something.
        """
        count = len(self.starts)
        length = self.ends - self.starts
        widest, narrowest = length.copy(), length.copy()
        for shift in range(1, min(5, count)):
            for into, out in ((np.s_[shift:], np.s_[:-shift]), (np.s_[:-shift], np.s_[shift:])):
                np.maximum(widest[into], length[out], out=widest[into])
                np.minimum(narrowest[into], length[out], out=narrowest[into])
        word = np.ones(count, np.int64)
        going = np.ones(count, np.bool_)
        for shift in range(1, _FIRST_WORD):
            at = self.first + shift
            going &= (kinds[at] == 0) & (codes[at] < 0x2E80)  # below: no Chinese or Japanese
            word += going
        previous = np.concatenate(([0], length[:-1]))
        beginnings = np.lib.stride_tricks.sliding_window_view(codes, _ALIKE)[self.first]
        alike = np.concatenate(([False], (beginnings[1:] == beginnings[:-1]).all(axis=1)))
        full = (previous + 1 + word > widest) & (previous >= _WRAPPED)
        return full & (widest > narrowest) & ~alike & ~self.gap
