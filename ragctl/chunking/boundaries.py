"""Boundaries: the positions at which a text may be cut, by kind, strongest kind first.

A position is the offset of the character with which the later part would begin, never white
space. All are read from arrays of code points in a few passes; a regular expression for each kind
would cost more than tokenising the text.
"""

from enum import IntEnum
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.characters import (
    CLOSER,
    COMMA,
    FULL_COMMA,
    SPACE,
    classes,
)
from ragctl.chunking.graphemes import begins_cluster
from ragctl.chunking.line_boundaries import Fits, LineBoundaries
from ragctl.chunking.lines import Bools, Ints, Lines, is_one_of, windows
from ragctl.chunking.sentences import sentence_starts, skip_spaces
from ragctl.records import Document


class Boundary(IntEnum):
    """The kinds of boundaries; a smaller number is a stronger kind."""

    HEADING_1 = 1  # before a heading, by its level
    HEADING_2 = 2
    HEADING_3 = 3
    HEADING_4 = 4
    HEADING_5 = 5
    HEADING_6 = 6
    BLOCK = 7  # paragraph, page, table, fence; top level of source code
    PART = 8  # list item; blank line within a fence or a function
    LINE = 9  # a line that is not a wrapped one: nested item, statement, row
    SENTENCE = 10
    LOWER_SENTENCE = 11  # that begins in lower case: chats, transcripts; or an abbreviation
    ROW = 12  # line of a table or fence that a chunk could hold whole
    CLAUSE = 13
    ORPHAN = 14  # between a heading and its text
    WORD = 15
    CHARACTER = 16  # grapheme cluster


HEADINGS = tuple(Boundary)[:6]

RANKED_CHARACTERS = 32  # after a position; they decide its rank among positions of its kind
DENSE_RANKED_CHARACTERS = 12  # the same for words and characters, whose positions are many
BATCH_POSITIONS = 1 << 14  # ranked at a time

_DENSE = frozenset({Boundary.WORD, Boundary.CHARACTER})
_IN_LINES = frozenset({Boundary.SENTENCE, Boundary.LOWER_SENTENCE, Boundary.CLAUSE})
_UNDERLINES = "=-~^\"'`#*+_:."  # of headings


@cache
def _weights() -> NDArray[np.uint32]:
    """Return the weights of the rank's hash: odd numbers, shape (RANKED_CHARACTERS,)."""
    generator = np.random.Generator(np.random.PCG64(200))
    return generator.integers(0, 1 << 32, RANKED_CHARACTERS, dtype=np.uint32) | np.uint32(1)


def _distinct(positions: Ints) -> Ints:
    """Return sorted positions without repetitions."""
    if len(positions) < 2:
        return positions
    return positions[np.concatenate(([True], positions[1:] != positions[:-1]))]


class BoundaryReader:
    """The boundaries of one document, each kind computed when it is needed.

    Arrays of positions (`Ints`) have the shape (positions,) and are sorted.
    """

    def __init__(self, document: Document, fits: Fits) -> None:
        self.document = document
        self.length = len(document.text)
        self._ascii = document.text.isascii()
        # With the padding, characters right of a position can be read without bounds checks.
        padded = document.text + "\0" * RANKED_CHARACTERS
        self._codes = np.frombuffer(padded.encode("utf-32-le"), np.uint32)
        self._classes = classes().take(self._codes)
        self._space: Bools = self._classes == SPACE
        solid = (~self._space[: self.length]).nonzero()[0]
        self._solid = np.concatenate((solid, [self.length]))
        self._lines = Lines(document, self._codes, self._space, self._solid)
        self._line_boundaries = LineBoundaries(
            document.kind, self._lines, self._codes, self._classes, fits
        )

    def rank(self, kind: Boundary, positions: Ints) -> NDArray[np.uint32]:
        """Return each position's rank, a hash of the text that follows; cuts are at the highest.

        The hash covers the first RANKED_CHARACTERS characters, but not beyond the line, so that
        an edit changes the rank of only those positions that are right before it. The hash of a
        heading goes beyond its line, since sections share titles. Text before the position does
        not matter: new text elsewhere leaves the order of the positions as it was.

        Time and memory are linear in the number of positions.
        """
        reach = DENSE_RANKED_CHARACTERS if kind in _DENSE else RANKED_CHARACTERS
        rows, weights, column = windows(self._codes, reach), _weights()[:reach], np.arange(reach)
        ranks = np.empty(len(positions), np.uint32)
        for at in range(0, len(positions), BATCH_POSITIONS):
            batch = positions[at : at + BATCH_POSITIONS]
            window = rows[batch]
            if kind not in HEADINGS:
                line = self._lines.starts.searchsorted(batch, "right") - 1
                window *= column < (self._lines.ends[line] - batch)[:, None]
            ranks[at : at + BATCH_POSITIONS] = window @ weights
        ranks ^= ranks >> np.uint32(16)
        ranks *= np.uint32(0x85EBCA6B)  # from the finalizer of MurmurHash3
        ranks ^= ranks >> np.uint32(13)
        return ranks

    def indentation(self, position: int) -> int:
        """Return the start of the line if the position is the first character of a line of code.

        Otherwise return the position itself.
        """
        text = self.document.text
        if self.document.kind == "text" or not position or text[position - 1] not in " \t":
            return position
        line = int(self._lines.starts.searchsorted(position, "right")) - 1
        if self._lines.first[line] != position:
            return position
        kept = self.document.kind == "code" or self._lines.in_fence[line]
        return int(self._lines.starts[line]) if kept else position

    def positions(self, kind: Boundary) -> Ints:
        """Return the positions of a kind in the whole text; not for words and characters."""
        if kind in HEADINGS:
            return self._allowed(kind, self._headings(kind))
        if kind is Boundary.ORPHAN:
            return self._allowed(kind, _distinct(self._headings_and_contents[1]))
        if kind is Boundary.SENTENCE:
            return self._allowed(kind, self._sentences[0])
        if kind is Boundary.LOWER_SENTENCE:
            return self._allowed(kind, self._sentences[1])
        if kind is Boundary.CLAUSE:
            return self._allowed(kind, self._clauses())
        positions = self._lines.first[self._beginning_lines(kind)]
        if kind is Boundary.BLOCK and self.document.pages:
            pages = np.array([page.start for page in self.document.pages], np.int64)
            positions = np.union1d(positions, self._skip_to_text(pages))
        return self._allowed(kind, positions)

    def words(self, start: int, end: int) -> Ints:
        """Return the first characters of the words in text[start:end], without the first word."""
        space = self._space[start:end]
        return self._whole_clusters((space[:-1] & ~space[1:]).nonzero()[0] + (start + 1))

    def characters(self, start: int, end: int) -> Ints:
        """Return the grapheme clusters in text[start + 1:end] that are not white space."""
        return self._whole_clusters((~self._space[start + 1 : end]).nonzero()[0] + (start + 1))

    @cached_property
    def _begins_cluster(self) -> Bools:
        """Which characters begin a grapheme cluster."""
        return begins_cluster(self._codes)

    def _whole_clusters(self, positions: Ints) -> Ints:
        """Return the positions that are not inside of a grapheme cluster."""
        return positions if self._ascii else positions[self._begins_cluster[positions]]

    def _beginning_lines(self, kind: Boundary) -> Bools:
        lines = self._line_boundaries
        if kind is Boundary.BLOCK:
            return lines.blocks
        if kind is Boundary.PART:
            return lines.parts
        return lines.lines if kind is Boundary.LINE else lines.rows

    @cached_property
    def _sentences(self) -> tuple[Ints, Ints]:
        """The beginnings of sentences, and of those in lower case."""
        certain, lower = sentence_starts(
            self.document.text, self._codes, self._classes, self._space
        )
        return _distinct(certain), _distinct(lower)

    def _clauses(self) -> Ints:
        """Return the first characters after commas, colons and dashes."""
        at = ((self._classes == COMMA) | (self._classes == FULL_COMMA)).nonzero()[0]
        without_space = self._classes[at] == FULL_COMMA
        at += 1
        at += self._classes[at] == CLOSER
        spaced = self._space[at]
        skip_spaces(at, self._space)
        return _distinct(at[(spaced | without_space) & ~self._space[at]])

    def _headings(self, level: Boundary) -> Ints:
        starts = [heading.start for heading in self.document.headings if heading.level == level]
        return self._skip_to_text(np.array(starts, np.int64))

    @cached_property
    def _headings_and_contents(self) -> tuple[Ints, Ints]:
        """The first characters of all headings, and those of the texts after them."""
        lines = self._lines
        starts = self._skip_to_text(
            np.array([heading.start for heading in self.document.headings], np.int64)
        )
        after = lines.starts.searchsorted(starts, "right")
        # The "====" that underlines a heading belongs to it.
        first = np.append(lines.first, self.length)
        codes = self._codes[first[after]]
        underline = is_one_of(codes, _UNDERLINES) & ~np.append(lines.after_gap, True)[after]
        after += underline & (codes == self._codes[first[after] + 1])
        return starts, np.maximum.accumulate(first[after])

    def _allowed(self, kind: Boundary, positions: Ints) -> Ints:
        """Return the positions that are not within a heading, fence, table or grapheme cluster."""
        lines = self._lines
        positions = positions[(positions > 0) & (positions < self.length)]
        positions = self._whole_clusters(positions)
        if kind is not Boundary.ORPHAN and self.document.headings:
            starts, contents = self._headings_and_contents
            heading = starts.searchsorted(positions) - 1  # the last that starts before
            positions = positions[(heading < 0) | (positions > contents[heading])]
        if kind in _IN_LINES and lines.has_fence_or_table:
            line = lines.starts.searchsorted(positions, "right") - 1
            positions = positions[~(lines.in_fence | lines.in_table)[line]]
        return positions

    def _skip_to_text(self, positions: Ints) -> Ints:
        """Return positions moved right past white space, sorted and distinct."""
        return _distinct(np.sort(self._solid[self._solid.searchsorted(positions)]))
