"""The measures are the textbook's, and differences between settings are what they claim."""

from math import log2

import numpy as np
import pytest

from ragctl.errors import UsageError
from ragctl.evaluate import measures
from ragctl.evaluate.compare import compare, holm

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"a": 1}, "q3": {"z": 1}}


def test_values_by_hand() -> None:
    rankings = {"q1": ["c", "b", "x", "a"], "q2": ["a"]}
    found = measures.measure(QRELS, rankings, (1, 5))
    assert tuple(found) == measures.names((5, 1)) == ("nDCG@10", "recall@1", "recall@5", "MRR@10")
    ideal = 2 + 1 / log2(3)
    assert found["nDCG@10"] == pytest.approx(
        {"q1": (1 / log2(3) + 2 / log2(5)) / ideal, "q2": 1.0, "q3": 0.0}
    )
    assert found["recall@1"] == {"q1": 0.0, "q2": 1.0, "q3": 0.0}
    assert found["recall@5"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert found["MRR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}


def test_order_counts_and_not_names() -> None:
    """trec_eval puts equal scores in the order of names, backwards."""
    for ranking in (["a", "z"], ["z", "a"]):
        found = measures.measure({"q": {"a": 1}}, {"q": ranking}, (5,))
        assert found["MRR@10"]["q"] == 1 / (1 + ranking.index("a"))


def test_ranks_beyond_the_depth_do_not_count() -> None:
    ranking = [f"x{rank}" for rank in range(10)] + ["a"]
    assert measures.measure({"q": {"a": 1}}, {"q": ranking}, (5,))["MRR@10"]["q"] == 0
    deep = measures.measure({"q": {"a": 1}}, {"q": ranking}, (20,))
    assert deep["recall@20"]["q"] == 1
    assert deep["MRR@20"]["q"] == pytest.approx(1 / 11)


def test_a_missing_library_says_how_to_get_it() -> None:
    with pytest.raises(UsageError, match=r"no_such_library.*pip install '\S*\[eval\]'"):
        measures.check_extra("no_such_library")


def values(numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> dict[str, float]:
    return {str(index): float(number) for index, number in enumerate(numbers)}


def test_a_real_difference_is_told_from_noise() -> None:
    dice = np.random.default_rng(3)
    base = dice.random(120)
    noise = base + dice.normal(0, 0.1, 120)
    better = base + 0.05 + dice.normal(0, 0.1, 120)
    first, second = compare(values(base), [values(noise), values(better)])
    assert first.p > 0.1
    assert second.p < 0.001
    assert second.p_holm == min(1.0, second.p * 2)
    assert second.difference == pytest.approx(second.second - second.first)
    assert second.won + second.lost == 120


def test_the_p_of_few_questions_is_exact() -> None:
    """Five wins of one size: of 32 ways to draw the signs two are as extreme."""
    base = {str(n): 0.0 for n in range(9)}
    other = {str(n): 0.5 if n < 5 else 0.0 for n in range(9)}
    (found,) = compare(base, [other])
    assert found.p == pytest.approx(2 / 32)
    assert (found.won, found.lost, found.tied) == (5, 0, 4)


@pytest.mark.parametrize("differing", [0, 1])
def test_no_difference_is_never_significant(differing: int) -> None:
    base = {str(n): 0.5 for n in range(4)}
    (found,) = compare(base, [{**base, **{str(n): 1.0 for n in range(differing)}}])
    assert found.p == 1.0
    assert found.won == differing


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
