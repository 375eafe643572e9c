"""The test server's faster functions give what those of the client's local mode give."""

import random
from typing import Any

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.local import local_collection, payload_filters, sparse_distances

from tests.servers import qdrant_fast

PAYLOAD: dict[str, Any] = {
    "a": 1,
    "none": None,
    "list": ["x", "y"],
    "empty": [],
    "lists": [[1, 2], [3]],
    "b": {"c": "x", "d": [{"e": 1}, {"e": [2, 3]}], "f g": True},
}


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    "key",
    [
        *("a", "none", "list", "empty", "lists", "b", "b.c", "b.d", "b.x", "a.x", "x", 'b."f g"'),
        *("list[]", "list[0]", "list[7]", "lists[]", "b.d[].e", "b.d[1].e"),
    ],
)
def test_values_at_a_path(key: str, *, flat: bool) -> None:
    expected = qdrant_fast.original_value_by_key(PAYLOAD, key, flat)
    assert qdrant_fast.value_by_key(PAYLOAD, key, flat) == expected


@pytest.mark.parametrize("key", ["", ".", "a.", "a[", "a[x]", "b c"])
def test_an_invalid_path_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="Invalid path"):
        qdrant_fast.value_by_key(PAYLOAD, key)


def condition(key: str, value: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def random_filter(rng: random.Random, depth: int = 2) -> models.Filter:
    def clause() -> Any:
        one = [condition("a", rng.randrange(1, 3)), condition("list", rng.choice("xz"))]
        if depth:
            one.append(random_filter(rng, depth - 1))  # type: ignore[arg-type]
        return rng.choice([None, [], one[0], rng.sample(one, 1), rng.sample(one, 2)])

    some = models.MinShould(conditions=[condition("a", 1), condition("a", 2)], min_count=1)
    return models.Filter(
        must=clause(),
        should=clause(),
        must_not=clause(),
        min_should=some if rng.random() < 0.1 else None,
    )


def test_filters() -> None:
    rng = random.Random(1)
    outcomes = set()
    for _ in range(500):
        each = random_filter(rng)
        expected = qdrant_fast.original_check_filter(each, PAYLOAD, 1, {})
        assert qdrant_fast.check_filter(each, PAYLOAD, 1, {}) == expected, each
        outcomes.add(expected)
    assert outcomes == {True, False}


@pytest.mark.parametrize("names", [(), ("dense",), ("dense", "sparse")])
def test_masks(names: tuple[str, ...]) -> None:
    rng = random.Random(1)
    payloads: list[dict[str, Any]] = [{"a": rng.randrange(3)} for _ in range(20)]
    deleted = {name: np.array([rng.random() < 0.5 for _ in range(32)]) for name in names}
    vector = models.HasVectorCondition(has_vector="dense")
    for each in (None, models.Filter(must=[condition("a", 1)]), models.Filter(must_not=vector)):
        arguments: Any = (payloads, each, list(range(20)), deleted)
        expected = qdrant_fast.original_calculate_payload_mask(*arguments)
        found = qdrant_fast.calculate_payload_mask(*arguments)
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("empty_is_zero", [True, False])
def test_sparse_scores(*, empty_is_zero: bool) -> None:
    rng = random.Random(1)
    query, *vectors = (
        models.SparseVector(
            indices=sorted(rng.sample(range(60), size)), values=[rng.random() for _ in range(size)]
        )
        for size in (8, 0, *(rng.randrange(1, 20) for _ in range(50)))
    )
    expected = sparse_distances.calculate_distance_sparse(query, vectors, empty_is_zero)
    found = qdrant_fast.calculate_distance_sparse(query, vectors, empty_is_zero)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    assert len(set(expected.tolist())) > 20


def test_they_are_in_use() -> None:
    assert vars(payload_filters)["check_filter"] is qdrant_fast.check_filter
    assert vars(local_collection)["value_by_key"] is qdrant_fast.value_by_key
    assert vars(local_collection)["calculate_payload_mask"] is qdrant_fast.calculate_payload_mask
