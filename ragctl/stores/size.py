"""An estimate of the bytes that a collection will take, before it is made.

Sources of the figures:

- Embedded, measured with engine 0.9 on collections of 1,000 x 256, 6,000 x 256 and
  12,000 x 768: vectors 4 bytes a component; payloads the text and about 600 bytes; sparse
  vectors with their index 20.5 bytes a term; payload indexes 300 bytes a point; ids 42 bytes;
  the write-ahead log up to 40 MB. A process that searches grows by 42 MB, the vectors that it
  scans, and the log. For those collections the estimate of the disk is 2 to 9 per cent too
  high, and that of memory within 8 per cent; with quantised copies up to 19 per cent too low,
  because rescoring reads whole vectors too. `tests/test_size.py` measures one of them again.
- Server, from its documentation and defaults, not measured: the HNSW graph has up to 2 m links
  of 4 bytes at its lowest level and few above, 12.5 m bytes a point with its lists; a graph of
  each tenant comes on top; ids take 64 bytes; quantised copies are kept in memory, everything
  else on disk behind the page cache, which the estimate leaves out, unless the options of the
  collection say otherwise; the log of a shard has two files of 32 MB. The payload index that the
  embedded store lacks, of the lease, is taken to cost what its others cost, 75 bytes a point.
- Terms: one in 10.5 bytes of text, as in this project's sample documents in four languages
  (from 7 in Chinese to 19 in Russian).
- Quantised copies, measured: one, a half, a quarter or an eighth of a byte a component, and
  about 16 bytes a point.
"""

from dataclasses import dataclass

from ragctl.collection.server_options import BITS_PER_COMPONENT, ServerOptions
from ragctl.records import Json

BYTES_PER_COMPONENT = 4  # embedded
DEFAULT_M = 16  # links of a point in the HNSW graph
BITS_PER_COPIED_COMPONENT = {
    "scalar": 8,
    "turbo4": 4,
    "turbo2": 2,
    "binary2": 2,
    "turbo1": 1,
    "binary": 1,
}
COPY_BYTES_PER_POINT = 16
PAYLOAD_BYTES_PER_POINT = 600  # without the text
BYTES_PER_TERM = 20.5
TEXT_BYTES_PER_TERM = 10.5
INDEX_BYTES_PER_POINT = 300

EDGE_ID_BYTES_PER_POINT = 42
EDGE_MAX_LOG_BYTES = 40e6
EDGE_PROCESS_BYTES = 42e6

SERVER_INDEX_BYTES_PER_POINT = 75
SERVER_ID_BYTES_PER_POINT = 64
SERVER_GRAPH_BYTES_PER_LINK = 12.5
SERVER_LOG_BYTES = 64e6


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a collection in bytes.

    `memory_bytes`: of a process that searches it, or of the server for this collection.
    """

    points: int
    memory_bytes: int
    disk_bytes: int

    def to_json(self) -> dict[str, Json]:
        """Return the size as a JSON object."""
        return {
            "points": self.points,
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
        }


def estimate_size(
    points: int,
    dim: int,
    *,
    text_bytes: float,
    quantization: str | None,
    server: ServerOptions | None,
) -> Size:
    """Return the estimated size of a collection.

    `text_bytes`: average length of a chunk's text in UTF-8. `server`: its options on a Qdrant
    server, where all shards and replicas are counted; None: it is embedded.
    """
    copy = 0.0
    if quantization:
        copy = BITS_PER_COPIED_COMPONENT[quantization] * dim / 8 + COPY_BYTES_PER_POINT
    payload = text_bytes + PAYLOAD_BYTES_PER_POINT
    terms = text_bytes / TEXT_BYTES_PER_TERM
    other = copy + payload + BYTES_PER_TERM * terms + INDEX_BYTES_PER_POINT
    if server is None:
        whole = BYTES_PER_COMPONENT * dim
        log = min(EDGE_MAX_LOG_BYTES, points * (whole + payload + 8 * terms))
        memory = EDGE_PROCESS_BYTES + points * (copy or whole) + log
        disk = points * (whole + other + EDGE_ID_BYTES_PER_POINT) + log
        return Size(points, round(memory), round(disk))
    vector = BITS_PER_COMPONENT[server.datatype or "float32"] * dim / 8
    m = DEFAULT_M if server.hnsw_m is None else server.hnsw_m
    tenant_m = 0 if server.tenant is None else server.hnsw_payload_m or m
    resident = SERVER_ID_BYTES_PER_POINT + SERVER_GRAPH_BYTES_PER_LINK * (m + tenant_m)
    memory = copy + resident
    if server.vectors_on_disk is False:
        memory += vector
    if server.payload_on_disk is False:
        memory += payload
    disk = vector + other + SERVER_INDEX_BYTES_PER_POINT + resident
    logs = SERVER_LOG_BYTES * (server.shards or 1)
    return Size(
        points,
        round(server.copies * points * memory),
        round(server.copies * (points * disk + logs)),
    )
