"""Conversion between the values of the store contract and the Qdrant client's models."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from qdrant_client import models

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    Has,
    HasId,
    Match,
    NoneOf,
    Prefix,
    Where,
)
from ragctl.collection.payload import BM25, DENSE, Payload, Point, SparseVector
from ragctl.stores.base import Batch, Query, Rescore, Scored
from ragctl.stores.conditions import bounds
from ragctl.stores.searching import VectorName, threshold_for

T = TypeVar("T")

HIDDEN = str(uuid.uuid5(uuid.NAMESPACE_URL, "https://ragctl.invalid/settings-point"))
"""Id of the hidden point, which holds the lease and, on old servers, the settings."""

MAX_REQUEST_POINTS = 512
MAX_REQUEST_BYTES = 25_000_000  # of JSON; the server's default limit is 32 MiB
JSON_BYTES_PER_COMPONENT = 25  # upper bound for a double and its comma; mostly 21
JSON_BYTES_PER_TERM = 36  # an index and its weight
JSON_BYTES_PER_POINT = 200  # id and field names


def write_requests(
    batch: Batch, *, upsert_limit: int, hidden: str | None, max_bytes: int = MAX_REQUEST_BYTES
) -> Iterator[list[models.UpdateOperation]]:
    """Yield the writes of a batch, in order, as lists of operations that each fit one request.

    `upsert_limit`: points allowed in one upsert. `hidden`: id of a point that writes by
    filter leave alone.
    """
    request: list[models.UpdateOperation] = []
    points = size = 0
    for count, length, operation in _operations(batch, upsert_limit, hidden, max_bytes):
        if request and (points + count > MAX_REQUEST_POINTS or size + length > max_bytes):
            yield request
            request, points, size = [], 0, 0
        request.append(operation)
        points += count
        size += length
    if request:
        yield request


def _operations(
    batch: Batch, upsert_limit: int, hidden: str | None, max_bytes: int
) -> Iterator[tuple[int, int, models.UpdateOperation]]:
    """Yield (points written, upper bound of the JSON's bytes, operation)."""
    yield from _upserts(batch.upserts, upsert_limit, max_bytes)
    yield from _overwrites(batch.overwrites)
    yield from _upserts(batch.marks, upsert_limit, max_bytes)
    yield from _overwrites(batch.mark_overwrites)
    for where, payload in batch.merges:
        merge = models.SetPayload(payload=cast(Any, payload), filter=filter_of(where, hidden))
        yield 1, _json_bytes(payload), models.SetPayloadOperation(set_payload=merge)
    for ids, size in _groups(
        batch.deletes, lambda _: JSON_BYTES_PER_POINT, MAX_REQUEST_POINTS, max_bytes
    ):
        listed = models.PointIdsList(points=[*map(server_id, ids)])
        yield len(ids), size, models.DeleteOperation(delete=listed)


def _upserts(
    points: Sequence[Point], limit: int, max_bytes: int
) -> Iterator[tuple[int, int, models.UpdateOperation]]:
    for group, size in _groups(points, _point_bytes, min(limit, MAX_REQUEST_POINTS), max_bytes):
        structs = models.PointsList(points=[point_struct(point) for point in group])
        yield len(group), size, models.UpsertOperation(upsert=structs)


def _overwrites(
    overwrites: Sequence[tuple[str, Payload]],
) -> Iterator[tuple[int, int, models.UpdateOperation]]:
    for point_id, payload in overwrites:
        body = models.SetPayload(payload=cast(Any, payload), points=[server_id(point_id)])
        size = JSON_BYTES_PER_POINT + _json_bytes(payload)
        yield 1, size, models.OverwritePayloadOperation(overwrite_payload=body)


def _groups(
    items: Sequence[T], size_of: Callable[[T], int], limit: int, max_bytes: int
) -> Iterator[tuple[list[T], int]]:
    """Yield groups of consecutive items with their size.

    A group has at most `limit` items and, unless it is a single item, `max_bytes`.
    """
    group: list[T] = []
    size = 0
    for item in items:
        length = size_of(item)
        if group and (len(group) >= limit or size + length > max_bytes):
            yield group, size
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group, size


def _point_bytes(point: Point) -> int:
    dense = 0 if point.dense is None else point.dense.size * JSON_BYTES_PER_COMPONENT
    sparse = 0 if point.sparse is None else len(point.sparse.indices) * JSON_BYTES_PER_TERM
    return JSON_BYTES_PER_POINT + dense + sparse + _json_bytes(point.payload)


def _json_bytes(payload: Mapping[str, Any]) -> int:
    # JSON escaped to ASCII is never shorter than the UTF-8 that is sent.
    return len(json.dumps(payload))


def point_struct(point: Point) -> models.PointStruct:
    """Return the point as the client's model."""
    vector: dict[str, Any] = {}
    if point.dense is not None:
        vector[DENSE] = point.dense.tolist()  # the client validates an array element by element
    if point.sparse is not None:
        vector[BM25] = sparse_vector(point.sparse)
    return models.PointStruct(
        id=server_id(point.id), vector=vector, payload=cast(Any, point.payload)
    )


def server_id(point_id: str) -> int | str:
    """Return an id as the server takes it: other programs may use whole numbers."""
    return int(point_id) if point_id.isdecimal() else point_id


def sparse_vector(sparse: SparseVector) -> models.SparseVector:
    """Return a sparse vector as the client's model."""
    return models.SparseVector(indices=sparse.indices, values=sparse.values)


def read_point(record: models.Record) -> Point:
    """Return the point of a record."""
    vector = record.vector if isinstance(record.vector, dict) else {}
    dense, sparse = vector.get(DENSE), vector.get(BM25)
    return Point(
        str(record.id),
        cast(Payload, record.payload or {}),
        None if dense is None else np.asarray(dense, dtype=np.float32),
        SparseVector(list(sparse.indices), list(sparse.values))
        if isinstance(sparse, models.SparseVector)
        else None,
    )


def read_hits(points: Sequence[models.ScoredPoint]) -> list[Scored]:
    """Return the hits of an answer, in its order."""
    return [Scored(str(p.id), p.score, cast(Payload, p.payload or {})) for p in points]


def filter_of(where: Where, hidden: str | None = None) -> models.Filter | None:
    """Return `where` as a filter that excludes the point `hidden`; None if all points match."""
    if not where and hidden is None:
        return None
    return models.Filter(
        must=_conditions(where) or None,
        must_not=None if hidden is None else [models.HasIdCondition(has_id=[hidden])],
    )


def _conditions(of: Where) -> list[Any]:
    return [_condition(condition) for condition in of]


def _condition(condition: Condition) -> Any:
    match condition:
        case Match(key, values):
            return _match(key, values)
        case Between():
            return _range(condition)
        case Prefix(key, text):
            return models.FieldCondition(key=key, match=models.MatchPrefix(prefix=text))
        case Has(key):
            empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            return models.Filter(must_not=[empty])
        case HasId(ids):
            return models.HasIdCondition(has_id=[*map(server_id, ids)])
        case AnyOf(of):
            # To a server an empty filter matches everything.
            return models.Filter(should=_conditions(of)) if of else models.HasIdCondition(has_id=[])
        case AllOf(of):
            return models.Filter(must=_conditions(of))
        case NoneOf(of):
            return models.Filter(must_not=_conditions(of))


def _range(between: Between) -> models.FieldCondition:
    times, given = bounds(between)
    within: Any = models.DatetimeRange if times else models.Range
    return models.FieldCondition(key=between.key, range=within(**given))


def _match(key: str, values: tuple[str | int | bool, ...]) -> Any:
    if len(values) != 1 and all(isinstance(value, str) for value in values):
        return models.FieldCondition(key=key, match=models.MatchAny(any=cast(Any, list(values))))
    matches: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in values
    ]
    return matches[0] if len(matches) == 1 else models.Filter(should=matches)


def requests(
    query: Query,
    names: Sequence[VectorName],
    limit: int,
    *,
    payload: bool,
    params: models.SearchParams,
) -> list[models.QueryRequest]:
    """Return one search for each of the vectors. `params`: those of the dense search."""
    threshold = None if query.min_score is None else threshold_for(query.min_score)
    return [
        models.QueryRequest(
            query=_nearest(query, name),
            using=DENSE if name == "dense" else BM25,
            filter=filter_of(query.where),
            params=params if name == "dense" else None,
            score_threshold=threshold,
            limit=limit,
            with_payload=payload,
        )
        for name in names
    ]


def _nearest(query: Query, name: VectorName) -> Any:
    if name == "dense" and query.dense is not None:
        return query.dense.tolist()
    if query.sparse is None:
        raise AssertionError(f"the query has no {name} vector")
    return sparse_vector(query.sparse)


def fused_request(
    query: Query, searches: Sequence[models.QueryRequest], max_hits: int
) -> models.QueryRequest:
    """Return the request for the page of the server's own fusion, with payloads.

    It fuses the candidates of `searches` without the last one of each, which is read only
    to see whether a tie was cut off.
    """
    fusion: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
    if query.fusion.kind == "rrf":
        weights = [query.fusion.dense, query.fusion.sparse]
        fusion = models.RrfQuery(rrf=models.Rrf(k=query.fusion.k, weights=weights))
    prefetch = [
        models.Prefetch(
            query=search.query,
            using=search.using,
            filter=search.filter,
            params=search.params,
            limit=max(1, (search.limit or 1) - 1),
        )
        for search in searches
    ]
    return models.QueryRequest(
        prefetch=prefetch,
        query=fusion,
        limit=min(query.limit, max_hits),
        offset=query.offset,
        with_payload=True,
    )


def dense_search_params(query: Query, *, width: int, quantized: bool) -> models.SearchParams:
    """Return how dense vectors are searched. `width`: candidates kept while walking the graph."""
    if query.exact:
        return models.SearchParams(exact=True)
    rescore = query.rescore or Rescore()
    quantization = models.QuantizationSearchParams(
        rescore=rescore.rescore, oversampling=rescore.oversampling
    )
    return models.SearchParams(hnsw_ef=width, quantization=quantization if quantized else None)
