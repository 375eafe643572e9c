"""Frames: the messages that parent and child exchange through the pipes.

A frame is a header (length of the payload as uint64, kind as uint8, little-endian) and the
payload, which is pickled for JOB, ITEM, LAST, END and ERROR.

A child sends READY or BROKEN once. For each JOB it sends either LAST, or any number of ITEM and
then END; in place of LAST or END it sends ERROR or MEMORY if the job failed.
"""

import struct
from typing import BinaryIO

JOB = 0  # parent to child: the argument of the function
READY = 1  # the child has imported the function and is warm
BROKEN = 2  # the import failed; the payload is the message, in UTF-8
ITEM = 3  # one item of the iterator that the function returned
LAST = 4  # what the function returned, if not an iterator
END = 5  # the iterator is exhausted; the payload is None
ERROR = 6  # the RagctlError that ended the job
MEMORY = 7  # the memory limit ended the job; no payload

Frame = tuple[int, bytes]
"""Kind and payload."""

_HEADER = struct.Struct("<QB")


def write_frame(pipe: BinaryIO, kind: int, payload: bytes = b"") -> None:
    """Write one frame and flush. Raises OSError if the other side is gone."""
    pipe.write(_HEADER.pack(len(payload), kind))
    pipe.write(payload)
    pipe.flush()


def read_frame(pipe: BinaryIO) -> Frame | None:
    """Wait for a frame and return it, or None if the other side is gone."""
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    size, kind = _HEADER.unpack(header)
    payload = pipe.read(size)
    return (kind, payload) if len(payload) == size else None
