"""The frames between a run and the engine's process: a length, then a pickled value."""

import pickle
import struct
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


def write_frame(pipe: IO[bytes] | None, value: Any) -> None:
    """Write one value. Raises OSError when the other side is gone."""
    assert pipe is not None
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(content)))
    pipe.write(content)
    pipe.flush()


def read_frame(pipe: IO[bytes] | None) -> Any:
    """Return the next value, None when the other side is gone."""
    assert pipe is not None
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(header)
    content = pipe.read(size)
    return pickle.loads(content) if len(content) == size else None  # noqa: S301 - our own child
