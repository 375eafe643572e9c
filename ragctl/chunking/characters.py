"""Tables of what each character is to the chunker, by code point."""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Classes of characters, in an order in which one comparison tells a closer or a stop.
SPACE, COMMA, FULL_COMMA, CLOSER, STOP, FULL_STOP = range(1, 7)
_CHARACTERS = {
    # ends a sentence when a space follows: Latin, Arabic, Devanagari, Armenian, Ethiopic
    STOP: ".!?…؟۔।॥։።",
    # ends a sentence by itself: Chinese, Japanese, half-width Japanese, Burmese, Khmer, Tibetan
    FULL_STOP: "。！？；．｡‼⁇⁈⁉။។།",
    CLOSER: "\"')]}»”’›」』）】》〉*_`",
    COMMA: ",;:—–،؛",
    FULL_COMMA: "，、：､",
}
JOINER = 0x200D  # joins the characters on both sides: a family of emoji


@cache
def classes() -> NDArray[np.uint8]:
    table = np.zeros(0x110000, np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = SPACE
    for kind, characters in _CHARACTERS.items():
        table[[ord(character) for character in characters]] = kind
    return table


@cache
def lower() -> NDArray[np.bool_]:
    """Lower-case letters, of the scripts below U+2000 (Latin, Greek, Cyrillic, Armenian…)."""
    table = np.zeros(0x110000, np.bool_)
    table[[code for code in range(0x2000) if chr(code).islower()]] = True
    return table


@cache
def joined() -> NDArray[np.bool_]:
    """Characters that belong to the one before: marks, variation selectors, joiners, skin tones."""
    table = np.zeros(0x110000, np.bool_)
    table[[code for code in range(0x10000) if unicodedata.category(chr(code))[0] == "M"]] = True
    table[[JOINER, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE01F0)]] = True
    return table
