"""What the builtin model sees of texts: weighed words, n-grams, and a language profile.

Everything comes as entries: arrays in step of text index, 64-bit hash, and value.
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

_IDEOGRAPHS = (
    r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003134f"
)
_SYLLABLES = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_TOKENS = re.compile(rf"([{_IDEOGRAPHS}]+)|([{_SYLLABLES}]+)|([^\W_{_IDEOGRAPHS}{_SYLLABLES}]+)")

_LONGEST = 40  # characters of a word that are looked at; what is longer is no word
_GRAM = 0.7  # for all n-grams of one size of a word together; the word itself has 1
_DECAY = 0.85  # from one n-gram of a word to the next: endings say less than stems
_IDEOGRAPH_GRAMS = {1: 0.9, 2: 1.0, 3: 0.2}
_SYLLABLE_GRAMS = {3: 0.7, 4: 1.0, 5: 0.7}
_SATURATION = 2.0  # a term repeated without end weighs 1 + this times one occurrence

# In a collection of many languages, texts of another one would come up by collisions
# alone, and there are many of them. So script and spelling have a part, relative to the
# length of all terms together, however little they say by themselves.
_SCRIPT = 0.3
_SPELLING = 0.5
_SPELLING_SEED = np.uint64(0x5350454C4C494E47)  # keeps its trigrams apart from the terms
_IDEOGRAPH_EXTENT = 3  # letters that say as much as one ideograph
# Where the blocks of another script begin: Greek, Cyrillic, Hebrew and Arabic, Indic, Thai
# and its like, Han and kana, Hangul, the rest.
_BLOCKS = np.array([0x370, 0x400, 0x590, 0x900, 0xE00, 0x2E80, 0xAC00, 0xD7B0])
# The low bits of a hash that give way to the text's index, to count terms by one sort.
_ROW_BITS = np.uint64(0xFFF)


class Bag:
    """The words and runs of up to 4,096 texts, each distinct word cut only once."""

    def __init__(self, batch: Sequence[str]) -> None:
        self._ideographs: list[tuple[int, str]] = []
        self._syllables: list[tuple[int, str]] = []
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
        """The terms of all texts, weighed."""
        if self._vocabulary:
            yield from self._word_terms()
        if self._ideographs:
            yield from _run_terms(self._ideographs, _IDEOGRAPH_GRAMS)
        if self._syllables:
            yield from _run_terms(self._syllables, _SYLLABLE_GRAMS)

    def profile(self) -> Iterator[Entries]:
        """The script and the spelling of all texts; values relative to a unit vector."""
        shares = self._scripts()
        texts, scripts = np.nonzero(shares)
        hashes = terms.mix(scripts.astype(np.uint64) + np.uint64(1))
        yield texts, hashes, _SCRIPT * np.sqrt(shares[texts, scripts])
        if self._vocabulary:
            runs = np.searchsorted(_BLOCKS, [0xE00, 0x2E80, 0xAC00], side="right")
            yield self._spelling(1 - shares[:, runs].sum(axis=1))

    def _word_terms(self) -> Iterator[Entries]:
        """Each distinct word is cut and weighed once, then dealt to the texts that have it."""
        marked = [terms.START + word[:_LONGEST] for word in self._vocabulary]
        hashes = terms.hash_words([word + terms.END for word in marked])
        rarity, _ = terms.weights(hashes)
        numbers = np.array([_number_weight(word) for word in self._vocabulary])
        rarity = np.where(numbers > 0, numbers, rarity)
        repeated = _saturate(self._counts)
        yield self._rows, hashes[self._words], repeated * rarity[self._words]

        for size in terms.SIZES:
            grams, place, word = self._grams(marked, size)
            value = _DECAY**place * terms.weights(grams)[0]
            energy = np.bincount(word, value * value, minlength=len(marked))
            value *= _GRAM * rarity[word] / np.sqrt(energy[word])
            entry, gram = self._deal(word)
            yield self._rows[entry], grams[gram], value[gram] * repeated[entry]

    def _grams(self, marked: Sequence[str], size: int) -> tuple[Hashes, Index, Index]:
        """All n-grams of the words: hash, place in the word, index of the word (rising)."""
        codes = terms.code_points("".join(marked))
        lengths = np.array([len(word) for word in marked])
        owner = np.repeat(np.arange(len(marked)), lengths)
        place = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        # 1990 is not near 1991, nor the fault code E104 near E105.
        whole = np.array([any(map(str.isdigit, word)) for word in self._vocabulary])
        at = np.flatnonzero((place + size <= lengths[owner]) & ~whole[owner])
        return terms.hash_grams(codes, at, size), place[at], owner[at]

    def _deal(self, word: Index) -> tuple[Index, Index]:
        """Pairs of an occurrence (word in text) and one n-gram of its word, as indices."""
        count = np.bincount(word, minlength=len(self._vocabulary))
        first = np.cumsum(count) - count
        many = count[self._words]
        entry = np.repeat(np.arange(len(self._words)), many)
        within = np.arange(len(entry)) - np.repeat(np.cumsum(many) - many, many)
        return entry, first[self._words][entry] + within

    def _scripts(self) -> Floats:
        """The share of each script in each text's letters, shape (texts, scripts)."""
        runs = self._ideographs + self._syllables
        letters = [0 if word.isdigit() else len(word) for word in self._vocabulary]
        firsts = [ord(word[0]) for word in self._vocabulary] + [ord(run[0]) for _, run in runs]
        scripts = np.searchsorted(_BLOCKS, np.array(firsts, dtype=np.intp), side="right")
        own = scripts[: len(self._vocabulary)][self._words]
        extent = np.array(letters, dtype=np.float64)[self._words] * self._counts
        run_rows = np.array([row for row, _ in runs], dtype=np.intp)
        run_extent = np.array([_IDEOGRAPH_EXTENT * len(run) for _, run in runs], dtype=np.float64)
        shares: Floats = np.zeros((self._texts, len(_BLOCKS) + 1))
        np.add.at(shares, (self._rows, own), extent)
        np.add.at(shares, (run_rows, scripts[len(self._vocabulary) :]), run_extent)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
        return shares

    def _spelling(self, share: Floats) -> Entries:
        """The trigrams of all words, unweighed; of a part of the text, as much less."""
        marked = [terms.START + word[:_LONGEST] + terms.END for word in self._vocabulary]
        grams, _, word = self._grams(marked, 3)
        entry, gram = self._deal(word)
        texts, hashes, _, counts = _counted(
            self._rows[entry], grams[gram] ^ _SPELLING_SEED, self._counts[entry]
        )
        totals = np.bincount(texts, counts, minlength=self._texts)
        return texts, hashes, _SPELLING * np.sqrt(counts * share[texts] / totals[texts])


def _normal(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _saturate(counts: Floats) -> Floats:
    return counts * (1 + _SATURATION) / (counts + _SATURATION)


def _number_weight(word: str) -> float:
    """Of a number, more with each digit: every table is full of small ones. Else 0."""
    return min(1.0, 0.3 + 0.15 * len(word)) if word.isdigit() else 0.0


def _counted(texts: Index, hashes: Hashes, amounts: Floats) -> tuple[Index, Hashes, Index, Floats]:
    """Each term of each text once: text, hash, an index where it stood, summed amount."""
    keys = (hashes & ~_ROW_BITS) | texts.astype(np.uint64)
    keys, first, which = np.unique(keys, return_index=True, return_inverse=True)
    sums = np.bincount(which, amounts, minlength=len(keys)).astype(np.float64)
    return (keys & _ROW_BITS).astype(np.intp), keys & ~_ROW_BITS, first, sums


def _run_terms(runs: Sequence[tuple[int, str]], sizes: Mapping[int, float]) -> Iterator[Entries]:
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
        texts, hashes, first, counts = _counted(row[at], grams, np.ones(len(at)))
        yield texts, hashes, weight * value[first] * _saturate(counts)
