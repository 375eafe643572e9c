"""How large the embedded engine's segments are, and the joining of small ones.

New points go to a segment that the engine keeps in memory. When it has grown to about
SEAL_BYTES it is sealed: rewritten as files that memory only maps. To open a segment takes
10 to 20 ms, so sealed ones are joined, JOINED into one.
"""

from pathlib import Path

import qdrant_edge as qe

from ragctl.collection.payload import BM25, DENSE
from ragctl.collection.settings import Settings
from ragctl.errors import RagctlError
from ragctl.stores.edge_points import quantization

SEAL_BYTES = 32 << 20
JOINED = 8  # so that joining takes about 3 s, in which nobody searches
LOOSE = 8  # segments beside joined ones that an ingest leaves so; its end leaves
LEFT = 6
JOINING = 2 * JOINED * SEAL_BYTES  # bytes of disk that must be free for it

_POINT_BYTES = 8192  # of a usual point beside its vector, in the segment in memory
_SECONDS = 30.0  # that joining may take: half of what others wait for the shard
_ANY = 1 << 46  # bytes of address space: files are mapped, not held


def joined(points: int, settings: Settings) -> int:
    """Segments that so many points need at most when all that can be is joined.

    Joined ones are four fifths full, or fuller.
    """
    return points * 5 // (4 * _points(settings.dim, JOINED))


def config(settings: Settings, sealed_kb: int | None = None, seals: int = 1) -> qe.EdgeConfig:
    """Data on disk behind the page cache, so that memory does not grow with it.

    `sealed_kb`: of vectors in a sealed segment, by which the engine measures; else as usual.
    Segments are joined while they are no larger than `seals` sealed ones, and left unsealed
    while much smaller than one.
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
        # No graph: search is exact. What remains of the index is the sealing.
        hnsw_config=qe.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=10_000),
        optimizers=qe.EdgeOptimizersConfig(
            default_segment_number=1,
            max_segment_size=max(1, seals * kb),
            indexing_threshold=max(1, kb // 6),
        ),
    )


def join(folder: Path, settings: Settings) -> bool:
    """Join the sealed segments of a shard that nobody has open, in a process of its own.

    It maps all that it joins, and the engine lets no other thread of its process run.
    False where it failed or took too long: nothing depends on it, and nothing is lost.
    """
    from ragctl.workers import Pool

    job = (str(folder), settings, _sealed_kb(settings))
    try:
        with Pool(f"{__name__}:joining", workers=1, seconds=_SECONDS, memory=_ANY) as pool:
            ((_, outcome),) = pool.run([job])
    except RagctlError as error:
        outcome = error
    # The shard keeps the settings it was opened under: what is sealed later is not to be joined.
    qe.EdgeShard.load(str(folder), config(settings)).close()
    return not isinstance(outcome, RagctlError)


def joining(job: tuple[str, Settings, int]) -> None:
    """The work of `join`'s process."""
    folder, settings, kb = job
    shard = qe.EdgeShard.load(folder, config(settings, kb, JOINED))
    shard.optimize()
    shard.flush()
    shard.close()


def _points(dim: int, seals: int) -> int:
    """How many points a segment has into which so many are joined, about."""
    return max(1, seals * SEAL_BYTES // (4 * dim + _POINT_BYTES))


def _sealed_kb(settings: Settings) -> int:
    return 4 * settings.dim * _points(settings.dim, 1) // 1024
