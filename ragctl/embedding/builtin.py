"""The built-in dense embedding: signed hashing of words and character n-grams.

It is lexical, not semantic: two texts are near when they share words, stems of words
or runs of characters, in any language, and far when they say the same thing in other
words. It needs no model file, no network and no accelerator.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragctl.errors import UsageError

VERSION = "0"

# Scripts written without spaces, and Hangul, whose particles stick to the words.
_RUN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKENS = re.compile(rf"[{_RUN}]+|[^\W_{_RUN}]+")
_IN_RUN = re.compile(rf"[{_RUN}]")

_WORD_GRAMS = {0: 1.0, 3: 0.25, 4: 0.3, 5: 0.3}  # 0 is the whole word
_RUN_GRAMS = {1: 0.3, 2: 1.0, 3: 0.7}

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]


def embed(texts: Sequence[str], dim: int) -> NDArray[np.float32]:
    """Vectors of `texts`, shape (len(texts), dim), every row of length 1.

    The same for documents and queries. A text without a letter or digit gets the
    vector of the first axis. Raises UsageError for a dimension outside 32..4096.
    """
    if not 32 <= dim <= 4096:
        raise UsageError(f"dimension {dim}: the builtin model makes 32 to 4096")
    out = np.zeros((len(texts), dim), dtype=np.float64)
    for row, text in enumerate(texts):
        counts = Counter(_TOKENS.findall(unicodedata.normalize("NFKC", text).casefold()))
        if not counts:
            continue
        hashes, weights = _features(counts)
        bucket = (hashes >> np.uint64(20)) % np.uint64(dim)
        sign = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float64)
        out[row] = np.bincount(bucket.astype(np.intp), weights * sign, minlength=dim)
    norms = np.linalg.norm(out, axis=1)
    out[norms == 0, 0] = 1.0
    norms[norms == 0] = 1.0
    return (out / norms[:, None]).astype(np.float32)


def _features(counts: Counter[str]) -> tuple[Hashes, Floats]:
    hashes, weights = [], []
    for token, count in counts.items():
        run = bool(_IN_RUN.match(token))
        codes = np.array([ord(c) for c in (token if run else f"\x02{token}\x03")], dtype=np.uint64)
        for size, weight in (_RUN_GRAMS if run else _WORD_GRAMS).items():
            grams = _grams(codes, size or len(codes))
            hashes.append(grams)
            weights.append(np.full(len(grams), weight * (1 + np.log(count))))
    return np.concatenate(hashes), np.concatenate(weights)


def _grams(codes: Hashes, size: int) -> Hashes:
    count = max(len(codes) - size + 1, 0)
    state = np.full(count, size, dtype=np.uint64)
    for offset in range(size):
        state = (state ^ codes[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)
        state ^= state >> np.uint64(29)
    return state * np.uint64(0xBF58476D1CE4E5B9)
