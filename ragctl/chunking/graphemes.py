"""Grapheme clusters: the characters that a reader sees as one (Unicode Annex 29).

The rules are those of the annex, with two that join slightly more: after a zero-width joiner any
character, and after a virama any letter.
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ragctl.chunking.lines import Bools, Codes

OTHER, EXTEND, JOINER, PREPEND, FLAG, L, V, T, LV, LVT, VIRAMA, LETTER = range(12)
_SYLLABLES = range(0xAC00, 0xD7A4)  # of Hangul, in steps of 28 for the final consonant
_FLAGS = range(0x1F1E6, 0x1F200)  # regional indicators: two of them are a flag
# Extend without being marks (GraphemeBreakProperty.txt): Thai and Lao AM, half-width voice marks.
_EXTEND = (0x200C, 0xE33, 0xEB3, 0xFF9E, 0xFF9F)
_PREPEND = (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0xD4E, 0x110BD, 0x110CD)
_VIRAMAS = (0x94D, 0x9CD, 0xACD, 0xB4D, 0xC4D, 0xD4D)  # that join consonants


@cache
def _classes() -> NDArray[np.uint8]:
    table = np.zeros(0x110000, np.uint8)
    for code in range(0x300, 0x20000):
        if 0x3400 <= code < 0xA000:  # Chinese
            continue
        category = unicodedata.category(chr(code))
        if category[0] == "M":
            table[code] = EXTEND
        elif category == "Lo" and 0x900 <= code < 0xD80:
            table[code] = LETTER
    table[[*_EXTEND, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE01F0)]] = EXTEND
    table[0x200D] = JOINER
    table[list(_PREPEND)] = PREPEND
    table[list(_VIRAMAS)] = VIRAMA
    table[list(_FLAGS)] = FLAG
    table[[*range(0x1100, 0x1160), *range(0xA960, 0xA97D)]] = L
    table[[*range(0x1160, 0x11A8), *range(0xD7B0, 0xD7C7)]] = V
    table[[*range(0x11A8, 0x1200), *range(0xD7CB, 0xD7FC)]] = T
    table[list(_SYLLABLES)] = LVT
    table[list(_SYLLABLES[::28])] = LV
    return table


@cache
def _joins() -> NDArray[np.bool_]:
    """Return whether a class (column) continues the cluster of the one before (row)."""
    table = np.zeros((12, 12), np.bool_)
    table[:, [EXTEND, JOINER, VIRAMA]] = True
    table[[JOINER, PREPEND], :] = True
    table[L, [L, V, LV, LVT]] = True
    table[np.ix_([LV, V], [V, T])] = True
    table[np.ix_([LVT, T], [T])] = True
    table[VIRAMA, LETTER] = True
    return table


def begins_cluster(codes: Codes) -> Bools:
    """Return which code points begin a grapheme cluster, in time linear in their number."""
    kinds = _classes().take(codes)
    begins = np.ones(len(codes), np.bool_)
    begins[1:] = ~_joins()[kinds[:-1], kinds[1:]]
    flags = (kinds == FLAG).nonzero()[0]
    if len(flags):
        # In each run of regional indicators, every second one continues a flag.
        index = np.arange(len(flags))
        first = np.concatenate(([True], np.diff(flags) > 1))
        run_start = np.maximum.accumulate(np.where(first, index, 0))
        begins[flags[(index - run_start) % 2 == 1]] = False
    return begins
