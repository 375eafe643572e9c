"""Export: every point of a collection, in a file that other programs read.

JSON Lines have an object for each point: `id`, `payload`, `dense` (numbers) and `sparse` (`indices`
and `values`). Parquet has these columns, and `source`, `ordinal` and `text` out of the payload:

    id, source, ordinal, text, payload (JSON), dense, sparse_indices, sparse_values

Both keep each float32 exactly. Without vectors, the last three are left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import IO, Any

import numpy as np
import orjson

from ragctl.collection.payload import Point
from ragctl.errors import UsageError
from ragctl.installation import install_command
from ragctl.records import Json

ROW_GROUP_POINTS = 1000
"""Points in memory at a time, and in a row group of a Parquet file."""


def write_jsonl(points: Iterable[Point], file: IO[bytes], *, vectors: bool) -> int:
    """Write a line for each point; return how many there are."""
    count = 0
    for point in points:
        row: dict[str, Any] = {"id": point.id, "payload": point.payload}
        if vectors:
            sparse = point.sparse
            row["dense"] = None if point.dense is None else _float32(point.dense)
            row["sparse"] = None if sparse is None else sparse._asdict()
        file.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def check_parquet() -> None:
    """Raise UsageError unless pyarrow is installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            f"a Parquet file needs pyarrow: {install_command('export')}; or export to FILE.jsonl"
        ) from None


def write_parquet(
    points: Iterable[Point], file: IO[bytes], *, vectors: bool, settings: Mapping[str, Json]
) -> int:
    """Write a row for each point; return how many there are.

    `settings`: those of the collection, kept as JSON under the key `ragctl` of the file's metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [
        ("id", pa.string()),
        ("source", pa.string()),
        ("ordinal", pa.int64()),
        ("text", pa.string()),
        ("payload", pa.string()),
    ]
    if vectors:
        columns += [
            ("dense", pa.list_(pa.float32())),
            ("sparse_indices", pa.list_(pa.uint32())),
            ("sparse_values", pa.list_(pa.float32())),
        ]
    schema = pa.schema(columns, metadata={"ragctl": orjson.dumps(dict(settings))})
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(points):
            rows = [_row(point) for point in group]
            data = {name: [row[name] for row in rows] for name in schema.names}
            writer.write_table(pa.table(data, schema=schema), row_group_size=ROW_GROUP_POINTS)
            count += len(group)
    return count


def _groups(points: Iterable[Point]) -> Iterator[list[Point]]:
    remaining = iter(points)
    while group := list(islice(remaining, ROW_GROUP_POINTS)):
        yield group


def _row(point: Point) -> dict[str, Any]:
    payload, sparse = point.payload, point.sparse
    # Other programs may have written other types.
    source, ordinal, text = (payload.get(key) for key in ("source", "ordinal", "text"))
    return {
        "id": point.id,
        "source": source if isinstance(source, str) else None,
        "ordinal": ordinal if type(ordinal) is int and abs(ordinal) < 2**63 else None,
        "text": text if isinstance(text, str) else None,
        "payload": orjson.dumps(payload).decode(),
        "dense": None if point.dense is None else _float32(point.dense),
        "sparse_indices": None if sparse is None else sparse.indices,
        "sparse_values": None if sparse is None else sparse.values,
    }


def _float32(vector: Any) -> Any:
    return np.ascontiguousarray(vector, dtype=np.float32)
