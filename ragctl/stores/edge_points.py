"""Between the store contract's values and those of the embedded engine."""

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
from ragctl.stores.searching import Side, just_below

_TERM_BYTES = 24  # of a sparse vector's entry, in the segment in memory
_FIELD_BYTES = 2048  # of a point's payload but its text, and what indexes it


def operations(batch: Batch) -> Iterator[qe.UpdateOperation]:
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


def weight(point: Point) -> int:
    dense = 0 if point.dense is None else point.dense.nbytes
    terms = 0 if point.sparse is None else len(point.sparse.indices)
    return dense + _TERM_BYTES * terms + 2 * len(str(point.payload.get("text", ""))) + _FIELD_BYTES


def _edge_point(point: Point) -> qe.Point:
    vector: dict[str, Any] = {}
    if point.dense is not None:
        vector[DENSE] = point.dense.data  # an array itself is read far slower
    if point.sparse is not None:
        vector[BM25] = qe.SparseVector(point.sparse.indices, point.sparse.values)
    return qe.Point(point.id, vector, _json(point.payload))


def _json(payload: Payload) -> dict[str, Any]:
    return cast(dict[str, Any], payload)


def read_point(record: qe.Record) -> Point:
    vector = cast(Mapping[str, Any], record.vector or {})
    dense, sparse = vector.get(DENSE), vector.get(BM25)
    return Point(
        str(record.id),
        cast(Payload, record.payload or {}),
        None if dense is None else np.asarray(dense, dtype=np.float32),
        None if sparse is None else SparseVector(list(sparse.indices), list(sparse.values)),
    )


def filter_of(where: Where) -> qe.Filter | None:
    """`where` as a filter; None where all match."""
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
            # The engine would take an empty filter for no filter.
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
    # The binding takes Python's True for the integer 1; numpy's it takes for a bool.
    return qe.MatchValue(cast(bool, np.bool_(value)) if isinstance(value, bool) else value)


def requests(
    query: Query, sides: Sequence[Side], limit: int, *, payload: bool, quantized: bool
) -> list[qe.QueryRequest]:
    """The search of each side. `quantized`: there are small copies of the dense vectors."""
    where = filter_of(query.where)
    least = None if query.min_score is None else just_below(query.min_score)
    return [
        qe.QueryRequest(
            limit=limit,
            query=_nearest(query, side),
            filter=where,
            with_payload=payload,
            score_threshold=least,
            params=_params(query, quantized=quantized) if side == "dense" else None,
        )
        for side in sides
    ]


def _nearest(query: Query, side: Side) -> qe.Query:
    if side == "dense" and query.dense is not None:
        return qe.Query.Nearest(query.dense.tolist(), DENSE)
    if query.sparse is None:
        raise AssertionError(f"a query without a {side} side")
    return qe.Query.Nearest(qe.SparseVector(query.sparse.indices, query.sparse.values), BM25)


def _params(query: Query, *, quantized: bool) -> qe.SearchParams:
    """An exact search reads the whole vectors; there is no graph, so it misses nothing."""
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
    """The payload index for a declared type of field."""
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
    """The engine's setting for one of QUANTIZATIONS. The small copies are read from the disk's
    cache, like all else: a process that searches once would load them for one scan.
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
