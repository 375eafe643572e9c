"""The built-in dense embedding: signed hashing of words and character n-grams.

It is lexical, not semantic: two texts are near each other if they share words, word
stems or runs of characters, in any language, and far apart if they say the same thing in
different words. It needs no model file, no network and no accelerator.

A text is a bag of terms: its words, the n-grams of each word (which inflected forms and
compounds share), and the n-grams of runs of Chinese, Japanese, Korean or Thai. A term's
weight is its rarity (see `terms`), increased with saturation by repetition. The weight is
added, with a sign, to a few dimensions chosen by the term's hash (feature hashing,
Weinberger et al. 2009). A weaker profile of script and spelling is added on top.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragctl.errors import UsageError
from ragctl.lexical import terms
from ragctl.lexical.bag import Bag, Entries
from ragctl.lexical.terms import Floats

VERSION = "1"
"""Part of a collection's identity. Increase it with every change of the vectors."""
MIN_DIM, MAX_DIM = 32, 4096

DIMENSIONS_PER_TERM = 2
MAX_BATCH_CHARACTERS = 500_000
MAX_BATCH_TEXTS = 256
ZERO_LENGTH = 1e-9
"""Length below which a vector is taken for zero."""


def embed(texts: Sequence[str], dim: int) -> NDArray[np.float32]:
    """Return unit vectors of `texts`, shape (len(texts), dim).

    Documents and queries are embedded in the same way. A text without letters and digits
    gets the unit vector of the first dimension. A vector depends only on the text, `dim`
    and VERSION. Raises UsageError for a dimension outside MIN_DIM..MAX_DIM.
    """
    if not MIN_DIM <= dim <= MAX_DIM:
        raise UsageError(f"dimension {dim}: the builtin model has {MIN_DIM} to {MAX_DIM}")
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
        rows[lengths < ZERO_LENGTH, 0] = 1.0
        lengths[lengths < ZERO_LENGTH] = 1.0
        vectors[start : start + len(batch)] = rows / lengths[:, None]
    return vectors


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield slices of `texts` of bounded size, each with the index of its first text."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        full = size + len(text) > MAX_BATCH_CHARACTERS or index - start == MAX_BATCH_TEXTS
        if index > start and full:
            yield start, texts[start:index]
            start, size = index, 0
        size += len(text)
    if texts:
        yield start, texts[start:]


def _scatter(rows: Floats, entries: Entries) -> None:
    """Add each entry's value, with a hashed sign, to its dimensions in its text's row."""
    documents, hashes, values = entries
    count, dim = rows.shape
    for bucket in range(DIMENSIONS_PER_TERM):
        mixed = terms.mix(hashes + np.uint64(bucket))
        sign = 1.0 - 2.0 * (mixed & np.uint64(1)).astype(np.float64)
        column = ((mixed >> np.uint64(33)) % np.uint64(dim)).astype(np.intp)
        sums = np.bincount(documents * dim + column, values * sign, minlength=count * dim)
        rows += sums.reshape(count, dim)


def _lengths(rows: Floats) -> Floats:
    """Return the Euclidean length of each row."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths
