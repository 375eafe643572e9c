"""Rankings by scores alone, the same wherever a store keeps its points."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ragctl.collection.payload import Vector
from ragctl.stores.base import Fusion

Ranking: TypeAlias = list[tuple[str, float]]
"""Ids and scores, best first, equal scores in order of id."""

_DIGITS = 9  # of fused scores: sums that are equal on paper differ in the last of their 16


def ranked(scores: Iterable[tuple[str, float]]) -> Ranking:
    return sorted(scores, key=lambda hit: (-hit[1], hit[0]))


def fused(dense: Ranking, sparse: Ranking, fusion: Fusion) -> Ranking:
    """Both sides as one ranking; the sums of the engine's fusion, with twice its digits."""
    if fusion.kind == "dbsf":
        sides = [_normalised(dense), _normalised(sparse)]
    else:
        sides = [
            _reciprocal(dense, fusion.dense, fusion.k),
            _reciprocal(sparse, fusion.sparse, fusion.k),
        ]
    sums: dict[str, float] = {}
    for side in sides:
        for point_id, share in side:
            sums[point_id] = sums.get(point_id, 0.0) + share
    return ranked((point_id, round(score, _DIGITS)) for point_id, score in sums.items())


def _reciprocal(side: Ranking, weight: float, k: int) -> Ranking:
    if weight <= 0:
        return [(point_id, 0.0) for point_id, _ in side]
    return [
        (point_id, 1 / ((rank + 1) / weight + k - 1)) for rank, (point_id, _) in enumerate(side)
    ]


def _normalised(side: Ranking) -> Ranking:
    """Scores within three standard deviations of their mean, from 0 to 1."""
    scores = [score for _, score in side]
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    if deviation == 0:
        return [(point_id, 0.5) for point_id, _ in side]
    low = statistics.fmean(scores) - 3 * deviation
    return [(point_id, (score - low) / (6 * deviation)) for point_id, score in side]


def varied(
    ranking: Ranking, vectors: Mapping[str, Vector], diversity: float, count: int
) -> Ranking:
    """`count` of a ranking by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Each next one has the greatest (1 - diversity) * relevance - diversity * likeness,
    its likeness being the greatest cosine with one before it. Scores are the
    relevance, and stay. Of equals the first in the ranking is taken.
    """
    if not ranking:
        return []
    relevance = np.array([score for _, score in ranking])
    rows = _rows(ranking, vectors)
    likeness = np.full(len(ranking), -np.inf)
    left = np.zeros(len(ranking))  # -inf for what is taken
    taken = [0]
    while len(taken) < min(count, len(ranking)):
        last = taken[-1]
        left[last] = -np.inf
        # Not by a matrix product, which rounds equal rows differently by their place.
        likeness = np.maximum(likeness, (rows * rows[last]).sum(axis=1))
        taken.append(int(np.argmax((1 - diversity) * relevance - diversity * likeness + left)))
    return [ranking[index] for index in taken]


def _rows(ranking: Ranking, vectors: Mapping[str, Vector]) -> np.ndarray:
    """Unit vectors in the order of the ranking; zero for a point that has none."""
    size = max((vector.size for vector in vectors.values()), default=1)
    none = np.zeros(size)
    rows = np.array([vectors.get(point_id, none) for point_id, _ in ranking], dtype=np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows / np.where(lengths > 0, lengths, 1.0)


def is_cut(ranking: Sequence[tuple[str, float]], count: int) -> bool:
    """Whether more than `count` were found, and the equals of the last of them may not all be."""
    return len(ranking) > count and ranking[count - 1][1] == ranking[-1][1]


def has_equals(ranking: Ranking) -> bool:
    return any(score == after for (_, score), (_, after) in pairwise(ranking))
