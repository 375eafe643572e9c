"""A batch is split into requests within the limits, in order."""

import json
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from ragctl.collection.conditions import Match
from ragctl.collection.payload import Payload, Point, SparseVector
from ragctl.stores.base import Batch
from ragctl.stores.server_points import encode_point, filter_of, read_point
from ragctl.stores.server_writes import (
    MAX_REQUEST_BYTES,
    MAX_REQUEST_POINTS,
    batch_body,
    write_requests,
)
from tests.store_contract import any_payload, ident

payloads: st.SearchStrategy[Payload] = st.builds(
    any_payload, text=st.text(max_size=80), n=st.integers(-(2**63), 2**63 - 1)
)

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    def points() -> list[Point]:
        dim = draw(st.integers(1, 20))
        points_drawn = []
        for number in range(draw(st.integers(0, 8))):
            values = draw(st.lists(floats, min_size=dim, max_size=dim))
            weights = draw(st.lists(st.floats(0, 100), max_size=9))
            sparse = SparseVector([2**32 - 1 - n for n in range(len(weights))], weights)
            vector = np.array(values, dtype=np.float32)
            points_drawn.append(Point(ident(number), draw(payloads), vector, sparse))
        return points_drawn

    def pairs() -> list[tuple[str, Payload]]:
        return [(ident(n), draw(payloads)) for n in range(draw(st.integers(0, 8)))]

    return Batch(
        upserts=points(),
        overwrites=pairs(),
        marks=points(),
        mark_overwrites=pairs(),
        merges=[((Match("source", ("a", "b")),), body) for _, body in pairs()],
        deletes=[ident(n) for n in range(draw(st.integers(0, 40)))],
    )


def single_writes(operations: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Return the single writes of the operations, in order: kind and target."""
    writes = []
    for operation in operations:
        ((kind, body),) = operation.items()
        many = body["points"] if kind in ("upsert", "delete") else [body]
        writes += [(kind, each) for each in many]
    return writes


@settings(max_examples=40)
@given(batch=batches(), upsert_limit=st.integers(1, 9))
def test_splitting_a_batch_into_requests_keeps_all_writes_in_order(
    batch: Batch, upsert_limit: int
) -> None:
    max_bytes = 4000

    def sent(max_bytes: int = MAX_REQUEST_BYTES) -> list[bytes]:
        return [
            orjson.dumps(batch_body(operations))
            for operations in write_requests(
                batch, upsert_limit=upsert_limit, hidden=None, max_bytes=max_bytes
            )
        ]

    split = [json.loads(body)["operations"] for body in sent(max_bytes=max_bytes)]
    whole = [json.loads(body)["operations"] for body in sent()]
    assert len(whole) <= 1
    split_writes = [each for request in split for each in single_writes(request)]
    assert split_writes == [each for request in whole for each in single_writes(request)]
    assert len(split_writes) == sum(
        len(getattr(batch, part)) for part in Batch.__dataclass_fields__
    )
    for body in sent(max_bytes=max_bytes):
        assert len(body) <= max_bytes or len(single_writes(json.loads(body)["operations"])) == 1
    for operation in (operation for request in split for operation in request):
        assert len(operation.get("upsert", {"points": []})["points"]) <= upsert_limit


def test_a_request_has_a_maximum_number_of_points() -> None:
    batch = Batch(
        overwrites=[(ident(n), {}) for n in range(MAX_REQUEST_POINTS + 1)],
        deletes=[ident(n) for n in range(2 * MAX_REQUEST_POINTS)],
    )
    sizes = [len(r) for r in write_requests(batch, upsert_limit=9, hidden=None)]
    assert sizes == [MAX_REQUEST_POINTS, 1, 1, 1]


def test_filter_of_builds_qdrant_filters() -> None:
    assert filter_of(()) is None
    assert filter_of((), "b1d4") == {"must_not": [{"has_id": ["b1d4"]}]}
    assert filter_of((Match("source", ()),)) == {"must": [{"key": "source", "match": {"any": ()}}]}


@given(values=st.lists(floats, min_size=1, max_size=50))
def test_a_vector_survives_encoding_bit_for_bit(values: list[float]) -> None:
    dense = np.array(values, dtype=np.float32)
    body = encode_point(Point(ident(1), any_payload(text="t", n=1), dense))
    read = read_point(orjson.loads(body)).dense
    assert read is not None
    assert read.tobytes() == dense.tobytes()
    assert np.array_equal(np.array(json.loads(body)["vector"]["dense"], dtype=np.float32), dense)
