"""Which lines of a document begin a block, a part of a block, a line or a row of its own."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.lines import Bools, Codes, Ints, Lines, is_one_of
from ragctl.records import Kind

Fits = Callable[[Ints, Ints], Bools]
"""Returns which spans text[starts[i]:ends[i]] fit into one chunk; arrays of shape (spans,)."""

_CLOSING = ")]}"  # a line of code that begins so ends a statement


class LineBoundaries:
    """The lines at which a document may be cut; every array has the shape (lines,).

    Each is computed when it is first needed, in a constant number of passes over the lines.
    """

    def __init__(
        self, kind: Kind, lines: Lines, codes: Codes, classes: NDArray[np.uint8], fits: Fits
    ) -> None:
        self._code = kind == "code"
        self._markdown = kind == "markdown"
        self._lines = lines
        self._codes = codes
        self._classes = classes
        self._fits = fits

    @cached_property
    def blocks(self) -> Bools:
        """Lines that begin a block: a paragraph, a table, a fence, a top-level definition."""
        lines = self._lines
        if self._code:
            blocks: Bools = lines.after_gap & (lines.indent == 0) & ~is_one_of(lines.lead, _CLOSING)
        elif lines.has_fence_or_table:
            blocks = (lines.after_gap & ~self._inside & ~self._nested) | self._edges
            blocks &= ~(self._inside & lines.is_fence)
        else:
            blocks = lines.after_gap & ~self._nested
        return blocks

    @property
    def parts(self) -> Bools:
        """Lines that begin a part of a block: a list item, a paragraph within a fence."""
        return self._inner[0]

    @property
    def lines(self) -> Bools:
        """Other lines that do not continue a wrapped one: nested items, statements, rows."""
        return self._inner[1]

    @property
    def rows(self) -> Bools:
        """Lines of a table or fence that a chunk could hold whole."""
        return self._inner[2]

    @cached_property
    def _nested(self) -> Bools:
        """List items after a blank line, and paragraphs that belong to one."""
        lines = self._lines
        deep = lines.indent >= 2
        nested: Bools = lines.after_gap & lines.is_item & _previous(lines.is_item | deep)
        if self._markdown:
            nested |= lines.after_gap & deep & ~self._edges
        return nested

    @cached_property
    def _edges(self) -> Bools:
        """Lines that begin a table or a fence, or follow one."""
        fence, table = self._lines.in_fence, self._lines.in_table
        if not self._lines.has_fence_or_table:
            return fence
        mark = fence & self._lines.is_fence
        edges = (mark & ~_previous(fence)) | (~fence & _previous(fence))
        edges |= (mark & _previous(mark)) | (table != _previous(table))
        return edges

    @cached_property
    def _inside(self) -> Bools:
        return (self._lines.in_fence | self._lines.in_table) & ~self._edges

    @cached_property
    def _inner(self) -> tuple[Bools, Bools, Bools]:
        return self._inner_code() if self._code else self._inner_prose()

    def _inner_code(self) -> tuple[Bools, Bools, Bools]:
        lines = self._lines
        closing = is_one_of(lines.lead, _CLOSING)
        top = (lines.indent == 0) & ~closing
        parts = (lines.after_gap | (top & _previous(lines.indent > 0))) & ~self.blocks
        return parts, ~closing & ~self.blocks & ~parts, np.zeros_like(parts)

    def _inner_prose(self) -> tuple[Bools, Bools, Bools]:
        lines, blocks, inside = self._lines, self.blocks, self._inside
        gap, item, fence = lines.after_gap, lines.is_item, lines.in_fence
        kept = inside & self._held_whole() if lines.has_fence_or_table else inside
        # There is nothing to cut right after an opening ``` and right before the closing one.
        inside = inside & ~lines.is_fence & ~_previous(lines.is_fence & self._edges)
        nested = self._nested & ~inside
        parts = nested | (gap & inside & ~kept) | (item & (lines.indent == 0) & ~blocks)
        wrapped = lines.wrapped(self._codes, self._classes)
        others = (inside & ~kept) | item | ~(gap | wrapped | fence)
        others &= ~blocks & ~parts & ~(kept | (fence & ~inside))
        return parts & ~blocks, others, kept & inside

    def _held_whole(self) -> Bools:
        """Return the lines of tables and fences that a chunk could hold whole."""
        lines, edges = self._lines, self._edges
        firsts = np.union1d(edges.nonzero()[0], [0])
        lasts = np.append(firsts[1:], len(edges)) - 1
        whole: Bools = self._fits(lines.first[firsts], lines.ends[lasts])
        held: Bools = np.repeat(whole, lasts - firsts + 1)
        return held


def _previous(values: Bools) -> Bools:
    """Return each line's value replaced by that of the line before it; False for the first."""
    previous = np.zeros_like(values)
    previous[1:] = values[:-1]
    return previous
