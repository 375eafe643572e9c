"""Passages and questions of made-up topics: what is alike stands together, as in real documents.

The words are those of the sample documents and as many invented ones, by Zipf's law. A passage
draws nearly half of its words from those of its topic, a question most of them. The same seed
gives the same texts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).parent.parent / "sample_docs"
TOPIC_WORDS = 40  # words of a topic
PASSAGE_WORDS = 180  # words of a passage, on average
TOPIC_SHARE = 0.45  # of a passage's words, those of its topic
BLOCK_PASSAGES = 1000  # passages made at once


@dataclass(frozen=True)
class Passages:
    """`count` passages of `topics` topics, in blocks so that memory stays small."""

    count: int
    topics: int = 400
    seed: int = 7

    def blocks(self) -> Iterator[list[str]]:
        for first in range(0, self.count, BLOCK_PASSAGES):
            dice = np.random.default_rng([self.seed, first])
            yield [self._passage(dice) for _ in range(min(BLOCK_PASSAGES, self.count - first))]

    def questions(self, count: int) -> list[str]:
        dice = np.random.default_rng([self.seed, 1 << 40])
        return [" ".join([*self._of_topic(dice, 6), *self._common(dice, 2)]) for _ in range(count)]

    def _passage(self, dice: np.random.Generator) -> str:
        size = int(dice.integers(PASSAGE_WORDS // 2, PASSAGE_WORDS * 3 // 2))
        own = int(size * TOPIC_SHARE)
        words = [*self._of_topic(dice, own), *self._common(dice, size - own)]
        dice.shuffle(words)
        sentences = [" ".join(words[n : n + 12]).capitalize() for n in range(0, size, 12)]
        return ". ".join(sentences) + "."

    def _of_topic(self, dice: np.random.Generator, count: int) -> list[str]:
        words = vocabulary()
        topic = int(dice.integers(self.topics))
        own = np.random.default_rng([self.seed, topic, 1]).integers(len(words), size=TOPIC_WORDS)
        return [words[own[n]] for n in _ranks(dice, TOPIC_WORDS, count)]

    def _common(self, dice: np.random.Generator, count: int) -> list[str]:
        words = vocabulary()
        return [words[n] for n in _ranks(dice, len(words), count)]


@cache
def vocabulary() -> Sequence[str]:
    """Words of the sample documents, the commonest first; behind each an invented one."""
    counts: dict[str, int] = {}
    for path in sorted(SAMPLES.rglob("*.md")):
        for word in re.findall(r"[^\W\d_]{2,}", path.read_text("utf-8").lower()):
            counts[word] = counts.get(word, 0) + 1
    known = sorted(counts, key=lambda word: (-counts[word], word))
    dice = np.random.default_rng(0)
    made = ["".join(dice.choice(list("aeioubcdfglmnprst"), dice.integers(4, 9))) for _ in known]
    return [word for pair in zip(known, made, strict=True) for word in pair]


def _ranks(dice: np.random.Generator, size: int, count: int) -> list[int]:
    """Ranks by Zipf's law: each as likely as one over its place."""
    sums = _zipf(size)
    found: list[int] = np.searchsorted(sums, dice.random(count)).tolist()
    return found


@cache
def _zipf(size: int) -> np.ndarray:
    shares = 1 / np.arange(1, size + 1)
    sums: np.ndarray = np.cumsum(shares) / shares.sum()
    return sums
