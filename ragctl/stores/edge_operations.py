"""The operations of the engine's process: plain values in and out, the engine's types within.

What crosses the pipes is what pickle and `qdrant_edge` both know without numpy, which takes
longer to import than the engine: a vector is the bytes of its float32 numbers.
"""

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import qdrant_edge as qe

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
from ragctl.stores.conditions import bounds
from ragctl.stores.edge_values import (
    BM25,
    DENSE,
    PlainBatch,
    PlainHit,
    PlainPoint,
    PlainSearch,
    ShardConfig,
)


def create(folder: Path, target: str, config: ShardConfig, indexes: dict[str, str]) -> None:
    """Make a shard in the folder `target`, with payload indexes: type by payload key."""
    shard = qe.EdgeShard.create(target, _engine_config(config))
    for key, kind in indexes.items():
        shard.update(qe.UpdateOperation.create_field_index(key, field_index(kind)))
    shard.close()


def join(folder: Path, config: ShardConfig, joined: ShardConfig) -> None:
    """Join sealed segments up to the size that `joined` allows."""
    shard = qe.EdgeShard.load(str(folder), _engine_config(joined))
    shard.optimize()
    shard.flush()
    shard.close()
    configure(folder, config)


def configure(folder: Path, config: ShardConfig) -> None:
    """Give the shard this configuration: it keeps that of its last opening."""
    qe.EdgeShard.load(str(folder), _engine_config(config)).close()


def apply(shard: qe.EdgeShard, batch: PlainBatch) -> None:
    """Do the writes of a batch, in order."""
    op = qe.UpdateOperation
    if batch.upserts:
        shard.update(op.upsert_points([_edge_point(point) for point in batch.upserts]))
    for point_id, payload in batch.overwrites:
        shard.update(op.overwrite_payload([point_id], payload))
    if batch.marks:
        shard.update(op.upsert_points([_edge_point(point) for point in batch.marks]))
    for point_id, payload in batch.mark_overwrites:
        shard.update(op.overwrite_payload([point_id], payload))
    for where, payload in batch.merges:
        shard.update(op.set_payload_by_filter(filter_of(where) or qe.Filter(), payload))
    if batch.deletes:
        shard.update(op.delete_points([*batch.deletes]))


def seal(shard: qe.EdgeShard) -> tuple[int, int]:
    """Seal what was written and make it durable; return the counts of segments and points."""
    shard.optimize()
    shard.flush()
    return info(shard)


def flush(shard: qe.EdgeShard) -> None:
    """Make what was written durable, without sealing it."""
    shard.flush()


def info(shard: qe.EdgeShard) -> tuple[int, int]:
    """Return the counts of segments and points."""
    found = shard.info()
    return found.segments_count, found.points_count


def create_indexes(shard: qe.EdgeShard, indexes: dict[str, str]) -> None:
    """Make payload indexes, type by payload key; one of another type is replaced."""
    for key, kind in indexes.items():
        shard.update(qe.UpdateOperation.create_field_index(key, field_index(kind)))
    shard.flush()


def scroll(
    shard: qe.EdgeShard,
    offset: str | None,
    limit: int,
    where: Where,
    fields: list[str] | None,
    vectors: bool,
) -> tuple[list[PlainPoint], str | None]:
    """Return one page of points, and the offset of the next page."""
    request = qe.ScrollRequest(
        offset=offset,
        limit=limit,
        filter=filter_of(where),
        with_payload=True if fields is None else fields,
        with_vector=vectors,
    )
    records, following = shard.scroll(request)
    return [_plain_point(record) for record in records], (
        None if following is None else str(following)
    )


def retrieve(shard: qe.EdgeShard, ids: list[str], vectors: bool) -> list[PlainPoint]:
    """Return the points that exist."""
    return [
        _plain_point(record)
        for record in shard.retrieve([*ids], with_payload=True, with_vector=vectors)
    ]


def facet(shard: qe.EdgeShard, key: str, exact: bool) -> dict[str, int]:
    """Return the number of points by value of a keyword field."""
    limit = max(1, shard.info().points_count)
    response = shard.facet(qe.FacetRequest(key=key, limit=limit, exact=exact))
    return {str(hit.value): hit.count for hit in response.hits}


def count(shard: qe.EdgeShard, where: Where) -> int:
    """Return the exact number of points that match."""
    return shard.count(qe.CountRequest(exact=True, filter=filter_of(where)))


def search(shard: qe.EdgeShard, searches: Sequence[PlainSearch]) -> list[list[PlainHit]]:
    """Return the hits of each search, in one pass of the engine."""
    answers = shard.query_batch(qe.QueryBatchRequest([_query(search) for search in searches]))
    return [[(str(p.id), p.score, p.payload or {}) for p in found] for found in answers]


def _query(search: PlainSearch) -> qe.QueryRequest:
    return qe.QueryRequest(
        limit=search.limit,
        query=_nearest(search),
        filter=filter_of(search.where),
        with_payload=search.payload,
        score_threshold=search.threshold,
        params=_params(search) if search.dense is not None else None,
    )


def _nearest(search: PlainSearch) -> qe.Query:
    if search.dense is not None:
        return qe.Query.Nearest(array("f", search.dense).tolist(), DENSE)
    assert search.sparse is not None
    return qe.Query.Nearest(qe.SparseVector(*search.sparse), BM25)


def _params(search: PlainSearch) -> qe.SearchParams:
    """Without a graph an exact search misses nothing; it reads the original vectors."""
    if search.oversampling is None:
        return qe.SearchParams(exact=True, hnsw_ef=search.ef)
    return qe.SearchParams(
        hnsw_ef=search.ef,
        quantization=qe.QuantizationSearchParams(
            rescore=search.rescore, oversampling=search.oversampling
        ),
    )


def _edge_point(point: PlainPoint) -> qe.Point:
    point_id, payload, dense, sparse = point
    vector: dict[str, Any] = {}
    if dense is not None:
        vector[DENSE] = memoryview(dense).cast("f")
    if sparse is not None:
        vector[BM25] = qe.SparseVector(*sparse)
    return qe.Point(point_id, vector, payload)


def _plain_point(record: qe.Record) -> PlainPoint:
    vector = cast(dict[str, Any], record.vector or {})
    dense, sparse = vector.get(DENSE), vector.get(BM25)
    return (
        str(record.id),
        record.payload or {},
        None if dense is None else array("f", dense).tobytes(),
        None if sparse is None else (list(sparse.indices), list(sparse.values)),
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
        case HasId(ids):
            return qe.HasIdCondition(set(ids))
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
    if isinstance(value, bool):
        import numpy as np  # here only: it takes longer to import than the engine

        # The binding converts Python's True to the integer 1, and numpy's to a boolean.
        return qe.MatchValue(cast(bool, np.bool_(value)))
    return qe.MatchValue(value)


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


def _engine_config(config: ShardConfig) -> qe.EdgeConfig:
    """Return the engine's configuration: data on disk, read through the page cache."""
    return qe.EdgeConfig(
        vectors={
            DENSE: qe.EdgeVectorParams(
                size=config.dim, distance=qe.Distance.Cosine, memory=qe.Memory.Cold
            )
        },
        sparse_vectors={
            BM25: qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=qe.Memory.Cold)
        },
        quantization_config=quantization(config.quantization),
        payload_memory=qe.Memory.Cold,
        id_tracker_memory=qe.Memory.Cold,
        # No graph: search is exact. The indexing threshold only controls sealing.
        hnsw_config=qe.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10_000),
        optimizers=qe.EdgeOptimizersConfig(
            default_segment_number=1,
            max_segment_size=config.max_segment_kb,
            indexing_threshold=config.indexing_threshold_kb,
        ),
    )


class Operation(NamedTuple):
    """One operation.

    `writes`: it leaves something to flush. `on_folder`: it gets the shard's folder, closed,
    instead of the shard. `reads`: it depends on the stored files alone, so that an error means
    that they are damaged. `creates`: it makes the generation.
    """

    function: Callable[..., Any]
    writes: bool = False
    on_folder: bool = False
    reads: bool = False
    creates: bool = False


OPERATIONS: Final = {
    "create": Operation(create, on_folder=True, creates=True),
    "join": Operation(join, on_folder=True),
    "configure": Operation(configure, on_folder=True),
    "apply": Operation(apply, writes=True),
    "seal": Operation(seal, reads=True),
    "flush": Operation(flush, reads=True),
    "info": Operation(info, reads=True),
    "create_indexes": Operation(create_indexes),
    "scroll": Operation(scroll, reads=True),
    "retrieve": Operation(retrieve, reads=True),
    "facet": Operation(facet, reads=True),
    "count": Operation(count, reads=True),
    "search": Operation(search),
}
"""By the name that a request gives."""

READING: Final = frozenset({"info", "scroll", "retrieve", "facet", "count", "search"})
"""The operations that change nothing."""
