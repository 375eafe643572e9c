"""Features of texts for the built-in model: weighted words, n-grams, a language profile.

Features are produced as `Entries`: parallel arrays of text index, 64-bit hash and value.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragctl.lexical import terms
from ragctl.lexical.terms import Floats, Hashes

Index = NDArray[np.intp]
Entries = tuple[Index, Hashes, Floats]
"""Parallel arrays, shape (entries,): index of the text, hash of the term, its value."""

_IDEOGRAPHS = (
    r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f"
)
_SYLLABLES = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_TOKENS = re.compile(rf"([{_IDEOGRAPHS}]+)|([{_SYLLABLES}]+)|([^\W_{_IDEOGRAPHS}{_SYLLABLES}]+)")

MAX_WORD_CHARACTERS = 40  # of a word; the rest of a longer one is ignored
GRAM_WEIGHT = 0.7  # of all n-grams of one size of a word together; the word itself has 1
GRAM_DECAY = 0.85  # from one n-gram of a word to the next: endings say less than stems
# n-gram size -> weight, for runs of ideographs and of syllables.
IDEOGRAPH_GRAM_WEIGHTS = {1: 0.9, 2: 1.0, 3: 0.2}
SYLLABLE_GRAM_WEIGHTS = {3: 0.7, 4: 1.0, 5: 0.7}
REPETITION_SATURATION = 2.0  # a term's weight approaches 1 + this times one occurrence

# In a collection of many languages, texts in other languages would match by hash collisions
# alone, because there are so many of them. So script and spelling get a share of the vector,
# relative to the length of all terms together, although they say little by themselves.
SCRIPT_SHARE = 0.3
SPELLING_SHARE = 0.5
_SPELLING_SEED = np.uint64(0x5350454C4C494E47)  # separates spelling trigrams from terms
LETTERS_PER_IDEOGRAPH = 3  # letters that carry as much text as one ideograph
# Code points where another script begins: Greek, Cyrillic, Hebrew and Arabic, Indic, Thai and
# similar ones, Han and kana, Hangul, everything else.
_SCRIPT_STARTS = np.array([0x370, 0x400, 0x590, 0x900, 0xE00, 0x2E80, 0xAC00, 0xD7B0])
# The low bits of a hash, replaced by the text's index so that one sort counts all terms.
_TEXT_INDEX_BITS = np.uint64(0xFFF)


class Bag:
    """Words and runs of up to 4,096 texts (see _TEXT_INDEX_BITS); a word is split only once."""

    def __init__(self, batch: Sequence[str]) -> None:
        self._ideographs: list[tuple[int, str]] = []
        self._syllables: list[tuple[int, str]] = []
        known: dict[str, int] = {}
        rows: list[int] = []
        words: list[int] = []
        counts: list[int] = []
        for row, text in enumerate(batch):
            found: Counter[str] = Counter()
            for ideographs, syllables, word in _TOKENS.findall(_normalize(text)):
                if word:
                    found[word] += 1
                elif ideographs:
                    self._ideographs.append((row, ideographs))
                else:
                    self._syllables.append((row, syllables))
            rows += [row] * len(found)
            words += [known.setdefault(word, len(known)) for word in found]
            counts += found.values()
        self._texts = len(batch)
        self._vocabulary = list(known)
        self._rows = np.array(rows, dtype=np.intp)
        self._words = np.array(words, dtype=np.intp)
        self._counts = np.array(counts, dtype=np.float64)

    def terms(self) -> Iterator[Entries]:
        """Yield the weighted terms of all texts."""
        if self._vocabulary:
            yield from self._word_terms()
        if self._ideographs:
            yield from _run_terms(self._ideographs, IDEOGRAPH_GRAM_WEIGHTS)
        if self._syllables:
            yield from _run_terms(self._syllables, SYLLABLE_GRAM_WEIGHTS)

    def profile(self) -> Iterator[Entries]:
        """Yield the script and the spelling of all texts, with values relative to a unit vector."""
        shares = self._scripts()
        texts, scripts = np.nonzero(shares)
        hashes = terms.mix(scripts.astype(np.uint64) + np.uint64(1))
        yield texts, hashes, SCRIPT_SHARE * np.sqrt(shares[texts, scripts])
        if self._vocabulary:
            runs = np.searchsorted(_SCRIPT_STARTS, [0xE00, 0x2E80, 0xAC00], side="right")
            yield self._spelling(1 - shares[:, runs].sum(axis=1))

    def _word_terms(self) -> Iterator[Entries]:
        """Weight each distinct word and its n-grams once; yield them for every text they are in."""
        marked = [terms.START + word[:MAX_WORD_CHARACTERS] for word in self._vocabulary]
        hashes = terms.hash_words([word + terms.END for word in marked])
        rarity, _ = terms.weights(hashes)
        numbers = np.array([_number_weight(word) for word in self._vocabulary])
        rarity = np.where(numbers > 0, numbers, rarity)
        repeated = _saturate(self._counts)
        yield self._rows, hashes[self._words], repeated * rarity[self._words]

        for size in terms.GRAM_SIZES:
            grams, offset, word = self._grams(marked, size)
            value = GRAM_DECAY**offset * terms.weights(grams)[0]
            energy = np.bincount(word, value * value, minlength=len(marked))
            value *= GRAM_WEIGHT * rarity[word] / np.sqrt(energy[word])
            entry, gram = self._occurrences(word)
            yield self._rows[entry], grams[gram], value[gram] * repeated[entry]

    def _grams(self, marked: Sequence[str], size: int) -> tuple[Hashes, Index, Index]:
        """Return all n-grams of the words: hash, offset in the word, index of the word."""
        codes = terms.code_points("".join(marked))
        lengths = np.array([len(word) for word in marked])
        owner = np.repeat(np.arange(len(marked)), lengths)
        offset = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        # Words with digits have no n-grams: 1990 is not similar to 1991, nor E104 to E105.
        has_digit = np.array([any(map(str.isdigit, word)) for word in self._vocabulary])
        at = np.flatnonzero((offset + size <= lengths[owner]) & ~has_digit[owner])
        return terms.hash_grams(codes, at, size), offset[at], owner[at]

    def _occurrences(self, word: Index) -> tuple[Index, Index]:
        """Return pairs of indices: an occurrence (word in text), and an n-gram of its word."""
        count = np.bincount(word, minlength=len(self._vocabulary))
        first = np.cumsum(count) - count
        repeats = count[self._words]
        entry = np.repeat(np.arange(len(self._words)), repeats)
        within = np.arange(len(entry)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        return entry, first[self._words][entry] + within

    def _scripts(self) -> Floats:
        """Return each script's share of each text's letters, shape (texts, scripts)."""
        runs = self._ideographs + self._syllables
        letters = [0 if word.isdigit() else len(word) for word in self._vocabulary]
        firsts = [ord(word[0]) for word in self._vocabulary] + [ord(run[0]) for _, run in runs]
        scripts = np.searchsorted(_SCRIPT_STARTS, np.array(firsts, dtype=np.intp), side="right")
        own = scripts[: len(self._vocabulary)][self._words]
        extent = np.array(letters, dtype=np.float64)[self._words] * self._counts
        run_rows = np.array([row for row, _ in runs], dtype=np.intp)
        run_lengths = np.array([len(run) for _, run in runs], dtype=np.float64)
        run_extent = LETTERS_PER_IDEOGRAPH * run_lengths
        shares: Floats = np.zeros((self._texts, len(_SCRIPT_STARTS) + 1))
        np.add.at(shares, (self._rows, own), extent)
        np.add.at(shares, (run_rows, scripts[len(self._vocabulary) :]), run_extent)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
        return shares

    def _spelling(self, share: Floats) -> Entries:
        """Return the unweighted trigrams of all words, scaled by `share`, shape (texts,).

        `share` is the share of each text that is written in words.
        """
        marked = [terms.START + word[:MAX_WORD_CHARACTERS] + terms.END for word in self._vocabulary]
        grams, _, word = self._grams(marked, 3)
        entry, gram = self._occurrences(word)
        texts, hashes, _, counts = _sum_by_term(
            self._rows[entry], grams[gram] ^ _SPELLING_SEED, self._counts[entry]
        )
        totals = np.bincount(texts, counts, minlength=self._texts)
        return texts, hashes, SPELLING_SHARE * np.sqrt(counts * share[texts] / totals[texts])


def _normalize(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _saturate(counts: Floats) -> Floats:
    """Return weights that grow with the count towards 1 + REPETITION_SATURATION."""
    return counts * (1 + REPETITION_SATURATION) / (counts + REPETITION_SATURATION)


def _number_weight(word: str) -> float:
    """Return a number's weight, more for each digit as small ones are common; 0 for a word."""
    return min(1.0, 0.3 + 0.15 * len(word)) if word.isdigit() else 0.0


def _sum_by_term(
    texts: Index, hashes: Hashes, amounts: Floats
) -> tuple[Index, Hashes, Index, Floats]:
    """Sum the amounts of each term in each text: text, hash, an index of the term, sum."""
    keys = (hashes & ~_TEXT_INDEX_BITS) | texts.astype(np.uint64)
    keys, first, which = np.unique(keys, return_index=True, return_inverse=True)
    sums = np.bincount(which, amounts, minlength=len(keys)).astype(np.float64)
    return (keys & _TEXT_INDEX_BITS).astype(np.intp), keys & ~_TEXT_INDEX_BITS, first, sums


def _run_terms(runs: Sequence[tuple[int, str]], sizes: Mapping[int, float]) -> Iterator[Entries]:
    """Yield the n-grams of runs of a script without spaces, counted per text.

    `runs` are pairs of text index and run; `sizes` maps n-gram sizes to weights.
    """
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
        texts, hashes, first, counts = _sum_by_term(row[at], grams, np.ones(len(at)))
        yield texts, hashes, weight * value[first] * _saturate(counts)
