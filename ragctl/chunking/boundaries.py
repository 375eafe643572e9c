"""Where a text may be cut, by kind, strongest first.

A place is the character at which the later part would begin, never a white
space. All of it is read off arrays of code points, one pass per question: a
regular expression per question would cost more than tokenising the text.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.characters import (
    CLOSER,
    COMMA,
    FULL_COMMA,
    FULL_STOP,
    JOINER,
    SPACE,
    STOP,
    classes,
    joined,
    lower,
)
from ragctl.chunking.lines import Bools, Ints, Lines, among, windows
from ragctl.records import Document


class Boundary(IntEnum):
    """Kinds of places."""

    HEADING_1 = 1  # before a heading, by its level
    HEADING_2 = 2
    HEADING_3 = 3
    HEADING_4 = 4
    HEADING_5 = 5
    HEADING_6 = 6
    BLOCK = 7  # paragraph, page, table, fence; top level of source code
    PART = 8  # item of a list; empty line inside of a fence or a function
    LINE = 9  # line that is not a wrapped one: row, nested item, statement
    SENTENCE = 10
    ROW = 11  # line of a table or a fence that would fit a chunk whole
    CLAUSE = 12
    ORPHAN = 13  # between a heading and what it heads
    WORD = 14
    CHARACTER = 15


HEADINGS = tuple(Boundary)[:6]

_RANKED = 32  # characters from a place on that decide its rank among its kind
_REACH = {Boundary.WORD: 12, Boundary.CHARACTER: 12}  # fewer characters where places are dense
_BATCH = 1 << 14  # places ranked at a time


@cache
def _weights() -> NDArray[np.uint32]:
    generator = np.random.Generator(np.random.PCG64(200))
    return generator.integers(0, 1 << 32, _RANKED, dtype=np.uint32) | np.uint32(1)


_RULES = "=-~^\"'`#*+_:."  # underline a heading


def _before(values: Bools) -> Bools:
    """Each line's value replaced by that of the line before it."""
    before = np.zeros_like(values)
    before[1:] = values[:-1]
    return before


def _distinct(places: Ints) -> Ints:
    """Each of some sorted places once."""
    if len(places) < 2:
        return places
    return places[np.concatenate(([True], places[1:] != places[:-1]))]


class Reader:
    """Reads the places of one document, each kind when it is asked for.

    `fits(starts, ends)` says which spans of characters a chunk could hold
    whole: the lines of such a table or fence are `ROW`, of others `LINE`.
    """

    def __init__(self, document: Document, fits: Callable[[Ints, Ints], Bools]) -> None:
        self.document = document
        self.length = len(document.text)
        self._fits = fits
        # The padding lets every look to the right stay inside of the array.
        padded = document.text + "\0" * _RANKED
        self._codes = np.frombuffer(padded.encode("utf-32-le"), np.uint32)
        self._kinds = classes().take(self._codes)
        self._space: Bools = self._kinds == SPACE
        solid = (~self._space[: self.length]).nonzero()[0]
        self._solid = np.concatenate((solid, [self.length]))
        self._lines = Lines(document, self._codes, self._space, self._solid)

    def rank(self, kind: Boundary, places: Ints) -> NDArray[np.uint32]:
        """A hash of the text from each place on; the highest is cut first.

        It takes up to 32 characters of the place's line (12 where places are
        dense), so that an edit gives new ranks to the places right before it at
        most; only of headings, whose titles sections share, it takes what
        follows too. It knows nothing of what stands before the place, so new
        text elsewhere leaves the order of the places as it was.
        """
        reach = _REACH.get(kind, _RANKED)
        rows, weights, column = windows(self._codes, reach), _weights()[:reach], np.arange(reach)
        ranks = np.empty(len(places), np.uint32)
        for at in range(0, len(places), _BATCH):
            some = places[at : at + _BATCH]
            window = rows[some]
            if kind not in HEADINGS:
                line = self._lines.starts.searchsorted(some, "right") - 1
                window *= column < (self._lines.ends[line] - some)[:, None]
            ranks[at : at + _BATCH] = window @ weights
        ranks ^= ranks >> np.uint32(16)
        ranks *= np.uint32(0x85EBCA6B)
        ranks ^= ranks >> np.uint32(13)
        if kind is Boundary.CHARACTER:
            # Lowest, so that a cluster is cut only where nothing else can be.
            bound = joined()[self._codes[places]] | (self._codes[places - 1] == JOINER)
            ranks[bound] = 0
        return ranks

    def indentation(self, place: int) -> int:
        """Where the line of a first character starts in source code, else the place itself."""
        if self.document.kind == "text" or not place or self.document.text[place - 1] not in " \t":
            return place
        line = int(self._lines.starts.searchsorted(place, "right")) - 1
        if self._lines.first[line] != place:
            return place
        kept = self.document.kind == "code" or self._lines.fence[line]
        return int(self._lines.starts[line]) if kept else place

    def places(self, kind: Boundary) -> Ints:
        """The places of a kind in the whole text, but for words and characters."""
        if kind in HEADINGS:
            return self._allowed(kind, self._headings(kind))
        if kind is Boundary.ORPHAN:
            return self._allowed(kind, _distinct(self._headed[1]))
        if kind is Boundary.SENTENCE:
            return self._allowed(kind, self._sentences())
        if kind is Boundary.CLAUSE:
            return self._allowed(kind, self._clauses())
        places = self._lines.first[self._block if kind is Boundary.BLOCK else self._inner[kind]]
        if kind is Boundary.BLOCK and self.document.pages:
            pages = np.array([page.start for page in self.document.pages], np.int64)
            places = np.union1d(places, self._onto_text(pages))
        return self._allowed(kind, places)

    def words(self, start: int, end: int) -> Ints:
        """First characters of words inside of a span."""
        space = self._space[start:end]
        return (space[:-1] & ~space[1:]).nonzero()[0] + (start + 1)

    def characters(self, start: int, end: int) -> Ints:
        """Characters inside of a span that are not white space."""
        return (~self._space[start + 1 : end]).nonzero()[0] + (start + 1)

    @cached_property
    def _block(self) -> Bools:
        """Lines that begin a block."""
        lines = self._lines
        if self.document.kind == "code":
            block: Bools = lines.gap & (lines.indent == 0) & ~among(lines.lead, ")]}")
        elif lines.framed:
            block = (lines.gap & ~self._inside & ~self._nested) | self._edge
            block &= ~(self._inside & lines.mark)
        else:
            block = lines.gap & ~self._nested
        return block

    @cached_property
    def _nested(self) -> Bools:
        """Items of a list, and what belongs to one, behind an empty line."""
        lines = self._lines
        deep = lines.indent >= 2
        nested: Bools = lines.gap & lines.item & _before(lines.item | deep)
        if self.document.kind == "markdown":
            nested |= lines.gap & deep & ~self._edge
        return nested

    @cached_property
    def _edge(self) -> Bools:
        """Lines that begin a table or a fence, or follow one."""
        fence, table = self._lines.fence, self._lines.table
        if not self._lines.framed:
            return fence
        mark = fence & self._lines.mark
        edge = (mark & ~_before(fence)) | (~fence & _before(fence))
        edge |= (mark & _before(mark)) | (table != _before(table))
        return edge

    @cached_property
    def _inside(self) -> Bools:
        return (self._lines.fence | self._lines.table) & ~self._edge

    @cached_property
    def _inner(self) -> dict[Boundary, Bools]:
        """Lines that begin a part of a block, a line of it, a row of what is held whole."""
        return self._inner_code() if self.document.kind == "code" else self._inner_prose()

    def _inner_code(self) -> dict[Boundary, Bools]:
        lines = self._lines
        closing = among(lines.lead, ")]}")
        top = (lines.indent == 0) & ~closing
        part = (lines.gap | (top & _before(lines.indent > 0))) & ~self._block
        none = np.zeros_like(part)
        return {
            Boundary.PART: part,
            Boundary.LINE: ~closing & ~self._block & ~part,
            Boundary.ROW: none,
        }

    def _inner_prose(self) -> dict[Boundary, Bools]:
        lines, block, edge, inside = self._lines, self._block, self._edge, self._inside
        gap, item, fence = lines.gap, lines.item, lines.fence
        kept = inside & self._held_whole() if lines.framed else inside
        # Right after ``` and right before the ``` that closes it there is nothing to cut.
        inside = inside & ~lines.mark & ~_before(lines.mark & edge)
        nested = self._nested & ~inside
        part = nested | (gap & inside & ~kept) | (item & (lines.indent == 0) & ~block)
        line = (inside & ~kept) | item | ~(gap | lines.wrapped(self._codes, self._kinds) | fence)
        line &= ~block & ~part & ~(kept | (fence & ~inside))
        return {Boundary.PART: part & ~block, Boundary.LINE: line, Boundary.ROW: kept & inside}

    def _held_whole(self) -> Bools:
        """Lines of tables and fences that a chunk could hold whole."""
        lines, edge = self._lines, self._edge
        firsts = np.union1d(edge.nonzero()[0], [0])
        lasts = np.append(firsts[1:], len(edge)) - 1
        whole: Bools = self._fits(lines.first[firsts], lines.ends[lasts])
        held: Bools = np.repeat(whole, lasts - firsts + 1)
        return held

    def _sentences(self) -> Ints:
        """Beginnings of sentences, but for the first of a paragraph."""
        stop = (self._kinds >= STOP).nonzero()[0]
        own = self._kinds[stop] == FULL_STOP
        at = stop + 1
        for _ in range(4):
            at += self._kinds[at] >= CLOSER
        spaced = self._space[at]
        self._pass_space(at)
        # "J. Smith", "e.g. this", "3. May": a point that ends no sentence.
        short = (self._codes[stop] == ord(".")) & ~self._two_letters(stop)
        good = (spaced & ~lower()[self._codes[at]] & ~short) | own
        return _distinct(at[good & ~self._space[at]])

    def _clauses(self) -> Ints:
        """First characters after commas, colons, dashes."""
        at = ((self._kinds == COMMA) | (self._kinds == FULL_COMMA)).nonzero()[0]
        own = self._kinds[at] == FULL_COMMA
        at += 1
        at += self._kinds[at] == CLOSER
        spaced = self._space[at]
        self._pass_space(at)
        return _distinct(at[(spaced | own) & ~self._space[at]])

    def _headings(self, level: Boundary) -> Ints:
        found = [heading.start for heading in self.document.headings if heading.level == level]
        return self._onto_text(np.array(found, np.int64))

    @cached_property
    def _headed(self) -> tuple[Ints, Ints]:
        """First characters of headings, and of what each heads."""
        lines = self._lines
        starts = self._onto_text(
            np.array([heading.start for heading in self.document.headings], np.int64)
        )
        after = lines.starts.searchsorted(starts, "right")
        # The "====" that underlines a heading belongs to it.
        first = np.append(lines.first, self.length)
        codes = self._codes[first[after]]
        under = among(codes, _RULES) & ~np.append(lines.gap, True)[after]
        after += under & (codes == self._codes[first[after] + 1])
        return starts, np.maximum.accumulate(first[after])

    def _allowed(self, kind: Boundary, places: Ints) -> Ints:
        lines = self._lines
        places = places[(places > 0) & (places < self.length)]
        if kind is not Boundary.ORPHAN and self.document.headings:
            starts, contents = self._headed
            heading = starts.searchsorted(places) - 1  # the last that starts before the place
            places = places[(heading < 0) | (places > contents[heading])]
        if kind in (Boundary.SENTENCE, Boundary.CLAUSE) and lines.framed:
            line = lines.starts.searchsorted(places, "right") - 1
            places = places[~(lines.fence | lines.table)[line]]
        return places

    def _onto_text(self, places: Ints) -> Ints:
        """Places moved right, past white space, in order."""
        return _distinct(np.sort(self._solid[self._solid.searchsorted(places)]))

    def _pass_space(self, places: Ints) -> None:
        """Move places right by up to three spaces; more of them end a paragraph anyway."""
        for _ in range(3):
            places += self._space[places]

    def _two_letters(self, stops: Ints) -> Bools:
        """Whether two letters, or three digits, or a closing mark stand before each point."""
        one, two, three = (self._codes[np.maximum(stops - back, 0)] for back in (1, 2, 3))
        digit = [(code >= ord("0")) & (code <= ord("9")) for code in (one, two, three)]
        solid = classes()[two] == 0
        return np.where(digit[0], digit[1] & digit[2], solid | (classes()[one] == CLOSER))
