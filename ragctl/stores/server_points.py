"""Conversion between the values of the store contract and the JSON of Qdrant's REST API."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import orjson

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
from ragctl.stores.server_http import JSON_OPTIONS

Json = dict[str, Any]
"""A JSON object of the REST API."""

HIDDEN = str(uuid.uuid5(uuid.NAMESPACE_URL, "https://ragctl.invalid/settings-point"))
"""Id of the hidden point, which holds the lease and, on old servers, the settings."""

MAX_REQUEST_POINTS = 512
MAX_REQUEST_BYTES = 25_000_000  # of JSON; the server's default limit is 32 MiB
OPERATION_BYTES = 60  # of the JSON around the points of an operation, and around a request's


@dataclass(frozen=True, slots=True)
class Operation:
    """A write of a batch request. `points`: how many it writes. `body`: its JSON."""

    points: int
    body: bytes


def batch_body(operations: Sequence[Operation]) -> Json:
    """Return the body of a request with these writes."""
    return {"operations": [orjson.Fragment(operation.body) for operation in operations]}


def write_requests(
    batch: Batch,
    *,
    upsert_limit: int,
    hidden: str | None,
    max_bytes: int = MAX_REQUEST_BYTES,
    max_points: int = MAX_REQUEST_POINTS,
) -> Iterator[list[Operation]]:
    """Yield the writes of a batch, in order, as lists of operations that each fit one request.

    `upsert_limit`: points allowed in one upsert. `hidden`: id of a point that writes by
    filter leave alone. `max_bytes`: limit on the bytes of a request; a larger point is sent alone.
    `max_points`: limit on the points that a request writes.
    """
    request: list[Operation] = []
    points, size = 0, OPERATION_BYTES
    max_points = min(max_points, MAX_REQUEST_POINTS)
    for operation in _operations(batch, upsert_limit, hidden, max_bytes, max_points):
        count, length = operation.points, len(operation.body)
        if request and (points + count > max_points or size + length > max_bytes):
            yield request
            request, points, size = [], 0, OPERATION_BYTES
        request.append(operation)
        points += count
        size += length + 1
    if request:
        yield request


def _operations(
    batch: Batch, upsert_limit: int, hidden: str | None, max_bytes: int, max_points: int
) -> Iterator[Operation]:
    upsert_limit = min(upsert_limit, max_points)
    yield from _upserts(batch.upserts, upsert_limit, max_bytes)
    yield from _overwrites(batch.overwrites)
    yield from _upserts(batch.marks, upsert_limit, max_bytes)
    yield from _overwrites(batch.mark_overwrites)
    for where, payload in batch.merges:
        yield set_payload(payload, filter=filter_of(where, hidden))
    deleted = (orjson.dumps(server_id(point_id)) for point_id in batch.deletes)
    for ids in _groups(deleted, max_points, max_bytes):
        yield Operation(len(ids), b'{"delete":{"points":[%b]}}' % b",".join(ids))


def _upserts(points: Sequence[Point], limit: int, max_bytes: int) -> Iterator[Operation]:
    encoded = map(encode_point, points)
    for group in _groups(encoded, limit, max_bytes):
        yield Operation(len(group), b'{"upsert":{"points":[%b]}}' % b",".join(group))


def _overwrites(overwrites: Sequence[tuple[str, Payload]]) -> Iterator[Operation]:
    for point_id, payload in overwrites:
        body = {"overwrite_payload": {"payload": payload, "points": [server_id(point_id)]}}
        yield Operation(1, orjson.dumps(body))


def encode_upsert(points: Sequence[Mapping[str, Any]], **options: Any) -> Operation:
    """Return the write of these points, given as JSON. `options`: further keys of the upsert."""
    body = {"upsert": {"points": points, **options}}
    return Operation(len(points), orjson.dumps(body, option=JSON_OPTIONS))


def set_payload(payload: Mapping[str, Any], **chosen: Any) -> Operation:
    """Return the write that sets keys of a payload. `chosen`: `points` or `filter`."""
    return Operation(1, orjson.dumps({"set_payload": {"payload": payload, **chosen}}))


def _groups(items: Iterator[bytes], limit: int, max_bytes: int) -> Iterator[list[bytes]]:
    """Yield groups of consecutive items.

    A group has at most `limit` items and, unless it is a single item, `max_bytes` in an operation.
    """
    group: list[bytes] = []
    size = OPERATION_BYTES
    for item in items:
        if group and (len(group) >= limit or size + len(item) + 1 > max_bytes):
            yield group
            group, size = [], OPERATION_BYTES
        group.append(item)
        size += len(item) + 1
    if group:
        yield group


def encode_point(point: Point) -> bytes:
    """Return the JSON of a point. A read returns the same float32 vector, bit for bit."""
    vector: Json = {}
    if point.dense is not None:
        vector[DENSE] = np.ascontiguousarray(point.dense, dtype=np.float32)
    if point.sparse is not None:
        vector[BM25] = sparse_vector(point.sparse)
    body = {"id": server_id(point.id), "vector": vector, "payload": point.payload}
    return orjson.dumps(body, option=JSON_OPTIONS)


def server_id(point_id: str) -> int | str:
    """Return an id as the server takes it: other programs may use whole numbers."""
    return int(point_id) if point_id.isdecimal() else point_id


def sparse_vector(sparse: SparseVector) -> Json:
    """Return a sparse vector as JSON."""
    return {"indices": sparse.indices, "values": sparse.values}


def read_point(record: Mapping[str, Any]) -> Point:
    """Return the point of a record."""
    found = record.get("vector")
    vectors = found if isinstance(found, dict) else {}
    dense, sparse = vectors.get(DENSE), vectors.get(BM25)
    return Point(
        str(record["id"]),
        cast(Payload, record.get("payload") or {}),
        None if dense is None else np.asarray(dense, dtype=np.float32),
        None if sparse is None else SparseVector(sparse["indices"], sparse["values"]),
    )


def source_of(operation: Operation) -> str:
    """Return which document a write of one point belongs to, for error messages."""
    ((_, body),) = orjson.loads(operation.body).items()
    point = body["points"][0] if isinstance(body.get("points"), list) else None
    payload = body.get("payload") or (point.get("payload") if isinstance(point, dict) else None)
    return str((payload or {}).get("source", "unknown"))


def read_points(records: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the points of an answer, in its order."""
    return [read_point(record) for record in records]


def read_hits(points: Sequence[Mapping[str, Any]]) -> list[Scored]:
    """Return the hits of an answer, in its order."""
    return [Scored(str(p["id"]), p["score"], cast(Payload, p.get("payload") or {})) for p in points]


def filter_of(where: Where, hidden: str | None = None) -> Json | None:
    """Return `where` as a filter that excludes the point `hidden`; None if all points match."""
    chosen: Json = {}
    if where:
        chosen["must"] = _conditions(where)
    if hidden is not None:
        chosen["must_not"] = [{"has_id": [hidden]}]
    return chosen or None


def _conditions(of: Where) -> list[Json]:
    return [_condition(condition) for condition in of]


def _condition(condition: Condition) -> Json:
    match condition:
        case Match(key, values):
            return _match(key, values)
        case Between():
            _, given = bounds(condition)
            return {"key": condition.key, "range": given}
        case Prefix(key, text):
            return {"key": key, "match": {"prefix": text}}
        case Has(key):
            return {"must_not": [{"is_empty": {"key": key}}]}
        case HasId(ids):
            return {"has_id": [*map(server_id, ids)]}
        case AnyOf(of):
            # To a server an empty filter matches everything.
            return {"should": _conditions(of)} if of else {"has_id": []}
        case AllOf(of):
            return {"must": _conditions(of)}
        case NoneOf(of):
            return {"must_not": _conditions(of)}


def _match(key: str, values: tuple[str | int | bool, ...]) -> Json:
    if len(values) != 1 and all(isinstance(value, str) for value in values):
        return {"key": key, "match": {"any": values}}
    matches = [{"key": key, "match": {"value": value}} for value in values]
    return matches[0] if len(matches) == 1 else {"should": matches}


def requests(
    query: Query,
    names: Sequence[VectorName],
    limit: int,
    *,
    payload: bool,
    params: Mapping[str, Any],
) -> list[Json]:
    """Return one search for each of the vectors. `params`: those of the dense search."""
    searches = []
    for name in names:
        search = {
            "query": _nearest(query, name),
            "using": DENSE if name == "dense" else BM25,
            "limit": limit,
            "with_payload": payload,
            "filter": filter_of(query.where),
            "params": params if name == "dense" else None,
            "score_threshold": None if query.min_score is None else threshold_for(query.min_score),
        }
        searches.append(given(search))
    return searches


def _nearest(query: Query, name: VectorName) -> Any:
    if name == "dense" and query.dense is not None:
        return np.ascontiguousarray(query.dense, dtype=np.float32)
    if query.sparse is None:
        raise AssertionError(f"the query has no {name} vector")
    return sparse_vector(query.sparse)


def fused_request(query: Query, searches: Sequence[Mapping[str, Any]], max_hits: int) -> Json:
    """Return the request for the page of the server's own fusion, with payloads.

    It fuses the candidates of `searches` without the last one of each, which is read only
    to see whether a tie was cut off.
    """
    fusion: Json = {"fusion": "dbsf"}
    if query.fusion.kind == "rrf":
        weights = [query.fusion.dense, query.fusion.sparse]
        fusion = {"rrf": {"k": query.fusion.k, "weights": weights}}
    prefetch = [
        {
            "limit": max(1, search["limit"] - 1),
            **{k: search[k] for k in ("query", "using", "filter", "params") if k in search},
        }
        for search in searches
    ]
    return {
        "prefetch": prefetch,
        "query": fusion,
        "limit": min(query.limit, max_hits),
        "offset": query.offset,
        "with_payload": True,
    }


def dense_search_params(
    query: Query, *, width: int, quantized: bool, oversampling: float = float("inf")
) -> Json:
    """Return how dense vectors are searched.

    `width`: candidates kept while walking the graph. `oversampling`: the most that is allowed.
    """
    if query.exact:
        return {"exact": True}
    params: Json = {"hnsw_ef": width}
    if quantized:
        rescore = query.rescore or Rescore()
        params["quantization"] = {
            "rescore": rescore.rescore,
            "oversampling": min(rescore.oversampling, oversampling),
        }
    return params


def given(values: Mapping[str, Any]) -> Json:
    """Return a JSON object without the keys whose value is None."""
    return {key: value for key, value in values.items() if value is not None}
