"""The writes of a batch as operations of Qdrant's batch request, split into requests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from ragctl.collection.payload import Payload, Point
from ragctl.collection.shard_keys import ShardKeys
from ragctl.stores.base import Batch
from ragctl.stores.server_http import JSON_OPTIONS
from ragctl.stores.server_points import Json, encode_point, filter_of, server_id

V = TypeVar("V")

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
    shards: ShardKeys | None = None,
) -> Iterator[list[Operation]]:
    """Yield the writes of a batch, in order, as lists of operations that each fit one request.

    `upsert_limit`: points allowed in one upsert. `hidden`: id of a point that writes by
    filter leave alone. `max_bytes`: limit on the bytes of a request; a larger point is sent alone.
    `max_points`: limit on the points that a request writes. `shards`: the shard keys of the
    collection; the deletions then include what an earlier state of a document left under
    another key, because a point is replaced within its shard only.
    """
    request: list[Operation] = []
    points, size = 0, OPERATION_BYTES
    max_points = min(max_points, MAX_REQUEST_POINTS)
    encoder = _Encoder(min(upsert_limit, max_points), max_points, max_bytes, hidden, shards)
    for operation in encoder.operations(batch):
        count, length = operation.points, len(operation.body)
        if request and (points + count > max_points or size + length > max_bytes):
            yield request
            request, points, size = [], 0, OPERATION_BYTES
        request.append(operation)
        points += count
        size += length + 1
    if request:
        yield request


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Encodes the writes of a batch; see `write_requests`."""

    upsert_limit: int
    max_points: int
    max_bytes: int
    hidden: str | None
    shards: ShardKeys | None

    def operations(self, batch: Batch) -> Iterator[Operation]:
        yield from self._upserts(batch.upserts)
        yield from self._overwrites(batch.overwrites)
        yield from self._upserts(batch.marks)
        yield from self._overwrites(batch.mark_overwrites)
        every = every_shard(self.shards)
        for where, payload in batch.merges:
            yield set_payload(payload, filter=filter_of(where, self.hidden), **every)
        yield from self._deletes(batch.deletes, every)
        if self.shards is not None:
            yield from self._displaced(batch, self.shards)

    def _upserts(self, points: Sequence[Point]) -> Iterator[Operation]:
        for key, of_shard in self._by_shard((point.payload, point) for point in points):
            choice = _fragment(shard_choice(key))
            for group in self._groups(map(encode_point, of_shard), self.upsert_limit, choice):
                body = b'{"upsert":{"points":[%b]%b}}' % (b",".join(group), choice)
                yield Operation(len(group), body)

    def _overwrites(self, overwrites: Sequence[tuple[str, Payload]]) -> Iterator[Operation]:
        for point_id, payload in overwrites:
            key = None if self.shards is None else self.shards.of(payload)
            body = {"payload": payload, "points": [server_id(point_id)], **shard_choice(key)}
            yield Operation(1, orjson.dumps({"overwrite_payload": body}))

    def _deletes(self, ids: Iterable[str], shard: Mapping[str, Any]) -> Iterator[Operation]:
        encoded, choice = (orjson.dumps(server_id(each)) for each in ids), _fragment(shard)
        for group in self._groups(encoded, self.max_points, choice):
            yield Operation(
                len(group), b'{"delete":{"points":[%b]%b}}' % (b",".join(group), choice)
            )

    def _displaced(self, batch: Batch, shards: ShardKeys) -> Iterator[Operation]:
        """Delete the points of the batch from all shards but their own."""
        written = [(point.payload, point.id) for point in (*batch.upserts, *batch.marks)]
        overwritten = (*batch.overwrites, *batch.mark_overwrites)
        written += [(payload, point_id) for point_id, payload in overwritten]
        for key, ids in self._by_shard(written):
            yield from self._deletes(ids, shard_choice(shards.besides(str(key))))

    def _by_shard(self, items: Iterable[tuple[Payload, V]]) -> Iterable[tuple[str | None, list[V]]]:
        """Return items by the shard key of the payload that each is given with."""
        groups: dict[str | None, list[V]] = {}
        for payload, item in items:
            key = None if self.shards is None else self.shards.of(payload)
            groups.setdefault(key, []).append(item)
        return groups.items()

    def _groups(self, items: Iterable[bytes], limit: int, choice: bytes) -> Iterator[list[bytes]]:
        """Yield groups of consecutive items.

        A group has at most `limit` items and, unless it is a single item, `max_bytes` in an
        operation.
        """
        group: list[bytes] = []
        size = empty = OPERATION_BYTES + len(choice)
        for item in items:
            if group and (len(group) >= limit or size + len(item) + 1 > self.max_bytes):
                yield group
                group, size = [], empty
            group.append(item)
            size += len(item) + 1
        if group:
            yield group


def shard_choice(key: str | list[str] | None) -> dict[str, Any]:
    """Return the keys of a request or an operation that choose these shards; {}: no choice."""
    return {} if key is None else {"shard_key": key}


def every_shard(shards: ShardKeys | None) -> dict[str, Any]:
    """Return the choice of all shards: a write must choose, where there are shard keys."""
    return shard_choice(None if shards is None else shards.every)


def _fragment(choice: Mapping[str, Any]) -> bytes:
    """Return a choice of shards as JSON within an object, after other keys."""
    return b"," + orjson.dumps(choice)[1:-1] if choice else b""


def encode_upsert(points: Sequence[Mapping[str, Any]], **options: Any) -> Operation:
    """Return the write of these points, given as JSON. `options`: further keys of the upsert."""
    body = {"upsert": {"points": points, **options}}
    return Operation(len(points), orjson.dumps(body, option=JSON_OPTIONS))


def set_payload(payload: Mapping[str, Any], **chosen: Any) -> Operation:
    """Return the write that sets keys of a payload. `chosen`: `points` or `filter`."""
    return Operation(1, orjson.dumps({"set_payload": {"payload": payload, **chosen}}))


def source_of(operation: Operation) -> str:
    """Return which document a write of one point belongs to, for error messages."""
    ((_, body),) = orjson.loads(operation.body).items()
    point = body["points"][0] if isinstance(body.get("points"), list) else None
    payload = body.get("payload") or (point.get("payload") if isinstance(point, dict) else None)
    return str((payload or {}).get("source", "unknown"))
