"""The plain values that go to the engine's process and come back from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from ragctl.collection.conditions import Where
from ragctl.collection.payload import BM25 as BM25
from ragctl.collection.payload import DENSE as DENSE
from ragctl.collection.payload import Payload, Point, SparseVector

if TYPE_CHECKING:
    from ragctl.stores.base import Batch, Query
    from ragctl.stores.searching import VectorName

PlainSparse: TypeAlias = tuple[list[int], list[float]]
"""Token ids and their weights."""

PlainPoint: TypeAlias = tuple[str, dict[str, Any], bytes | None, PlainSparse | None]
"""Id, payload, dense vector as the bytes of float32 numbers, sparse vector."""

PlainHit: TypeAlias = tuple[str, float, dict[str, Any]]
"""Id, score, payload."""

BYTES_PER_TERM = 24
"""Size of a sparse vector's entry in the segment in memory."""

BYTES_PER_PAYLOAD = 2048
"""Size of a payload without its text, and of its index entries, in the segment in memory."""


class ShardConfig(NamedTuple):
    """How the engine keeps a shard. Sizes are kilobytes of dense vectors in one segment."""

    dim: int
    quantization: str | None
    max_segment_kb: int
    indexing_threshold_kb: int


@dataclass(frozen=True, slots=True)
class PlainBatch:
    """The writes of `stores.base.Batch`, in the same order."""

    upserts: list[PlainPoint]
    overwrites: list[tuple[str, dict[str, Any]]]
    marks: list[PlainPoint]
    mark_overwrites: list[tuple[str, dict[str, Any]]]
    merges: list[tuple[Where, dict[str, Any]]]
    deletes: list[str]


@dataclass(frozen=True, slots=True)
class PlainSearch:
    """A search by one vector. `oversampling`: None searches the original vectors exactly."""

    limit: int
    dense: bytes | None
    sparse: PlainSparse | None
    where: Where
    payload: bool
    threshold: float | None
    ef: int | None
    rescore: bool
    oversampling: float | None


def plain_batch(batch: "Batch", merges: list[tuple[Where, Payload]]) -> PlainBatch:
    """Return a batch as plain values; `merges` with conditions prepared for the engine."""
    return PlainBatch(
        upserts=[_plain_point(point) for point in batch.upserts],
        overwrites=cast(list[tuple[str, dict[str, Any]]], batch.overwrites),
        marks=[_plain_point(point) for point in batch.marks],
        mark_overwrites=cast(list[tuple[str, dict[str, Any]]], batch.mark_overwrites),
        merges=cast(list[tuple[Where, dict[str, Any]]], merges),
        deletes=list(batch.deletes),
    )


def plain_searches(
    query: "Query", names: "Sequence[VectorName]", limit: int, *, payload: bool, quantized: bool
) -> list[PlainSearch]:
    """Return the search by each vector. `quantized`: the collection has quantised vectors."""
    from ragctl.stores.base import Rescore
    from ragctl.stores.searching import threshold_for

    rescore = query.rescore or Rescore()
    searches = []
    for name in names:
        if name == "dense":
            assert query.dense is not None, "a dense search has a dense vector"
        else:
            assert query.sparse is not None, "a sparse search has a sparse vector"
        dense = query.dense if name == "dense" else None
        sparse = query.sparse if name == "sparse" else None
        searches.append(
            PlainSearch(
                limit=limit,
                dense=None if dense is None else _bytes(dense),
                sparse=None if sparse is None else (sparse.indices, sparse.values),
                where=query.where,
                payload=payload,
                threshold=None if query.min_score is None else threshold_for(query.min_score),
                ef=query.ef,
                rescore=rescore.rescore,
                oversampling=None if query.exact or not quantized else rescore.oversampling,
            )
        )
    return searches


def read_point(point: PlainPoint) -> Point:
    """Return the point of plain values."""
    import numpy as np

    point_id, payload, dense, sparse = point
    return Point(
        point_id,
        cast(Payload, payload),
        None if dense is None else np.frombuffer(dense, dtype=np.float32),
        None if sparse is None else SparseVector(*sparse),
    )


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


def _plain_point(point: Point) -> PlainPoint:
    sparse = point.sparse
    return (
        point.id,
        cast(dict[str, Any], point.payload),
        None if point.dense is None else _bytes(point.dense),
        None if sparse is None else (sparse.indices, sparse.values),
    )


def _bytes(vector: Any) -> bytes:
    import numpy as np

    return np.ascontiguousarray(vector, dtype=np.float32).tobytes()
