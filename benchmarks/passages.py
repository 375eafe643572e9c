"""Synthetic passages and questions, clustered by topic as in real documents.

The words are those of the sample documents and an equal number of invented ones, distributed by
Zipf's law. A passage takes nearly half of its words from its topic, a question most of them. The
same seed gives the same texts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).parent.parent / "sample_docs"
TOPIC_WORDS = 40  # words per topic
PASSAGE_WORDS = 180  # words per passage, on average
TOPIC_SHARE = 0.45  # share of a passage's words that are from its topic
BLOCK_PASSAGES = 1000  # passages generated at a time


@dataclass(frozen=True)
class Passages:
    """`count` passages of `topics` topics, generated in blocks to bound memory."""

    count: int
    topics: int = 400
    seed: int = 7

    def blocks(self) -> Iterator[list[str]]:
        """Yield all passages, BLOCK_PASSAGES at a time."""
        for first in range(0, self.count, BLOCK_PASSAGES):
            rng = np.random.default_rng([self.seed, first])
            yield [self._passage(rng) for _ in range(min(BLOCK_PASSAGES, self.count - first))]

    def questions(self, count: int) -> list[str]:
        """Return questions of six words of a topic and two common words."""
        rng = np.random.default_rng([self.seed, 1 << 40])
        return [" ".join([*self._of_topic(rng, 6), *self._common(rng, 2)]) for _ in range(count)]

    def _passage(self, rng: np.random.Generator) -> str:
        size = int(rng.integers(PASSAGE_WORDS // 2, PASSAGE_WORDS * 3 // 2))
        own = int(size * TOPIC_SHARE)
        words = [*self._of_topic(rng, own), *self._common(rng, size - own)]
        rng.shuffle(words)
        sentences = [" ".join(words[n : n + 12]).capitalize() for n in range(0, size, 12)]
        return ". ".join(sentences) + "."

    def _of_topic(self, rng: np.random.Generator, count: int) -> list[str]:
        words = vocabulary()
        topic = int(rng.integers(self.topics))
        own = np.random.default_rng([self.seed, topic, 1]).integers(len(words), size=TOPIC_WORDS)
        return [words[own[n]] for n in _ranks(rng, TOPIC_WORDS, count)]

    def _common(self, rng: np.random.Generator, count: int) -> list[str]:
        words = vocabulary()
        return [words[n] for n in _ranks(rng, len(words), count)]


@cache
def vocabulary() -> Sequence[str]:
    """Return the words of the sample documents by frequency, each followed by an invented word."""
    counts: dict[str, int] = {}
    for path in sorted(SAMPLES.rglob("*.md")):
        for word in re.findall(r"[^\W\d_]{2,}", path.read_text("utf-8").lower()):
            counts[word] = counts.get(word, 0) + 1
    known = sorted(counts, key=lambda word: (-counts[word], word))
    rng = np.random.default_rng(0)
    invented = ["".join(rng.choice(list("aeioubcdfglmnprst"), rng.integers(4, 9))) for _ in known]
    return [word for pair in zip(known, invented, strict=True) for word in pair]


def _ranks(rng: np.random.Generator, size: int, count: int) -> list[int]:
    """Draw `count` ranks below `size` by Zipf's law: rank n (from 1) has a weight of 1/n."""
    sums = _zipf(size)
    ranks: list[int] = np.searchsorted(sums, rng.random(count)).tolist()
    return ranks


@cache
def _zipf(size: int) -> np.ndarray:
    shares = 1 / np.arange(1, size + 1)
    sums: np.ndarray = np.cumsum(shares) / shares.sum()
    return sums
