"""How many bytes a collection will take, foretold without making it.

Where the numbers come from:

- Embedded, measured on collections of 1,000 x 256, 6,000 x 256 and 12,000 x 768 in
  engine 0.9: vectors 4 bytes a component; payloads their text and some 600 bytes; sparse
  vectors and their index 20.5 bytes a term; payload indexes 300 bytes a point, ids 42; what
  stands in the write-ahead log, up to 40 MB. A process that searches grows by 42 MB, the
  vectors that it scans, and that log. For those collections it foretells 2 to 9 per cent
  too much disk; memory within 8 per cent, with copies up to 19 too little, as rescoring
  reads whole vectors too (`tests/test_size.py` measures the disk of one again).
- Server, by its documentation and defaults, not measured: the graph has up to 32 links of
  4 bytes at its lowest level and few above, 200 bytes a point with its lists; ids take 64;
  quantised copies are kept in memory, all else on disk behind the page cache, which the
  figure leaves out; the log takes two files of 32 MB. Its six further payload indexes are
  reckoned like the embedded store's, 75 bytes a point each.
- Terms: one for 10.5 bytes of text, as in this project's sample documents in four
  languages (7 in Chinese to 19 in Russian).
- Quantised copies, measured: one, a half, a quarter or an eighth of a byte a component,
  and some 16 bytes a point.
"""

from dataclasses import dataclass

from ragctl.records import Json

_COMPONENT = 4
_COPY = {"scalar": 8, "turbo4": 4, "turbo2": 2, "binary2": 2, "turbo1": 1, "binary": 1}  # bits
_COPY_FRAME = 16
_FIELDS = 600  # of a payload, but its text
_TERM = 20.5
_TEXT_OF_TERM = 10.5
_INDEXES = 300

_EDGE_IDS = 42
_EDGE_LOG = 40e6
_EDGE_PROCESS = 42e6

_SERVER_INDEXES = 450
_SERVER_IDS = 64
_SERVER_GRAPH = 200
_SERVER_LOG = 64e6


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes. In memory: of a process that searches, or of the server for this collection."""

    points: int
    memory_bytes: int
    disk_bytes: int

    def to_json(self) -> dict[str, Json]:
        return {
            "points": self.points,
            "memory_bytes": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
        }


def foretell(
    points: int, dim: int, *, text_bytes: float, quantization: str | None, server: bool
) -> Size:
    """The size of a collection. `text_bytes`: of a chunk's text in UTF-8, on average."""
    whole = _COMPONENT * dim
    copy = _COPY[quantization] * dim / 8 + _COPY_FRAME if quantization else 0.0
    payload = text_bytes + _FIELDS
    terms = text_bytes / _TEXT_OF_TERM
    on_disk = whole + copy + payload + _TERM * terms + _INDEXES
    if server:
        memory = points * (copy + _SERVER_IDS + _SERVER_GRAPH)
        disk = points * (on_disk + _SERVER_INDEXES + _SERVER_IDS + _SERVER_GRAPH) + _SERVER_LOG
    else:
        log = min(_EDGE_LOG, points * (whole + payload + 8 * terms))
        memory = _EDGE_PROCESS + points * (copy or whole) + log
        disk = points * (on_disk + _EDGE_IDS) + log
    return Size(points, round(memory), round(disk))
