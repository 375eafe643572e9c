"""The ids of the points of a segment and their versions, read from the engine's files.

The version of a point is the number of the operation that wrote it. After a kill an updated
point may exist in two segments, and the engine tells by the version which one is valid; it gives
no access to versions, so they are read here. Formats read off the files of qdrant-edge-py 0.9:

sealed segment     id_tracker.i2e        32 bytes, then each id as 16 bytes, little-endian
                   id_tracker.versions   a u64 each
                   id_tracker.deleted    a bit each, 1: deleted
unsealed segment   mutable_id_tracker.mappings   2, id (16 bytes, big-endian), u32 number: insert
                                                 4, id: delete
                   mutable_id_tracker.versions   a u64 by number
"""

import struct
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_I2E_HEADER_BYTES = 32
_ID_BYTES = 16
_MATRIX_HEADER_BYTES = 4
_INSERT, _DELETE = 2, 4


def stored_versions(segment: Path) -> dict[str, int]:
    """Return the version of each point of a segment by its id, as far as the files can be read."""
    if (segment / "id_tracker.i2e").is_file():
        return _sealed(segment)
    return _unsealed(segment)


def superseded(segments: Sequence[dict[str, int]]) -> list[set[str]]:
    """Return, for each segment, the ids of which another segment has a newer version."""
    best: dict[str, tuple[int, int]] = {}
    losers: list[set[str]] = [set() for _ in segments]
    for number, versions in enumerate(segments):
        for point_id, version in versions.items():
            known = best.get(point_id)
            if known is None:
                best[point_id] = (version, number)
            elif version >= known[0]:
                losers[known[1]].add(point_id)
                best[point_id] = (version, number)
            else:
                losers[number].add(point_id)
    return losers


def tracked_rows(segment: Path) -> int:
    """Return for how many rows of a segment an id is stored, deleted rows included."""
    ids = segment / "id_tracker.i2e"
    if ids.is_file():
        return max(0, ids.stat().st_size - _I2E_HEADER_BYTES) // _ID_BYTES
    return max((number for _, number in _mappings(segment) if number is not None), default=-1) + 1


def row_count(segment: Path, dim: int) -> int:
    """Return how many rows the dense vectors of a segment have, deleted ones included."""
    row_bytes = 4 * dim
    matrix = segment / "vector_storage-dense" / "matrix.dat"
    if matrix.is_file():
        return max(0, matrix.stat().st_size - _MATRIX_HEADER_BYTES) // row_bytes
    vectors = segment / "vector_storage-dense" / "vectors"
    stored = sum(path.stat().st_size for path in vectors.glob("chunk_*.mmap")) // row_bytes
    status = _bytes(vectors / "status.dat")
    return min(stored, int.from_bytes(status[:8], "little")) if len(status) >= 8 else stored


def number_rows(segment: Path, rows: int, first: int) -> None:
    """Replace the ids of a segment by numbers that begin with `first`. Raises OSError."""
    for path in segment.glob("*id_tracker.*"):
        path.unlink()
    with (segment / "mutable_id_tracker.mappings").open("wb") as mappings:
        for row in range(rows):
            mappings.write(bytes([_INSERT]) + uuid.UUID(int=first + row).bytes)
            mappings.write(struct.pack("<I", row))
    (segment / "mutable_id_tracker.versions").write_bytes(struct.pack("<Q", 1) * rows)


def _sealed(segment: Path) -> dict[str, int]:
    content = _bytes(segment / "id_tracker.i2e")[_I2E_HEADER_BYTES:]
    versions = _versions(segment / "id_tracker.versions")
    deleted = _deleted(segment / "id_tracker.deleted")
    found = {}
    for number in range(len(content) // _ID_BYTES):
        if number < len(deleted) and deleted[number]:
            continue
        value = content[number * _ID_BYTES : (number + 1) * _ID_BYTES]
        point_id = str(uuid.UUID(int=int.from_bytes(value, "little")))
        found[point_id] = int(versions[number]) if number < len(versions) else 0
    return found


def _unsealed(segment: Path) -> dict[str, int]:
    versions = _versions(segment / "mutable_id_tracker.versions")
    found: dict[str, int] = {}
    for point_id, number in _mappings(segment):
        if number is None:
            found.pop(point_id, None)
        else:
            found[point_id] = int(versions[number]) if number < len(versions) else 0
    return found


def _mappings(segment: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the changes of an unsealed segment's ids: id, and its row or None for a deletion."""
    content = _bytes(segment / "mutable_id_tracker.mappings")
    position = 0
    while position + 1 + _ID_BYTES <= len(content):
        kind = content[position]
        point_id = str(uuid.UUID(bytes=content[position + 1 : position + 1 + _ID_BYTES]))
        position += 1 + _ID_BYTES
        if kind == _INSERT:
            yield point_id, int.from_bytes(content[position : position + 4], "little")
            position += 4
        elif kind == _DELETE:
            yield point_id, None
        else:
            return  # damage


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _versions(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    content = _bytes(path)
    return np.frombuffer(content[: len(content) // 8 * 8], dtype="<u8")


def _deleted(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    return np.unpackbits(np.frombuffer(_bytes(path), dtype=np.uint8), bitorder="little")
