"""Where a text may be cut, by kind, strongest first.

A place is the character at which the later part would begin, never a white
space. All of it is read off arrays of code points, one pass per question: a
regular expression per question would cost more than tokenising the text.
"""

import unicodedata
from collections.abc import Callable
from enum import IntEnum
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.lines import Bools, Ints, Lines
from ragctl.records import Document


class Place(IntEnum):
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


HEADINGS = tuple(Place)[:6]

# Classes of characters.
_SPACE, _STOP, _FULL_STOP, _CLOSER, _COMMA, _FULL_COMMA = range(1, 7)
_CHARACTERS = {
    # ends a sentence when a space follows: Latin, Arabic, Devanagari, Armenian, Ethiopic
    _STOP: ".!?…؟۔।॥։።",
    # ends a sentence by itself: Chinese, Japanese, half-width Japanese, Burmese, Khmer, Tibetan
    _FULL_STOP: "。！？；．｡‼⁇⁈⁉။។།",
    _CLOSER: "\"')]}»”’›」』）】》〉*_`",
    _COMMA: ",;:—–،؛",
    _FULL_COMMA: "，、：､",
}
_RANKED = 32  # characters from a place on that decide its rank among its kind
_REACH = {Place.WORD: 12, Place.CHARACTER: 12}  # fewer characters where places are dense
_JOINER = 0x200D  # joins the characters on both sides: a family of emoji
_BATCH = 1 << 14  # places ranked at a time


@cache
def _classes() -> NDArray[np.uint8]:
    table = np.zeros(0x110000, np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = _SPACE
    for kind, characters in _CHARACTERS.items():
        table[[ord(character) for character in characters]] = kind
    return table


@cache
def _lower() -> Bools:
    """Lower-case letters, of the scripts below U+2000 (Latin, Greek, Cyrillic, Armenian…)."""
    table = np.zeros(0x110000, np.bool_)
    table[[code for code in range(0x2000) if chr(code).islower()]] = True
    return table


@cache
def _joined() -> Bools:
    """Characters that belong to the one before: marks, variation selectors, joiners, skin tones."""
    table = np.zeros(0x110000, np.bool_)
    table[[code for code in range(0x10000) if unicodedata.category(chr(code))[0] == "M"]] = True
    table[[_JOINER, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE01F0)]] = True
    return table


@cache
def _weights() -> NDArray[np.uint32]:
    generator = np.random.Generator(np.random.PCG64(200))
    return generator.integers(0, 1 << 32, _RANKED, dtype=np.uint32) | np.uint32(1)


_RULES = np.array([ord(mark) for mark in "=-~^\"'`#*+_:."])


def _before(values: Bools) -> Bools:
    """Each line's value replaced by that of the line before it."""
    return np.concatenate(([False], values[:-1]))


class Reader:
    """Reads the places of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.length = len(document.text)
        # The padding lets every look to the right stay inside of the array.
        padded = document.text + "\0" * _RANKED
        self._codes = np.frombuffer(padded.encode("utf-32-le"), np.uint32)
        self._kinds = _classes()[self._codes]

    @cached_property
    def _space(self) -> Bools:
        space: Bools = self._kinds == _SPACE
        return space

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self.document, self._codes, self._space)

    def rank(self, kind: Place, places: Ints) -> NDArray[np.uint32]:
        """A hash of the text from each place on; the highest is cut first.

        It takes up to 32 characters of the place's line (12 where places are
        dense), so that an edit gives new ranks to the places right before it at
        most; only of headings, whose titles sections share, it takes what
        follows too. It knows nothing of what stands before the place, so new
        text elsewhere leaves the order of the places as it was.
        """
        windows = np.lib.stride_tricks.sliding_window_view(self._codes, _RANKED)
        ranks = np.empty(len(places), np.uint32)
        column = np.arange(_RANKED)
        for at in range(0, len(places), _BATCH):
            some = places[at : at + _BATCH]
            window = windows[some]
            if kind not in HEADINGS:
                line = self._lines.starts.searchsorted(some, "right") - 1
                reach = np.minimum(self._lines.ends[line] - some, _REACH.get(kind, _RANKED))
                window = window * (column < reach[:, None])
            ranks[at : at + _BATCH] = window @ _weights()
        ranks ^= ranks >> np.uint32(16)
        ranks *= np.uint32(0x85EBCA6B)
        ranks ^= ranks >> np.uint32(13)
        if kind is Place.CHARACTER:
            # Lowest, so that a cluster is cut only where nothing else can be.
            joined = _joined()[self._codes[places]] | (self._codes[places - 1] == _JOINER)
            ranks[joined] = 0
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

    def structure(self, fits: Callable[[Ints, Ints], Bools]) -> dict[Place, Ints]:
        """Places that lines and headings make.

        `fits(starts, ends)` says which spans of characters a chunk could hold
        whole: the lines of such a table or fence are `ROW`, of others `LINE`.
        """
        lines = self._lines
        found = self._source_code() if self.document.kind == "code" else self._prose(fits)
        places = {kind: np.zeros(0, np.int64) for kind in (Place.LINE, Place.ROW)}
        places |= {kind: lines.first[chosen] for kind, chosen in found.items()}
        pages = np.array([page.start for page in self.document.pages], np.int64)
        places[Place.BLOCK] = np.union1d(places[Place.BLOCK], self._onto_text(pages))
        for level in HEADINGS:
            at = [heading.start for heading in self.document.headings if heading.level == level]
            places[level] = self._onto_text(np.array(at, np.int64))
        places[Place.ORPHAN] = np.unique(self._headed[1])
        return {kind: self._allowed(kind, each) for kind, each in places.items()}

    def sentences(self) -> Ints:
        """Beginnings of sentences, but for the first of a paragraph."""
        at = np.flatnonzero((self._kinds == _STOP) | (self._kinds == _FULL_STOP))
        own = self._kinds[at] == _FULL_STOP
        stop = at
        at = at + 1
        for _ in range(4):
            kinds = self._kinds[at]
            at = at + ((kinds == _CLOSER) | (kinds == _STOP) | (kinds == _FULL_STOP))
        spaced = self._space[at]
        at = self._past_space(at)
        # "J. Smith", "e.g. this", "3. May": a point that ends no sentence.
        short = (self._codes[stop] == ord(".")) & ~self._two_letters(stop)
        good = (spaced & ~_lower()[self._codes[at]] & ~short) | own
        return self._allowed(Place.SENTENCE, np.unique(at[good & ~self._space[at]]))

    def clauses(self) -> Ints:
        """First characters after commas, colons, dashes."""
        at = np.flatnonzero((self._kinds == _COMMA) | (self._kinds == _FULL_COMMA))
        own = self._kinds[at] == _FULL_COMMA
        at = at + 1
        at = at + (self._kinds[at] == _CLOSER)
        spaced = self._space[at]
        at = self._past_space(at)
        return self._allowed(Place.CLAUSE, np.unique(at[(spaced | own) & ~self._space[at]]))

    def words(self, start: int, end: int) -> Ints:
        """First characters of words inside of a span."""
        space = self._space[start:end]
        return np.flatnonzero(space[:-1] & ~space[1:]) + (start + 1)

    def characters(self, start: int, end: int) -> Ints:
        """Characters inside of a span that are not white space."""
        return np.flatnonzero(~self._space[start + 1 : end]) + (start + 1)

    def _source_code(self) -> dict[Place, Bools]:
        lines = self._lines
        closing = np.isin(lines.lead, np.array([ord(mark) for mark in ")]}"]))
        top = (lines.indent == 0) & ~closing
        block = lines.gap & top
        part = (lines.gap | (top & _before(lines.indent > 0))) & ~block
        return {Place.BLOCK: block, Place.PART: part, Place.LINE: ~closing & ~block & ~part}

    def _prose(self, fits: Callable[[Ints, Ints], Bools]) -> dict[Place, Bools]:
        lines = self._lines
        gap, item, fence, table = lines.gap, lines.item, lines.fence, lines.table
        edge = (fence & lines.mark & ~_before(fence)) | (~fence & _before(fence))
        edge |= (fence & lines.mark & _before(fence & lines.mark)) | (table != _before(table))
        inside = (fence | table) & ~edge
        nested = gap & item & (_before(item) | _before(lines.indent >= 2))
        if self.document.kind == "markdown":
            nested |= gap & (lines.indent >= 2) & ~edge
        block = ((gap & ~inside & ~nested) | edge) & ~(inside & lines.mark)
        kept = inside & self._held_whole(edge, fits)
        # Right after ``` and right before the ``` that closes it there is nothing to cut.
        inside &= ~lines.mark & ~_before(lines.mark & edge)
        part = (nested & ~inside) | (gap & inside & ~kept) | (item & (lines.indent == 0) & ~block)
        line = (inside & ~kept) | item | ~(gap | lines.wrapped(self._codes, self._kinds) | fence)
        line &= ~block & ~part & ~(kept | (fence & ~inside))
        return {
            Place.BLOCK: block,
            Place.PART: part & ~block,
            Place.LINE: line,
            Place.ROW: kept & inside,
        }

    def _held_whole(self, edge: Bools, fits: Callable[[Ints, Ints], Bools]) -> Bools:
        """Lines of tables and fences that a chunk could hold whole."""
        lines = self._lines
        if not len(edge):
            return edge
        firsts = np.union1d(np.flatnonzero(edge), [0])
        lasts = np.append(firsts[1:], len(edge)) - 1
        whole: Bools = fits(lines.first[firsts], lines.ends[lasts])
        held: Bools = np.repeat(whole, lasts - firsts + 1)
        return held

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
        under = np.isin(self._codes[first[after]], _RULES) & ~np.append(lines.gap, True)[after]
        after += under & (self._codes[first[after]] == self._codes[first[after] + 1])
        return starts, np.maximum.accumulate(first[after])

    def _allowed(self, kind: Place, places: Ints) -> Ints:
        lines = self._lines
        places = places[(places > 0) & (places < self.length)]
        if kind is not Place.ORPHAN and self.document.headings:
            starts, contents = self._headed
            heading = starts.searchsorted(places) - 1  # the last that starts before the place
            places = places[(heading < 0) | (places > contents[heading])]
        if kind in (Place.SENTENCE, Place.CLAUSE) and (lines.fence.any() or lines.table.any()):
            line = lines.starts.searchsorted(places, "right") - 1
            places = places[~(lines.fence | lines.table)[line]]
        return places

    def _onto_text(self, places: Ints) -> Ints:
        """Places moved right, past white space."""
        on_space = self._space[places]
        if on_space.any():
            solid = np.append(np.flatnonzero(~self._space[: self.length]), self.length)
            places = places.copy()
            places[on_space] = solid[solid.searchsorted(places[on_space])]
        return np.unique(places)

    def _past_space(self, places: Ints) -> Ints:
        """Places moved right by up to three spaces; more of them end a paragraph anyway."""
        for _ in range(3):
            places = places + self._space[places]
        return places

    def _two_letters(self, stops: Ints) -> Bools:
        """Whether two letters, or three digits, or a closing mark stand before each point."""
        one, two, three = (self._codes[np.maximum(stops - back, 0)] for back in (1, 2, 3))
        digit = [(code >= ord("0")) & (code <= ord("9")) for code in (one, two, three)]
        solid = _classes()[two] == 0
        return np.where(digit[0], digit[1] & digit[2], solid | (_classes()[one] == _CLOSER))
