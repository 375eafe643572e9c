"""Lookup tables of character classes: arrays of shape (0x110000,), indexed by code point."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# In this order `>= CLOSER` selects closers and stops, and `>= STOP` stops. 0: any other character.
SPACE, COMMA, FULL_COMMA, CLOSER, STOP, FULL_STOP = range(1, 7)
_CHARACTERS_OF = {
    # end a sentence if a space follows: Latin, Arabic, Devanagari, Armenian, Ethiopic
    STOP: ".!?…؟۔।॥։።",
    # end a sentence by themselves: Chinese, Japanese, half-width Japanese, Burmese, Khmer, Tibetan
    FULL_STOP: "。！？；．｡‼⁇⁈⁉။។།",
    CLOSER: "\"')]}»”’›」』）】》〉*_`",
    COMMA: ",;:—–،؛",
    FULL_COMMA: "，、：､",
}


@cache
def classes() -> NDArray[np.uint8]:
    """Return the class of each character: SPACE, COMMA … or 0."""
    table = np.zeros(0x110000, np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = SPACE
    for kind, characters in _CHARACTERS_OF.items():
        table[[ord(character) for character in characters]] = kind
    return table


@cache
def lower_case() -> NDArray[np.bool_]:
    """Return which characters are lower-case letters, up to U+1FFF (Latin, Greek, Cyrillic …)."""
    table = np.zeros(0x110000, np.bool_)
    table[[code for code in range(0x2000) if chr(code).islower()]] = True
    return table
