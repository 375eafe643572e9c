"""Test whether two variants differ by more than the choice of questions explains.

Fisher's randomisation test on the paired differences, which Smucker, Allan and Carterette (CIKM
2007) recommend over the other usual tests; Holm's correction if several variants are compared with
one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 9_999
SEED = 20_070_611
MAX_NUMBERS_IN_MEMORY = 2_000_000
MIN_DIFFERENCE = 1e-9  # smaller differences count as ties


@dataclass(frozen=True, slots=True)
class Difference:
    """The comparison of a second variant with a first.

    `first`, `second`: means over the questions; `difference`: second minus first. `won`, `lost`,
    `tied`: numbers of questions on which the second is better, worse, equal. `p`: share of
    random sign flips that give as large a difference; `p_holm`: after Holm's correction.
    """

    first: float
    second: float
    difference: float
    p: float
    p_holm: float
    won: int
    lost: int
    tied: int


def compare(first: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> list[Difference]:
    """Compare each of `others` (question → value) with `first`, over the same questions."""
    names = list(first)
    base = np.array([first[name] for name in names])
    rows = [np.array([other[name] for name in names]) for other in others]
    p_values = [_p_value(row - base) for row in rows]
    corrected = holm(p_values)
    differences = []
    for row, p, p_holm in zip(rows, p_values, corrected, strict=True):
        change = row - base
        won, lost = int((change > MIN_DIFFERENCE).sum()), int((change < -MIN_DIFFERENCE).sum())
        tied = len(names) - won - lost
        means = float(base.mean()), float(row.mean())
        differences.append(Difference(*means, float(change.mean()), p, p_holm, won, lost, tied))
    return differences


def _p_value(changes: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Return the two-sided p of a mean difference, under signs drawn at random."""
    from scipy.stats import permutation_test

    changes = changes[np.abs(changes) > MIN_DIFFERENCE]
    if len(changes) < 2:  # a single one is as large under either sign
        return 1.0
    result = permutation_test(
        (changes,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
        batch=max(1, MAX_NUMBERS_IN_MEMORY // len(changes)),
        vectorized=True,
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values after Holm's step-down correction (1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected
