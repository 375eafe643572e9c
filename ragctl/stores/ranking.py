"""Rankings computed from scores alone, independent of where a store keeps its points."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ragctl.collection.payload import Vector
from ragctl.stores.base import Fusion

Ranking: TypeAlias = list[tuple[str, float]]
"""Ids and scores, best first, equal scores in order of id."""

SCORE_DIGITS = 9
"""Decimal places of fused scores. Sums that are mathematically equal differ in the 16th."""


def rank(scores: Iterable[tuple[str, float]]) -> Ranking:
    """Return (id, score) pairs as a ranking."""
    return sorted(scores, key=lambda hit: (-hit[1], hit[0]))


def fuse(dense: Ranking, sparse: Ranking, fusion: Fusion) -> Ranking:
    """Return both rankings fused by the engine's formulas, in double precision."""
    if fusion.kind == "dbsf":
        shares = [_normalized(dense), _normalized(sparse)]
    else:
        shares = [
            _reciprocal(dense, fusion.dense, fusion.k),
            _reciprocal(sparse, fusion.sparse, fusion.k),
        ]
    sums: dict[str, float] = {}
    for ranking in shares:
        for point_id, share in ranking:
            sums[point_id] = sums.get(point_id, 0.0) + share
    return rank((point_id, round(score, SCORE_DIGITS)) for point_id, score in sums.items())


def _reciprocal(ranking: Ranking, weight: float, k: int) -> Ranking:
    if weight <= 0:
        return [(point_id, 0.0) for point_id, _ in ranking]
    return [
        (point_id, 1 / ((position + 1) / weight + k - 1))
        for position, (point_id, _) in enumerate(ranking)
    ]


def _normalized(ranking: Ranking) -> Ranking:
    """Map scores linearly: three standard deviations below their mean to 0, above it to 1."""
    scores = [score for _, score in ranking]
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    if deviation == 0:
        return [(point_id, 0.5) for point_id, _ in ranking]
    low = statistics.fmean(scores) - 3 * deviation
    return [(point_id, (score - low) / (6 * deviation)) for point_id, score in ranking]


def diversify(
    ranking: Ranking, vectors: Mapping[str, Vector], diversity: float, count: int
) -> Ranking:
    """Return `count` hits chosen by maximal marginal relevance (Carbonell and Goldstein, 1998).

    The next hit is the one with the greatest (1 - diversity) * score - diversity * similarity,
    where similarity is its greatest cosine with a hit chosen before; of equal ones, the first
    in the ranking. The scores stay as they are. A point without a vector is similar to none.
    """
    if not ranking:
        return []
    relevance = np.array([score for _, score in ranking])
    rows = _unit_rows(ranking, vectors)
    similarity = np.full(len(ranking), -np.inf)
    excluded = np.zeros(len(ranking))  # -inf for hits that are chosen
    chosen = [0]
    while len(chosen) < min(count, len(ranking)):
        last = chosen[-1]
        excluded[last] = -np.inf
        # Not a matrix product: it rounds equal rows differently, depending on their position.
        similarity = np.maximum(similarity, (rows * rows[last]).sum(axis=1))
        marginal = (1 - diversity) * relevance - diversity * similarity
        chosen.append(int(np.argmax(marginal + excluded)))
    return [ranking[index] for index in chosen]


def _unit_rows(ranking: Ranking, vectors: Mapping[str, Vector]) -> np.ndarray:
    """Return unit vectors in the order of the ranking; zeros for a point without a vector."""
    size = max((vector.size for vector in vectors.values()), default=1)
    none = np.zeros(size)
    rows = np.array([vectors.get(point_id, none) for point_id, _ in ranking], dtype=np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows / np.where(lengths > 0, lengths, 1.0)


def ends_within_tie(ranking: Sequence[tuple[str, float]], count: int) -> bool:
    """Return whether the first `count` hits may end within a tie that was not read whole.

    That is so when more than `count` were read and all after the last of them tie with it.
    """
    return len(ranking) > count and ranking[count - 1][1] == ranking[-1][1]


def has_ties(ranking: Ranking) -> bool:
    """Return whether two hits have the same score."""
    return any(score == after for (_, score), (_, after) in pairwise(ranking))
