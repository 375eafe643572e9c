"""Canaries: how a collection stores them, and that they distinguish models."""

import base64
import hashlib
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.embedding import Canary
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Vectors
from ragctl.embedding.canary import (
    CANARY_THRESHOLD,
    DOCUMENTS,
    QUERY,
    canary_texts,
    embed_canary,
    make_canary,
)
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused
from ragctl.records import Json


def unit(rows: np.ndarray) -> Vectors:
    wide = rows.astype(np.float64)
    vectors: Vectors = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def random(seed: int, dim: int, spread: float = 1.0) -> Canary:
    """Return a canary whose numbers have magnitudes spread over `spread` orders of magnitude."""
    generator = np.random.default_rng(seed)
    wide = generator.standard_normal((4, dim)) * 10 ** generator.uniform(-spread, 0, (4, dim))
    rows = unit(wide)
    return Canary(rows[:3], rows[3:])


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([1, 32, 384, 1024, 4096]), st.floats(0, 6))
def test_stored_canary_agrees_with_the_original(seed: int, dim: int, spread: float) -> None:
    made = random(seed, dim, spread)
    kept = Canary.from_json(json.loads(json.dumps(made.to_json())))
    assert kept.agreement("document", made.documents) >= 0.99999
    assert kept.agreement("query", made.query) >= 0.99999
    assert kept.documents.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(kept.documents, axis=1), 1, atol=1e-6)


def test_stored_canary_is_small() -> None:
    assert len(json.dumps(random(1, 1024).to_json())) < 4 * 1024 * 2 * 4 / 3 + 100


def test_agreement_is_that_of_the_worst_text() -> None:
    made = random(1, 64)
    documents = made.documents.copy()
    documents[2] = random(2, 64).documents[2]
    assert made.agreement("document", documents) < 0.6 < CANARY_THRESHOLD
    assert made.agreement("document", made.documents) > 0.9999


@pytest.mark.parametrize("shape", [(3, 63), (3, 128), (2, 64), (4, 64)])
def test_different_shape_does_not_agree(shape: tuple[int, int]) -> None:
    assert random(1, 64).agreement("document", unit(np.ones(shape))) == 0.0


def test_nan_does_not_agree() -> None:
    made = random(1, 64)
    assert not made.agreement("document", made.documents * np.float32("nan")) >= CANARY_THRESHOLD


def encode_float16(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f2").tobytes()).decode()


GOOD = encode_float16(1, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "it must have 3 documents and a query"),
        ({"documents": [GOOD] * 3}, "it must have 3 documents and a query"),
        ({"documents": [GOOD] * 2, "query": GOOD}, "it must have 3 documents and a query"),
        ({"documents": GOOD, "query": GOOD}, "it must have 3 documents and a query"),
        ({"documents": [GOOD, GOOD, 5], "query": GOOD}, "a vector is not a string"),
        ({"documents": [GOOD] * 3, "query": "%%%"}, "not base64 of float16"),
        ({"documents": [GOOD] * 3, "query": "ключ"}, "not base64 of float16"),
        ({"documents": [GOOD] * 3, "query": "AAA="}, "a vector has no finite length"),
        ({"documents": [GOOD] * 3, "query": "AAAA"}, "not base64 of float16"),
        ({"documents": [GOOD] * 3, "query": ""}, "a vector has no finite length"),
        ({"documents": [GOOD] * 3, "query": encode_float16(0, 0)}, "a vector has no finite length"),
        (
            {"documents": [GOOD] * 3, "query": encode_float16(1, np.nan)},
            "a vector has no finite length",
        ),
        (
            {"documents": [GOOD] * 3, "query": encode_float16(np.inf, 1)},
            "a vector has no finite length",
        ),
        (
            {"documents": [GOOD] * 3, "query": encode_float16(1, 2, 3)},
            "its vectors differ in length",
        ),
    ],
)
def test_damaged_canary_raises_with_the_reason(value: dict[str, Json], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Canary.from_json(value)


class Echo:
    """A wire that answers each text with its own vector, or refuses all texts."""

    def __init__(self, *, refusing: bool = False) -> None:
        self.requests: list[EmbeddingRequest] = []
        self.refusing = refusing

    def call(self, request: EmbeddingRequest) -> Embeddings:
        self.requests.append(request)
        if self.refusing:
            raise Refused("refused by host: 400 no")
        rows = [[len(text), len(request.side), 1.0] for text in request.texts]
        return Embeddings(unit(np.array(rows)), tokens=3)

    def close(self) -> None:
        pass


def test_make_canary_embeds_both_sides_and_passes_the_stop_event() -> None:
    wire, stopped = Echo(), threading.Event()
    made = make_canary(wire, stopped)
    assert [(r.side, r.texts) for r in wire.requests] == [
        ("document", DOCUMENTS),
        ("query", (QUERY,)),
    ]
    assert all(r.stopped is stopped and not r.together for r in wire.requests)
    assert (made.documents.shape, made.query.shape) == ((3, 3), (1, 3))
    assert made.agreement("query", embed_canary(wire, "query", stopped).vectors) == pytest.approx(1)


def test_refused_canary_texts_are_a_backend_error() -> None:
    with pytest.raises(BackendError, match="the canary texts are refused by host: 400") as caught:
        make_canary(Echo(refusing=True), threading.Event())
    assert not isinstance(caught.value, Refused)


def test_canary_texts_do_not_change() -> None:
    """Every collection stores vectors of exactly these texts."""
    digest = hashlib.sha256(
        "|".join((*canary_texts("document"), *canary_texts("query"))).encode()
    ).hexdigest()
    assert digest.startswith("8dbcb9404c8e202b")
    assert canary_texts("document") == DOCUMENTS
    assert canary_texts("query") == (QUERY,)
