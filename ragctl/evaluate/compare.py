"""Whether two settings differ by more than the choice of questions explains.

Fisher's randomisation test on the paired differences (Smucker, Allan and Carterette,
CIKM 2007: of the usual tests the one to prefer), Holm's correction where several
settings are compared with one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 9_999
_SEED = 20_070_611
_NUMBERS = 2_000_000  # in memory at once
_EQUAL = 1e-9  # differences below this are none


@dataclass(frozen=True, slots=True)
class Difference:
    """`difference`: mean of the second less the first; won, lost, tied: questions, by the second.

    `p`: how often signs drawn at random make as large a difference; `p_holm`: corrected.
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
    """Each of `others` (question → value) with `first`, over the same questions."""
    names = list(first)
    base = np.array([first[name] for name in names])
    rows = [np.array([other[name] for name in names]) for other in others]
    chances = [_chance(row - base) for row in rows]
    corrected = holm(chances)
    found = []
    for row, p, p_holm in zip(rows, chances, corrected, strict=True):
        apart = row - base
        won, lost = int((apart > _EQUAL).sum()), int((apart < -_EQUAL).sum())
        tied = len(names) - won - lost
        means = float(base.mean()), float(row.mean())
        found.append(Difference(*means, float(apart.mean()), p, p_holm, won, lost, tied))
    return found


def _chance(apart: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """The two-sided p of a mean difference, under signs drawn at random."""
    from scipy.stats import permutation_test

    apart = apart[np.abs(apart) > _EQUAL]
    if len(apart) < 2:  # one alone is as large under either sign
        return 1.0
    result = permutation_test(
        (apart,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(_SEED),
        batch=max(1, _NUMBERS // len(apart)),
        vectorized=True,
    )
    return float(result.pvalue)


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given."""
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    corrected, least = [1.0] * len(chances), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, chances[index] * (len(chances) - rank)))
        corrected[index] = least
    return corrected
