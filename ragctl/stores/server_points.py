"""Between the store contract's values and the Qdrant client's models."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from qdrant_client import models

from ragctl.stores.base import (
    BM25,
    DENSE,
    Batch,
    Fusion,
    Payload,
    Point,
    Query,
    Scored,
    SparseVector,
    Where,
)

T = TypeVar("T")

HIDDEN = str(uuid.uuid5(uuid.NAMESPACE_URL, "https://ragctl.invalid/settings-point"))
"""The one point that is ours, not a document's: the lease, and the settings on old servers."""

MAX_POINTS = 512  # in one request
MAX_BYTES = 25_000_000  # of JSON in one request; the server's default limit is 32 MiB
_COMPONENT_BYTES = 25  # at most: a double in JSON and its comma; mostly 21
_SPARSE_BYTES = 36  # an index and its weight
_FRAME_BYTES = 200  # a point's id and field names


def write_requests(
    batch: Batch, *, upsert_limit: int, hidden: str | None, max_bytes: int = MAX_BYTES
) -> Iterator[list[models.UpdateOperation]]:
    """The batch, in order, as lists of operations that each fit one request.

    `upsert_limit`: points allowed in one upsert. `hidden`: the id of a point that
    no write by filter may touch.
    """
    request: list[models.UpdateOperation] = []
    points = size = 0
    for count, length, operation in _operations(batch, upsert_limit, hidden, max_bytes):
        if request and (points + count > MAX_POINTS or size + length > max_bytes):
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
    """Each with the number of points it writes and an upper bound of its JSON's bytes."""
    yield from _upserts(batch.upserts, upsert_limit, max_bytes)
    yield from _overwrites(batch.overwrites)
    yield from _upserts(batch.marks, upsert_limit, max_bytes)
    yield from _overwrites(batch.mark_overwrites)
    for where, payload in batch.merges:
        merge = models.SetPayload(payload=payload, filter=filter_of(where, hidden))
        yield 1, _json_bytes(payload), models.SetPayloadOperation(set_payload=merge)
    for ids, size in _groups(batch.deletes, lambda _: _FRAME_BYTES, MAX_POINTS, max_bytes):
        listed = models.PointIdsList(points=list(ids))
        yield len(ids), size, models.DeleteOperation(delete=listed)


def _upserts(
    points: Sequence[Point], limit: int, max_bytes: int
) -> Iterator[tuple[int, int, models.UpdateOperation]]:
    for group, size in _groups(points, _point_bytes, min(limit, MAX_POINTS), max_bytes):
        structs = models.PointsList(points=[point_struct(point) for point in group])
        yield len(group), size, models.UpsertOperation(upsert=structs)


def _overwrites(
    overwrites: Sequence[tuple[str, Payload]],
) -> Iterator[tuple[int, int, models.UpdateOperation]]:
    for point_id, payload in overwrites:
        body = models.SetPayload(payload=payload, points=[point_id])
        size = _FRAME_BYTES + _json_bytes(payload)
        yield 1, size, models.OverwritePayloadOperation(overwrite_payload=body)


def _groups(
    items: Sequence[T], weigh: Callable[[T], int], limit: int, max_bytes: int
) -> Iterator[tuple[list[T], int]]:
    """Consecutive items, at most `limit` and (but for one alone) `max_bytes` together."""
    group: list[T] = []
    size = 0
    for item in items:
        length = weigh(item)
        if group and (len(group) >= limit or size + length > max_bytes):
            yield group, size
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group, size


def _point_bytes(point: Point) -> int:
    dense = 0 if point.dense is None else point.dense.size * _COMPONENT_BYTES
    sparse = 0 if point.sparse is None else len(point.sparse.indices) * _SPARSE_BYTES
    return _FRAME_BYTES + dense + sparse + _json_bytes(point.payload)


def _json_bytes(payload: Mapping[str, Any]) -> int:
    # Escaped to ASCII it is never shorter than the UTF-8 that is sent.
    return len(json.dumps(payload))


def point_struct(point: Point) -> models.PointStruct:
    vector: dict[str, Any] = {}
    if point.dense is not None:
        vector[DENSE] = point.dense.tolist()  # the client checks an array element by element
    if point.sparse is not None:
        vector[BM25] = sparse_vector(point.sparse)
    return models.PointStruct(id=point.id, vector=vector, payload=cast(Any, point.payload))


def sparse_vector(sparse: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=sparse.indices, values=sparse.values)


def read_point(record: models.Record) -> Point:
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
    return [Scored(str(p.id), p.score, cast(Payload, p.payload or {})) for p in points]


def filter_of(where: Where, hidden: str | None = None) -> models.Filter | None:
    """`where` as a filter, less the point with the id `hidden`; None where all match."""
    if not where and hidden is None:
        return None
    must = [_condition(match.key, match.values) for match in where]
    return models.Filter(
        must=must or None,
        must_not=None if hidden is None else [models.HasIdCondition(has_id=[hidden])],
    )


def _condition(key: str, values: tuple[str | int | bool, ...]) -> Any:
    if len(values) != 1 and all(isinstance(value, str) for value in values):
        return models.FieldCondition(key=key, match=models.MatchAny(any=cast(Any, list(values))))
    matches: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value)) for value in values
    ]
    return matches[0] if len(matches) == 1 else models.Filter(should=matches)


def sides(query: Query, depth: int, width: int) -> list[models.Prefetch]:
    """The dense and the sparse search, those that the query has, each `depth` deep.

    `width`: candidates kept while walking the graph of dense vectors (hnsw_ef).
    """
    where = filter_of(query.where)
    found = []
    if query.dense is not None:
        found.append(
            models.Prefetch(
                query=query.dense.tolist(),
                using=DENSE,
                filter=where,
                limit=depth,
                params=models.SearchParams(hnsw_ef=width),
            )
        )
    if query.sparse is not None:
        found.append(
            models.Prefetch(
                query=sparse_vector(query.sparse), using=BM25, filter=where, limit=depth
            )
        )
    return found


def as_request(side: models.Prefetch) -> models.QueryRequest:
    return models.QueryRequest(
        query=side.query,
        using=side.using,
        filter=side.filter,
        params=side.params,
        limit=side.limit,
        with_payload=True,
    )


def fuse(dense: list[Scored], sparse: list[Scored], fusion: Fusion) -> list[Scored]:
    """The engine's weighted reciprocal rank fusion, for servers that do not have it."""
    payloads: dict[str, Payload] = {}
    scores: dict[str, float] = {}
    for hits, weight in ((dense, fusion.dense), (sparse, fusion.sparse)):
        for rank, hit in enumerate(hits):
            share = 1 / ((rank + 1) / weight + fusion.k - 1) if weight > 0 else 0.0
            payloads[hit.id] = hit.payload
            scores[hit.id] = scores.get(hit.id, 0.0) + share
    fused = [Scored(point_id, score, payloads[point_id]) for point_id, score in scores.items()]
    return sorted(fused, key=lambda hit: (-hit.score, hit.id))
