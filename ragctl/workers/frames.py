"""What goes over the pipes between parent and child: frames of a kind and pickled bytes."""

import struct
from typing import BinaryIO

JOB, READY, BROKEN, ITEM, LAST, END, ERROR, MEMORY = range(8)
Frame = tuple[int, bytes]  # kind, payload

_HEADER = struct.Struct("<QB")  # the payload's length, the kind


def write_frame(pipe: BinaryIO, kind: int, payload: bytes = b"") -> None:
    pipe.write(_HEADER.pack(len(payload), kind))
    pipe.write(payload)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> Frame | None:
    """One frame, or None where the other side is gone."""
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    size, kind = _HEADER.unpack(header)
    payload = pipe.read(size)
    return (kind, payload) if len(payload) == size else None
