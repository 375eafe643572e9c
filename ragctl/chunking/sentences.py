"""The beginnings of sentences: after a full stop that ends a word, and one or more spaces.

A sentence that begins with a lower-case letter is less certain: the full stop before it may be
that of an abbreviation. Those are a kind of their own, used where there is no other sentence.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.characters import CLOSER, FULL_STOP, STOP, classes, lower_case
from ragctl.chunking.lines import Bools, Codes, Ints

MAX_ABBREVIATION_CHARACTERS = 8
# Words of at least two letters that a full stop shortens and a lower-case word often follows.
_ABBREVIATIONS = """
    abb abs al allg anm approx aufl avg bd betr bspw bzgl bzw ca cap cf chap cit col dept dr
    ebd ed eds eg eigtl engl esp etc evtl excl ext ff fig figs fr gen gg ggf gov hrsg ibid ie
    incl inkl insb jr kap lat lt max min mio mr mrs ms mwst nr nos nov num op orig pag pct pp
    prof prov pt ref resp rev sect sog sp sr st std str subj tel tr ung univ usf usw vgl vol
    vols vs zb zt zzgl г гг гл др ед ил кв коп млн млрд напр обл пер пр проф рис руб св см ср
    ст стр сут тел тыс ул экз aprox núm pág págs sra ud vd éd tél ecc sig
"""


def sentence_starts(
    text: str, codes: Codes, kinds: NDArray[np.uint8], space: Bools
) -> tuple[Ints, Ints]:
    """Return the offsets of sentences, and of those that begin in lower case; not distinct.

    Args:
        text: the text.
        codes: its code points, with a padding of zeros.
        kinds: their classes, of the same shape.
        space: which of them are white space, of the same shape.
    """
    stop = (kinds >= STOP).nonzero()[0]
    without_space = kinds[stop] == FULL_STOP
    at = stop + 1
    for _ in range(4):
        at += kinds[at] >= CLOSER
    end = at.copy()  # of the sentence, with its closing marks
    spaced = space[at]
    skip_spaces(at, space)
    # "J. Smith", "e.g. this", "3. May": a full stop that ends no sentence.
    dot = codes[stop] == ord(".")
    ends = ~(dot & ~_follows_word(stop, codes))
    lower = lower_case()[codes[at]]
    solid = ~space[at]
    certain = at[((spaced & ~lower & ends) | without_space) & solid]
    # "“Really?” he asked", "wait... and see": no new sentence.
    likely = (dot & (codes[stop - 1] != ord("."))) | (end == stop + 1)
    likely &= (codes[stop] != ord("…")) & (codes[stop + 1] != ord("."))
    likely &= spaced & lower & ends & solid & ~without_space
    words = [not _is_abbreviation(text, position) for position in stop[likely].tolist()]
    return certain, at[likely][np.array(words, np.bool_)]


def skip_spaces(positions: Ints, space: Bools) -> None:
    """Move positions right by up to three spaces, in place; more of them end a paragraph."""
    for _ in range(3):
        positions += space[positions]


@cache
def _abbreviations() -> frozenset[str]:
    return frozenset(_ABBREVIATIONS.split())


def _is_abbreviation(text: str, stop: int) -> bool:
    """Return whether the word before a full stop is a known abbreviation."""
    before = text[max(0, stop - MAX_ABBREVIATION_CHARACTERS) : stop].split()
    return bool(before) and before[-1].lower().lstrip("([\"'«„“") in _abbreviations()


def _follows_word(stops: Ints, codes: Codes) -> Bools:
    """Return which stops follow two letters, three digits or a closing mark."""
    one, two, three = (codes[np.maximum(stops - back, 0)] for back in (1, 2, 3))
    digit = [(code >= ord("0")) & (code <= ord("9")) for code in (one, two, three)]
    solid = classes()[two] == 0
    return np.where(digit[0], digit[1] & digit[2], solid | (classes()[one] == CLOSER))
