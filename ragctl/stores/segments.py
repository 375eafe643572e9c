"""The size of the embedded engine's segments, and the joining of small ones.

New points go to a segment in memory. When it has about SEAL_BYTES it is sealed: rewritten
as files that are mapped into memory. Opening a segment takes 10 to 20 ms, so
SEALS_PER_JOINED sealed segments are joined into one.
"""

from pathlib import Path

import qdrant_edge as qe

from ragctl.collection.payload import BM25, DENSE
from ragctl.collection.settings import Settings
from ragctl.errors import RagctlError
from ragctl.stores.edge_points import quantization

SEAL_BYTES = 32 << 20

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

UNLIMITED_ADDRESS_BYTES = 1 << 46
"""Address space of the joining process: it maps files instead of reading them."""


def joined(points: int, settings: Settings) -> int:
    """Return the most segments that these points take when all possible ones are joined.

    A joined segment is at least four fifths full.
    """
    return points * 5 // (4 * _points(settings.dim, SEALS_PER_JOINED))


def config(settings: Settings, sealed_kb: int | None = None, seals: int = 1) -> qe.EdgeConfig:
    """Return the engine's configuration: data on disk, read through the page cache.

    `sealed_kb`: kilobytes of vectors in a sealed segment; None: the usual size. Segments are
    joined up to the size of `seals` sealed ones. Much smaller ones stay unsealed.
    """
    kb = sealed_kb or _sealed_kb(settings)
    return qe.EdgeConfig(
        vectors={
            DENSE: qe.EdgeVectorParams(
                size=settings.dim, distance=qe.Distance.Cosine, memory=qe.Memory.Cold
            )
        },
        sparse_vectors={
            BM25: qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=qe.Memory.Cold)
        },
        quantization_config=quantization(settings.quantization),
        payload_memory=qe.Memory.Cold,
        id_tracker_memory=qe.Memory.Cold,
        # No graph: search is exact. The indexing threshold only controls sealing.
        hnsw_config=qe.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10_000),
        optimizers=qe.EdgeOptimizersConfig(
            default_segment_number=1,
            max_segment_size=max(1, seals * kb),
            indexing_threshold=max(1, kb // 6),
        ),
    )


def join(folder: Path, settings: Settings) -> bool:
    """Join the sealed segments of a closed shard, in a child process; return whether it worked.

    A child process, because the engine maps all segments that it joins and blocks the other
    threads. After a failure or a timeout the shard is as it was, with small segments.
    """
    from ragctl.workers import Pool

    job = (str(folder), settings, _sealed_kb(settings))
    try:
        with Pool(
            f"{__name__}:joining",
            workers=1,
            seconds=JOIN_TIMEOUT_SECONDS,
            memory=UNLIMITED_ADDRESS_BYTES,
        ) as pool:
            ((_, outcome),) = pool.run([job])
    except RagctlError as error:
        outcome = error
    # The shard keeps the settings of its last opening; restore those that do not join.
    qe.EdgeShard.load(str(folder), config(settings)).close()
    return not isinstance(outcome, RagctlError)


def joining(job: tuple[str, Settings, int]) -> None:
    """Join segments; runs in the child process of `join`."""
    folder, settings, kb = job
    shard = qe.EdgeShard.load(folder, config(settings, kb, SEALS_PER_JOINED))
    shard.optimize()
    shard.flush()
    shard.close()


def _points(dim: int, seals: int) -> int:
    """Return the approximate points of a segment joined from this many sealed ones."""
    return max(1, seals * SEAL_BYTES // (4 * dim + TYPICAL_POINT_BYTES))


def _sealed_kb(settings: Settings) -> int:
    return 4 * settings.dim * _points(settings.dim, 1) // 1024
