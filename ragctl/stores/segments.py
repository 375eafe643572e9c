"""The size of the embedded engine's segments, and the joining of small ones.

New points go to a segment in memory. When it has about SEAL_BYTES it is sealed: rewritten
as files that are mapped into memory. Opening a segment takes 10 to 20 ms, so
SEALS_PER_JOINED sealed segments are joined into one.
"""

from ragctl.collection.settings import Settings
from ragctl.stores.edge_values import ShardConfig

SEAL_BYTES = 32 << 20

MIN_SEALED = 1 / 6
"""Share of SEAL_BYTES below which a segment stays unsealed."""

SEALS_PER_JOINED = 8
"""Joining them takes about 3 s, in which no process can search."""

MAX_SMALL_SEGMENTS = 8
"""Small segments tolerated before they are joined during an ingest."""

MAX_SMALL_SEGMENTS_AT_END = 6
"""Small segments tolerated at the end of an ingest."""

JOIN_FREE_BYTES = 2 * SEALS_PER_JOINED * SEAL_BYTES
"""Disk space that must be free for joining."""

TYPICAL_POINT_BYTES = 8192
"""Size of a typical point in memory, without its dense vector."""

JOIN_TIMEOUT_SECONDS = 30.0
"""Half of the time that other processes wait for the shard."""


def joined(points: int, settings: Settings) -> int:
    """Return the most segments that these points take when all possible ones are joined.

    A joined segment is at least four fifths full.
    """
    return points * 5 // (4 * _points(settings.dim, SEALS_PER_JOINED))


def config(settings: Settings, seals: int = 1) -> ShardConfig:
    """Return the configuration under which segments are joined up to `seals` sealed ones.

    Segments that are much smaller than a sealed one stay unsealed.
    """
    kb = _sealed_kb(settings)
    return ShardConfig(
        settings.dim,
        settings.quantization,
        max_segment_kb=max(1, seals * kb),
        indexing_threshold_kb=max(1, int(kb * MIN_SEALED)),
    )


def _points(dim: int, seals: int) -> int:
    """Return the approximate points of a segment joined from this many sealed ones."""
    return max(1, seals * SEAL_BYTES // (4 * dim + TYPICAL_POINT_BYTES))


def _sealed_kb(settings: Settings) -> int:
    return 4 * settings.dim * _points(settings.dim, 1) // 1024
