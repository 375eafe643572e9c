"""The limits of a certification hold on other texts than those that they were chosen with."""

import numpy as np
import pytest

from ragctl.check.certify import texts, thresholds
from ragctl.embedding.base import Vectors
from tests import runtime_models
from tests.servers.certified import DOCUMENT, OTHERS, QUERY, computed
from tests.servers.minilm import Way

pytestmark = pytest.mark.slow

OTHER_TEXTS = (
    "The heat pump must not exceed sixty degrees, or the valve opens.",
    "Der Antrag ist spätestens vier Wochen vor Beginn des Urlaubs zu stellen.",
    "Отпуск предоставляется по графику, который утверждается в декабре.",
    "A short one.",
)
assert not set(OTHER_TEXTS) & set(texts.BATCH)


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    runtime_models.minilm()


def unit(given: tuple[str, ...], **way: object) -> Vectors:
    rows = computed(given, Way(**way))  # type: ignore[arg-type]
    found: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def cosines(one: Vectors, other: Vectors) -> Vectors:
    found: Vectors = np.sum(one.astype(np.float64) * other, axis=1)
    return found


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_stays_far_from_the_limits(dtype: str) -> None:
    before, after = OTHERS[-1]
    right, rounded = unit(OTHER_TEXTS), unit(OTHER_TEXTS, dtype=dtype)
    among = unit((*before, *OTHER_TEXTS, *after), dtype=dtype)[len(before) :][: len(OTHER_TEXTS)]
    assert 1 - cosines(rounded, among).min() < 0.2 * (1 - thresholds.SAME_REQUEST)
    assert 1 - cosines(rounded, right).min() < 0.5 * (1 - thresholds.SAME_WEIGHTS)
    assert 1 - cosines(rounded, among).min() < 1 - thresholds.SAME_SIDE


def test_faults_are_beyond_the_limits() -> None:
    right = unit(OTHER_TEXTS)
    assert cosines(unit(OTHER_TEXTS, masked=False), right).min() < thresholds.SAME_REQUEST
    assert cosines(unit(OTHER_TEXTS, eos=False), right).min() < thresholds.SAME_WEIGHTS
    asked = unit(tuple(QUERY + text for text in OTHER_TEXTS))
    told = unit(tuple(DOCUMENT + text for text in OTHER_TEXTS))
    assert cosines(asked, told).max() < thresholds.SAME_SIDE
    assert cosines(unit(OTHER_TEXTS, bits=5), right).min() > thresholds.COARSE
    for pooling in ("cls", "last"):
        assert cosines(unit(OTHER_TEXTS, pooling=pooling), right).min() < thresholds.COARSE


def test_other_weights_are_not_aligned_and_other_pooling_is() -> None:
    right = unit(OTHER_TEXTS)

    def alignment(rows: Vectors) -> float:
        table = rows @ right.T
        return float(np.diag(table).mean() - table[~np.eye(len(rows), dtype=bool)].mean())

    assert alignment(unit(OTHER_TEXTS, seed=2)) < thresholds.ALIGNED / 2
    for pooling in ("cls", "last"):
        assert alignment(unit(OTHER_TEXTS, pooling=pooling)) > 1.2 * thresholds.ALIGNED


@pytest.mark.parametrize("words", [100, 180])
def test_the_end_of_a_long_text_shows(words: int) -> None:
    whole = unit(texts.tail_pair(words))
    assert whole[0] @ whole[1] < 1 - 4 * (1 - thresholds.SAME_TAIL)
    cut = unit(texts.tail_pair(words), limit=64, dtype="bfloat16")
    assert cut[0] @ cut[1] >= thresholds.SAME_TAIL
