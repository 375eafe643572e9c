"""Term weights: a static table of the rarity of frequent words and n-grams; and term hashes.

The built-in model has no corpus to count terms in, so it derives their rarity from the
order in which o200k_base (OpenAI, MIT licence) merged its tokens: within one script, the
earlier a word was merged, the more frequent it is in some language of that script. A term
that is not in the table is rare and has weight 1.
"""

import gzip
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import log, log2

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

GRAM_SIZES = (3, 4, 5)  # characters in an n-gram of a word
START, END = "\x02", "\x03"  # mark a word's ends: a prefix differs from the same letters inside

# Scripts whose characters are words or parts of words: a run of them is split into n-grams.
_UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})

MIN_TERM_WEIGHT = 0.25  # of function words, which say little but identify the language
QUESTION_WORD_FACTOR = 0.3  # question words say nothing about the topic
_QUESTION_WORDS = (
    "what who whom whose when where why how which did does many much "
    "was wer wen wem wessen wann wo warum wie welche welcher welches welchem welchen viel viele "
    "что кто кого чем кем чего когда где почему как какой какая какие какое каком какую каких "
    "каким сколько qui que quoi quel quelle quels quelles quand où comment pourquoi combien "
    "qué quién cuál cuándo dónde cómo cuánto cuántos cuántas chi che cosa quale quando dove come "
    "quanti quem qual quanto quantos wat wie wanneer waar waarom hoe welke "
    "什 么 什么 谁 哪 哪个 哪些 哪里 多少 怎 怎么 怎样 如何 为什 为什么 几 几个 时候 吗 呢 "
    "何 誰 いつ どこ なぜ どの どう いくつ "
)

# Script -> log2 of the frequency rank at which its words' weight starts to rise, and reaches 1.
# Fitted to document frequencies of real passages: many languages share the Latin script, so
# the function words of each one are further down the list.
_RANK_SPAN = {"LATIN": (5.0, 18.0), "CJK": (1.0, 12.0)}
_DEFAULT_RANK_SPAN = (3.0, 15.0)
FREQUENT_GRAM_SHARE = 1e-4  # share of running words above which an n-gram counts as frequent


def hash_words(words: Sequence[str]) -> Hashes:
    """Return a 64-bit hash of each word, the same on every machine. No word may be empty."""
    lengths = np.array([len(word) for word in words], dtype=np.intp)
    codes = code_points("".join(words))
    starts = np.cumsum(lengths) - lengths
    offset = np.arange(len(codes)) - np.repeat(starts, lengths)
    sums = np.add.reduceat(codes * _powers(int(lengths.max()))[offset], starts)
    return mix(sums + (lengths.astype(np.uint64) << np.uint64(32)))


def hash_grams(codes: Hashes, at: NDArray[np.intp], size: int) -> Hashes:
    """Return a 64-bit hash of each run of `size` code points that starts at an index in `at`."""
    powers = _powers(size)
    total = codes[at] * powers[0]
    for offset in range(1, size):
        total += codes[at + offset] * powers[offset]
    return mix(total + np.uint64(size << 32))


def code_points(text: str) -> Hashes:
    """Return the code points of `text`, shape (characters,)."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)


def mix(values: Hashes) -> Hashes:
    """Mix all bits of each value (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _powers(count: int) -> Hashes:
    steps = np.full(count, 0x9E3779B97F4A7C15, dtype=np.uint64)
    return np.multiply.accumulate(steps)


def weights(hashes: Hashes) -> tuple[Floats, NDArray[np.bool_]]:
    """Return each term's weight, from 1/15 to 1, and whether it is in the table."""
    keys, levels = _table()
    short = (hashes >> np.uint64(32)).astype(np.uint32)
    index = np.minimum(np.searchsorted(keys, short), len(keys) - 1)
    known = keys[index] == short
    return np.where(known, levels[index], 255) / 255.0, known


@cache
def _table() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    packed = gzip.decompress((files(__package__) / "terms.gz").read_bytes())
    count = len(packed) // 5
    bytes_ = np.frombuffer(packed, dtype=np.uint8)
    # Stored byte plane by byte plane, most significant first: sorted keys compress better.
    planes = bytes_[: 4 * count].reshape(4, count).astype(np.uint32)
    gaps = (planes[0] << 24) | (planes[1] << 16) | (planes[2] << 8) | planes[3]
    return np.cumsum(gaps, dtype=np.uint32), bytes_[4 * count :]


def build(ranks: Mapping[bytes, int]) -> bytes:
    """Return the content of terms.gz, from a byte-pair vocabulary: token bytes -> merge rank."""
    words = _words(ranks)
    known: dict[int, float] = {}
    for script, ordered in words.items():
        low, high = _RANK_SPAN.get(script, _DEFAULT_RANK_SPAN)
        for rank, term in enumerate(_hash_terms(ordered)):
            value = (log2(rank + 1) - low) / (high - low)
            if script not in _UNSPACED or len(ordered[rank]) == 1:
                known[term >> 32] = min(1.0, max(MIN_TERM_WEIGHT, value))
    for term in _hash_terms(sorted(set(_QUESTION_WORDS.split()))):
        known[term >> 32] = QUESTION_WORD_FACTOR * known.get(term >> 32, 1.0)
    for term, value in _gram_weights(words):
        known.setdefault(term >> 32, value)
    keys = np.array(sorted(known), dtype=np.uint32)
    gaps = np.diff(keys, prepend=np.uint32(0)).astype(">u4")
    planes = gaps.view(np.uint8).reshape(-1, 4).T.tobytes()
    levels = bytes(max(1, round(15 * known[key]) * 17) for key in keys.tolist())
    return gzip.compress(planes + levels, mtime=0)


def _words(ranks: Mapping[bytes, int]) -> dict[str, list[str]]:
    """Return the words among the tokens by script, most frequent first.

    In Latin and Cyrillic a token counts as a word only if it starts with a space; without
    one it is as often a fragment from inside a word.
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for token in sorted(ranks, key=lambda token: ranks[token]):
        try:
            text = unicodedata.normalize("NFKC", token.decode()).casefold()
        except UnicodeDecodeError:
            continue
        word = text.strip()
        if word.isalpha():
            script = unicodedata.name(word[0], "?").split(maxsplit=1)[0]
            if word != text or script not in ("LATIN", "CYRILLIC"):
                found[script].setdefault(word)
    return {script: list(words) for script, words in found.items()}


def _hash_terms(terms: Sequence[str]) -> list[int]:
    """Return the model's hashes of terms: a run of ideographs as it is, other words marked."""
    bare = [unicodedata.name(term[0], "?").split(maxsplit=1)[0] in _UNSPACED for term in terms]
    marked = [t if b else START + t + END for t, b in zip(terms, bare, strict=True)]
    return [int(term) for term in hash_words(marked)]


def _gram_weights(words: Mapping[str, Sequence[str]]) -> Iterable[tuple[int, float]]:
    """Yield the hash and weight of each frequent n-gram of words, given by frequency."""
    for script in ("LATIN", "CYRILLIC"):
        share: dict[str, float] = defaultdict(float)
        total = sum(1 / (rank + 20) for rank in range(len(words[script])))
        for rank, word in enumerate(words[script]):
            marked = START + word
            for size in GRAM_SIZES:
                for at in range(len(marked) - size + 1):
                    share[marked[at : at + size]] += 1 / (rank + 20) / total
        highest = log(1 + max(share.values()) / FREQUENT_GRAM_SHARE)
        for gram, value in share.items():
            weight = max(MIN_TERM_WEIGHT, 1 - log(1 + value / FREQUENT_GRAM_SHARE) / highest)
            if weight < 0.9:
                codes = code_points(gram)
                yield int(hash_grams(codes, np.array([0]), len(gram))[0]), weight
