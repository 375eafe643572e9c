"""Conversion between the values of the store contract and those of the embedded engine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import qdrant_edge as qe

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    Has,
    Match,
    NoneOf,
    Prefix,
    Where,
)
from ragctl.collection.payload import BM25, DENSE, Payload, Point, SparseVector
from ragctl.stores.base import Batch, Query, Rescore
from ragctl.stores.conditions import bounds
from ragctl.stores.searching import VectorName, threshold_for

BYTES_PER_TERM = 24
"""Size of a sparse vector's entry in the segment in memory."""

BYTES_PER_PAYLOAD = 2048
"""Size of a payload without its text, and of its index entries, in the segment in memory."""


def operations(batch: Batch) -> Iterator[qe.UpdateOperation]:
    """Yield the writes of a batch, in order."""
    op = qe.UpdateOperation
    if batch.upserts:
        yield op.upsert_points([_edge_point(point) for point in batch.upserts])
    for point_id, payload in batch.overwrites:
        yield op.overwrite_payload([point_id], _json(payload))
    if batch.marks:
        yield op.upsert_points([_edge_point(point) for point in batch.marks])
    for point_id, payload in batch.mark_overwrites:
        yield op.overwrite_payload([point_id], _json(payload))
    for where, payload in batch.merges:
        yield op.set_payload_by_filter(filter_of(where) or qe.Filter(), _json(payload))
    if batch.deletes:
        yield op.delete_points(list(batch.deletes))


def estimated_bytes(point: Point) -> int:
    """Return the approximate size of a point in the segment in memory."""
    dense = 0 if point.dense is None else point.dense.nbytes
    terms = 0 if point.sparse is None else len(point.sparse.indices)
    return (
        dense
        + BYTES_PER_TERM * terms
        + 2 * len(str(point.payload.get("text", "")))
        + BYTES_PER_PAYLOAD
    )


def _edge_point(point: Point) -> qe.Point:
    vector: dict[str, Any] = {}
    if point.dense is not None:
        vector[DENSE] = point.dense.data  # the engine reads an array itself far slower
    if point.sparse is not None:
        vector[BM25] = qe.SparseVector(point.sparse.indices, point.sparse.values)
    return qe.Point(point.id, vector, _json(point.payload))


def _json(payload: Payload) -> dict[str, Any]:
    return cast(dict[str, Any], payload)


def read_point(record: qe.Record) -> Point:
    """Return the point of an engine record."""
    vector = cast(Mapping[str, Any], record.vector or {})
    dense, sparse = vector.get(DENSE), vector.get(BM25)
    return Point(
        str(record.id),
        cast(Payload, record.payload or {}),
        None if dense is None else np.asarray(dense, dtype=np.float32),
        None if sparse is None else SparseVector(list(sparse.indices), list(sparse.values)),
    )


def filter_of(where: Where) -> qe.Filter | None:
    """Return `where` as a filter; None if it matches every point."""
    return qe.Filter(must=[_condition(condition) for condition in where]) if where else None


def _condition(condition: Condition) -> Any:
    match condition:
        case Match(key, values):
            return _match(key, values)
        case Between():
            return _range(condition)
        case Prefix(key, text):
            return qe.FieldCondition(key=key, match=qe.MatchPrefix(text))
        case Has(key):
            return qe.Filter(must_not=[qe.IsEmptyCondition(key)])
        case AnyOf(of):
            # To the engine an empty filter matches everything.
            return qe.Filter(should=_conditions(of)) if of else _NOTHING
        case AllOf(of):
            return qe.Filter(must=_conditions(of))
        case NoneOf(of):
            return qe.Filter(must_not=_conditions(of))


def _conditions(of: tuple[Condition, ...]) -> list[Any]:
    return [_condition(condition) for condition in of]


_NOTHING = qe.HasIdCondition(set())


def _range(between: Between) -> qe.FieldCondition:
    times, given = bounds(between)
    within: Any = qe.RangeDateTime(**given) if times else qe.RangeFloat(**given)  # type: ignore[arg-type]
    return qe.FieldCondition(key=between.key, range=within)


def _match(key: str, values: tuple[str | int | bool, ...]) -> Any:
    if len(values) > 1 and all(isinstance(value, str) for value in values):
        return qe.FieldCondition(key=key, match=qe.MatchAny([str(value) for value in values]))
    matches: list[Any] = [qe.FieldCondition(key=key, match=_match_value(value)) for value in values]
    if not matches:
        return _NOTHING
    return matches[0] if len(matches) == 1 else qe.Filter(should=matches)


def _match_value(value: str | int | bool) -> qe.MatchValue:
    # The binding converts Python's True to the integer 1, but numpy's to a bool.
    return qe.MatchValue(cast(bool, np.bool_(value)) if isinstance(value, bool) else value)


def requests(
    query: Query, names: Sequence[VectorName], limit: int, *, payload: bool, quantized: bool
) -> list[qe.QueryRequest]:
    """Return one search for each of the vectors. `quantized`: the collection is quantised."""
    where = filter_of(query.where)
    threshold = None if query.min_score is None else threshold_for(query.min_score)
    return [
        qe.QueryRequest(
            limit=limit,
            query=_nearest(query, name),
            filter=where,
            with_payload=payload,
            score_threshold=threshold,
            params=_params(query, quantized=quantized) if name == "dense" else None,
        )
        for name in names
    ]


def _nearest(query: Query, name: VectorName) -> qe.Query:
    if name == "dense" and query.dense is not None:
        return qe.Query.Nearest(query.dense.tolist(), DENSE)
    if query.sparse is None:
        raise AssertionError(f"the query has no {name} vector")
    return qe.Query.Nearest(qe.SparseVector(query.sparse.indices, query.sparse.values), BM25)


def _params(query: Query, *, quantized: bool) -> qe.SearchParams:
    """Return how dense vectors are searched. There is no graph: every search is exhaustive."""
    if query.exact or not quantized:
        return qe.SearchParams(exact=True, hnsw_ef=query.ef)
    rescore = query.rescore or Rescore()
    return qe.SearchParams(
        hnsw_ef=query.ef,
        quantization=qe.QuantizationSearchParams(
            rescore=rescore.rescore, oversampling=rescore.oversampling
        ),
    )


def field_index(kind: str) -> Any:
    """Return the payload index for a field type (FIELD_TYPES)."""
    cold = qe.Memory.Cold
    match kind:
        case "integer":
            return qe.IntegerIndexParams(lookup=True, range=True, memory=cold)
        case "float":
            return qe.FloatIndexParams(memory=cold)
        case "bool":
            return qe.BoolIndexParams(memory=cold)
        case "datetime":
            return qe.DatetimeIndexParams(memory=cold)
        case _:
            return qe.KeywordIndexParams(memory=cold)


def quantization(name: str | None) -> Any:
    """Return the engine's configuration for one of QUANTIZATIONS, or None.

    The small copies stay on disk behind the page cache, like everything else: a process that
    searches once would load them for a single scan.
    """
    cold = qe.Memory.Cold
    match name:
        case None:
            return None
        case "scalar":
            return qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=cold)
        case "binary":
            return qe.BinaryQuantizationConfig(memory=cold)
        case "binary2":
            return qe.BinaryQuantizationConfig(
                encoding=qe.BinaryQuantizationEncoding.TwoBits, memory=cold
            )
        case _:
            bits = {"turbo1": "Bits1", "turbo2": "Bits2", "turbo4": "Bits4"}[name]
            return qe.TurboQuantQuantizationConfig(
                bits=getattr(qe.TurboQuantBitSize, bits), memory=cold
            )
