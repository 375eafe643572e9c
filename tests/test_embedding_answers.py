"""Checks of a host's answer: order, length, numbers; truncation and normalisation."""

import base64

import numpy as np
import pytest

from ragctl.embedding import answers
from ragctl.embedding.catalogs import package_catalog
from ragctl.errors import BackendError


def test_items_are_ordered_by_index_or_kept_as_sent() -> None:
    items = [{"index": 1, "v": "b"}, {"index": 0, "v": "a"}]
    assert [item["v"] for item in answers.items_in_order(items, 2, "h")] == ["a", "b"]
    plain = [{"v": "b"}, {"v": "a"}]
    assert answers.items_in_order(plain, 2, "h") == plain


@pytest.mark.parametrize("index", [2, -1, True, "1", 1.0, 0])
def test_invalid_index_raises(index: object) -> None:
    with pytest.raises(BackendError, match="h answered vectors that cannot be put in order"):
        answers.items_in_order([{"index": 0}, {"index": index}], 2, "h")


@pytest.mark.parametrize("items", [None, {}, "x", [1], [None]])
def test_answer_without_a_list_raises(items: object) -> None:
    with pytest.raises(BackendError, match="no list of embeddings"):
        answers.items_in_order(items, 1, "h")


def test_numbers_and_base64_decode_to_the_same_vectors() -> None:
    values = [0.5, -2.0, 3.0]
    coded = base64.b64encode(np.array(values, "<f4").tobytes()).decode()
    rows = answers.decode_vectors([values, coded], "h")
    np.testing.assert_array_equal(rows, np.array([values, values], np.float32))


@pytest.mark.parametrize("value", ["not base64!", "AAA=", ["1.0"], [True], {}, None, [10**400]])
def test_invalid_embedding_raises(value: object) -> None:
    with pytest.raises(BackendError, match="h answered"):
        answers.decode_vectors([value], "h")


def test_null_stands_for_nan() -> None:
    """In a vector, and for a vector, beside one that shows the length."""
    rows = answers.decode_vectors([[0.5, None], None, [1.0, 2.0]], "h")
    assert np.isnan(rows).tolist() == [[False, True], [True, True], [False, False]]


def test_truncated_vector_is_normalised() -> None:
    rows = np.array([[3, 4, 12, 84], [0.3, 0.4, 0, 0]], np.float32)
    vectors = answers.to_unit_vectors(rows, 2, native=4, cut=True, host="h")
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous


@pytest.mark.parametrize(
    ("dim", "native", "cut"),
    [(2, 4, False), (2, 8, True), (8, 4, True)],
    ids=["no matryoshka", "another model's length", "longer than native"],
)
def test_wrong_dimension_raises(dim: int, native: int, cut: bool) -> None:
    with pytest.raises(BackendError, match=f"h answered vectors of 4 dimensions, not {dim}"):
        answers.to_unit_vectors(np.ones((1, 4), np.float32), dim, native=native, cut=cut, host="h")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_non_finite_number_raises(bad: float) -> None:
    rows = answers.decode_vectors([[1.0, 1.0], [1.0, bad]], "h")
    with pytest.raises(BackendError, match="NaN or infinity"):
        answers.to_unit_vectors(rows, 2, native=2, cut=False, host="h")


def test_zero_prefix_raises() -> None:
    with pytest.raises(BackendError, match="zero length"):
        answers.to_unit_vectors(np.array([[0, 0, 1]], np.float32), 2, native=3, cut=True, host="h")


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"total_tokens": 7}, 7),
        ({"prompt_tokens": 5}, 5),
        ({"total_tokens": 0, "prompt_tokens": 5}, 5),
        ({"total_tokens": "7"}, 0),
        ([], 0),
    ],
)
def test_tokens_are_read_from_usage(usage: object, tokens: int) -> None:
    body = {"data": [{"embedding": [1.0] * 1024}], "usage": usage}
    answer = answers.from_data(body, 1, package_catalog().model("bge-m3"), 1024, "h")
    assert answer.tokens == tokens
