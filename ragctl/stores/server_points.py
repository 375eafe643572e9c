"""Conversion between the values of the store contract and the JSON of Qdrant's REST API."""

import uuid
from collections.abc import Mapping, Sequence
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
from ragctl.stores.base import Scored
from ragctl.stores.conditions import bounds
from ragctl.stores.server_http import JSON_OPTIONS

Json = dict[str, Any]
"""A JSON object of the REST API."""

HIDDEN = str(uuid.uuid5(uuid.NAMESPACE_URL, "https://ragctl.invalid/settings-point"))
"""Id of the hidden point, which holds the lease and, on old servers, the settings."""


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


def given(values: Mapping[str, Any]) -> Json:
    """Return a JSON object without the keys whose value is None."""
    return {key: value for key, value in values.items() if value is not None}
