"""The built-in dense embedding: signed hashing of words and character n-grams.

It is lexical, not semantic: two texts are near when they share words, stems of words
or runs of characters, in any language, and far when they say the same thing in other
words. It needs no model file, no network and no accelerator.

A text is a bag of terms: its words, the n-grams of each word (so that inflected forms
and compounds meet), and the n-grams of runs of Chinese, Japanese, Korean or Thai. A
term weighs what `terms` knows of its rarity, more with each repetition but ever less,
and adds its weight, with a sign, to a few dimensions chosen by its hash (feature
hashing: Weinberger et al. 2009). To this comes a weaker profile of the language.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragctl.errors import UsageError
from ragctl.lexical import terms
from ragctl.lexical.bag import Bag, Entries
from ragctl.lexical.terms import Floats

VERSION = "1"
"""Part of a collection's identity: changes with every change of the vectors."""

_BUCKETS = 2  # dimensions per term
_BATCH = 500_000  # characters of text worked on at once
_ROWS = 256  # texts worked on at once, at most


def embed(texts: Sequence[str], dim: int) -> NDArray[np.float32]:
    """Vectors of `texts`, shape (len(texts), dim), every row of length 1.

    Documents and queries are embedded alike. A text without a letter or a digit gets
    the unit vector of the first dimension. The vector of a text depends on nothing but
    the text, `dim` and VERSION. Raises UsageError for a dimension outside 32..4096.
    """
    if not 32 <= dim <= 4096:
        raise UsageError(f"dimension {dim}: the builtin model makes 32 to 4096")
    vectors = np.zeros((len(texts), dim), dtype=np.float32)
    for start, batch in _batches(texts):
        rows = np.zeros((len(batch), dim), dtype=np.float64)
        bag = Bag(batch)
        for entries in bag.terms():
            _scatter(rows, entries)
        scale = _lengths(rows)
        for documents, hashes, values in bag.profile():
            _scatter(rows, (documents, hashes, values * scale[documents]))
        lengths = _lengths(rows)
        rows[lengths < 1e-9, 0] = 1.0
        lengths[lengths < 1e-9] = 1.0
        vectors[start : start + len(batch)] = rows / lengths[:, None]
    return vectors


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Slices of `texts` of bounded size, with the index of their first text."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        if index > start and (size + len(text) > _BATCH or index - start == _ROWS):
            yield start, texts[start:index]
            start, size = index, 0
        size += len(text)
    if texts:
        yield start, texts[start:]


def _scatter(rows: Floats, entries: Entries) -> None:
    """Add each entry's value, with its signs, to its dimensions in its text's row."""
    documents, hashes, values = entries
    count, dim = rows.shape
    for bucket in range(_BUCKETS):
        mixed = terms.mix(hashes + np.uint64(bucket))
        sign = 1.0 - 2.0 * (mixed & np.uint64(1)).astype(np.float64)
        place = ((mixed >> np.uint64(33)) % np.uint64(dim)).astype(np.intp)
        sums = np.bincount(documents * dim + place, values * sign, minlength=count * dim)
        rows += sums.reshape(count, dim)


def _lengths(rows: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths
