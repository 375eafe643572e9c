"""The built-in dense embedding: signed hashing of words and character n-grams.

It is lexical, not semantic: two texts are near when they share words, stems of words
or runs of characters, in any language, and far when they say the same thing in other
words. It needs no model file, no network and no accelerator.

A text is a bag of terms: its words, the n-grams of each word (so that inflected forms
and compounds meet), and the n-grams of runs of Chinese, Japanese, Korean or Thai. A
term weighs what `terms` knows of its rarity, more with each repetition but ever less,
and adds its weight, with a sign, to a few dimensions chosen by its hash (feature
hashing: Weinberger et al. 2009).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragctl.embedding import terms
from ragctl.embedding.terms import Floats, Hashes
from ragctl.errors import UsageError

VERSION = "1"
"""Part of a collection's identity: changes with every change of the vectors."""

_IDEOGRAPHS = (
    r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f"
)
_SYLLABLES = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_TOKENS = re.compile(rf"([{_IDEOGRAPHS}]+)|([{_SYLLABLES}]+)|([^\W_{_IDEOGRAPHS}{_SYLLABLES}]+)")

_LONGEST = 40  # characters of a word that are looked at; what is longer is no word
_WORD = 1.0
_GRAM = 0.7  # for all n-grams of one size of a word together
_DECAY = 0.85  # from one n-gram of a word to the next: endings say less than stems
_IDEOGRAPH_GRAMS = {1: 0.9, 2: 1.0, 3: 0.2}
_SYLLABLE_GRAMS = {3: 0.7, 4: 1.0, 5: 0.7}
_SATURATION = 2.0  # a term repeated without end weighs 1 + this times one occurrence
_BUCKETS = 2  # dimensions per term
_IDEOGRAPH_EXTENT = 3  # letters that say as much as one ideograph
_SCRIPT = 0.3  # the part of a vector's length that its script takes
# Where the blocks of another script begin: Greek, Cyrillic, Hebrew and Arabic, Indic, Thai
# and its like, Han and kana, Hangul.
_BLOCKS = np.array([0x370, 0x400, 0x590, 0x900, 0xE00, 0x2E80, 0xAC00, 0xD7B0])
_BATCH = 500_000  # characters of text worked on at once

Index = NDArray[np.intp]


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
        sums = np.zeros(len(batch) * dim, dtype=np.float64)
        bag = _Bag(batch)
        for documents, hashes, values in bag.terms():
            _scatter(sums, dim, documents, hashes, values)
        rows = sums.reshape(len(batch), dim)
        documents, hashes, values = bag.scripts()
        _scatter(sums, dim, documents, hashes, values * _lengths(rows)[documents])
        lengths = _lengths(rows)
        rows[lengths < 1e-9, 0] = 1.0
        lengths[lengths < 1e-9] = 1.0
        vectors[start : start + len(batch)] = rows / lengths[:, None]
    return vectors


def _lengths(rows: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Slices of `texts` of bounded size, with the index of their first text."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        if index > start and (size + len(text) > _BATCH or index - start == 256):
            yield start, list(texts[start:index])
            start, size = index, 0
        size += len(text)
    if texts:
        yield start, list(texts[start:])


def _scatter(sums: Floats, dim: int, documents: Index, hashes: Hashes, values: Floats) -> None:
    """Add each term's value, with its signs, to its dimensions in its document's row."""
    for bucket in range(_BUCKETS):
        mixed = terms.mix(hashes + np.uint64(bucket))
        sign = 1.0 - 2.0 * (mixed & np.uint64(1)).astype(np.float64)
        place = ((mixed >> np.uint64(33)) % np.uint64(dim)).astype(np.intp)
        sums += np.bincount(documents * dim + place, values * sign, minlength=len(sums))


class _Bag:
    """The words and runs of a batch of texts, each distinct word once."""

    def __init__(self, batch: Sequence[str]) -> None:
        self.vocabulary: list[str] = []
        self.ideographs: list[tuple[int, str]] = []
        self.syllables: list[tuple[int, str]] = []
        known: dict[str, int] = {}
        rows: list[int] = []
        words: list[int] = []
        counts: list[int] = []
        for row, text in enumerate(batch):
            found: Counter[str] = Counter()
            for ideographs, syllables, word in _TOKENS.findall(_normal(text)):
                if word:
                    found[word] += 1
                elif ideographs:
                    self.ideographs.append((row, ideographs))
                else:
                    self.syllables.append((row, syllables))
            rows += [row] * len(found)
            words += [known.setdefault(word, len(known)) for word in found]
            counts += found.values()
        self.vocabulary = list(known)
        self.rows = np.array(rows, dtype=np.intp)
        self.words = np.array(words, dtype=np.intp)
        self.counts = np.array(counts, dtype=np.float64)
        self.size = len(batch)

    def terms(self) -> Iterator[tuple[Index, Hashes, Floats]]:
        """The terms of all texts as arrays in step: text, hash, value."""
        if self.vocabulary:
            yield from _word_terms(self.vocabulary, self.rows, self.words, _saturate(self.counts))
        if self.ideographs:
            yield from _run_terms(self.ideographs, _IDEOGRAPH_GRAMS)
        if self.syllables:
            yield from _run_terms(self.syllables, _SYLLABLE_GRAMS)

    def scripts(self) -> tuple[Index, Hashes, Floats]:
        """The scripts of all texts as arrays in step: text, hash, value.

        In a collection of many languages, texts of another script would otherwise
        come up by collision alone, and there are many of them.
        """
        runs = self.ideographs + self.syllables
        rows = np.concatenate([self.rows, np.array([row for row, _ in runs], dtype=np.intp)])
        first = [ord(word[0]) for word in self.vocabulary]
        letters = [0 if word.isdigit() else len(word) for word in self.vocabulary]
        script = np.searchsorted(_BLOCKS, np.array(first, dtype=np.intp), side="right")[self.words]
        extent = np.array(letters, dtype=np.float64)[self.words] * self.counts
        run_script = np.searchsorted(_BLOCKS, [ord(run[0]) for _, run in runs], side="right")
        run_extent = np.array([_IDEOGRAPH_EXTENT * len(run) for _, run in runs], dtype=np.float64)
        share = np.zeros((self.size, len(_BLOCKS) + 1))
        np.add.at(
            share,
            (rows, np.concatenate([script, run_script])),
            np.concatenate([extent, run_extent]),
        )
        total = share.sum(axis=1, keepdims=True)
        share = np.sqrt(share / np.where(total == 0, 1, total)) * _SCRIPT
        documents, kinds = np.nonzero(share)
        return documents, terms.mix(kinds.astype(np.uint64) + np.uint64(1)), share[documents, kinds]


def _normal(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _saturate(counts: Floats) -> Floats:
    return counts * (1 + _SATURATION) / (counts + _SATURATION)


def _word_terms(
    vocabulary: Sequence[str], rows: Index, words: Index, repeated: Floats
) -> Iterator[tuple[Index, Hashes, Floats]]:
    """Each distinct word is cut and weighed once, then dealt to the texts that have it."""
    marked = [terms.START + word[:_LONGEST] for word in vocabulary]
    hashes = terms.hash_words([word + terms.END for word in marked])
    rarity, _ = terms.weights(hashes)
    numbers = np.array([_number_weight(word) for word in vocabulary])
    rarity = np.where(numbers > 0, numbers, rarity)
    yield rows, hashes[words], _WORD * repeated * rarity[words]

    codes = terms.code_points("".join(marked))
    lengths = np.array([len(word) for word in marked])
    owner = np.repeat(np.arange(len(marked)), lengths)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # 1990 is not near 1991, nor the fault code E104 near E105.
    whole = np.array([any(map(str.isdigit, word)) for word in vocabulary])[owner]
    for size in terms.SIZES:
        at = np.flatnonzero((place + size <= lengths[owner]) & ~whole)
        grams = terms.hash_grams(codes, at, size)
        of = owner[at]
        value = _DECAY ** place[at] * terms.weights(grams)[0]
        energy = np.bincount(of, value * value, minlength=len(marked))
        value *= _GRAM * rarity[of] / np.sqrt(energy[of])
        count = np.bincount(of, minlength=len(marked))
        pair, pick = _deal(count, words)
        yield rows[pair], grams[pick], value[pick] * repeated[pair]


def _number_weight(word: str) -> float:
    """Of a number, more with each digit: every table is full of small ones. Else 0."""
    return min(1.0, 0.3 + 0.15 * len(word)) if word.isdigit() else 0.0


def _deal(count: Index, words: Index) -> tuple[Index, Index]:
    """For each entry of `words`, the indices of its word's n-grams, and its own repeated."""
    first = np.cumsum(count) - count
    many = count[words]
    pair = np.repeat(np.arange(len(words)), many)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(many) - many, many)
    return pair, first[words][pair] + within


def _run_terms(
    runs: Sequence[tuple[int, str]], sizes: dict[int, float]
) -> Iterator[tuple[Index, Hashes, Floats]]:
    """The n-grams of runs of a script without spaces, counted per text."""
    codes = terms.code_points("".join(run for _, run in runs))
    lengths = np.array([len(run) for _, run in runs])
    end = np.repeat(np.cumsum(lengths), lengths)
    row = np.repeat(np.array([row for row, _ in runs]), lengths)
    rarity, _ = terms.weights(terms.hash_grams(codes, np.arange(len(codes)), 1))
    before = np.concatenate(([0.0], np.cumsum(rarity)))
    for size, weight in sizes.items():
        at = np.flatnonzero(np.arange(len(codes)) + size <= end)
        grams = terms.hash_grams(codes, at, size)
        own, known = terms.weights(grams)
        value = np.where(known, own, (before[at + size] - before[at]) / size)
        # The low bits make room for the text's index, so that one sort counts per text.
        key = (grams & ~np.uint64(0xFFF)) | row[at].astype(np.uint64)
        key, first, count = np.unique(key, return_index=True, return_counts=True)
        amount = weight * value[first] * _saturate(count.astype(np.float64))
        yield row[at][first], key & ~np.uint64(0xFFF), amount
