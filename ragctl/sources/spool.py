"""Texts that are kept on the disk until they are parsed, in one temporary file without a name."""

import tempfile
import threading
import weakref
from typing import BinaryIO

from ragctl.sources.remote_file import PIECE_BYTES


class Spool:
    """A temporary file of texts. It is private, and gone when the process ends, however it ends."""

    def __init__(self) -> None:
        """Make the file."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._file = file
        self._lock = threading.Lock()
        self._end = 0
        weakref.finalize(self, file.close)

    def add(self, text: bytes) -> str:
        """Append a text and return its key. Raises OSError, such as for a full disk."""
        start = self._end
        with self._lock:
            self._file.seek(start)
            self._file.write(text)
        self._end += len(text)
        return f"{start}:{len(text)}"

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write a text to a file. See Content.fetch."""
        start, size = map(int, key.split(":"))
        with self._lock:
            self._file.seek(start)
            while size:
                piece = self._file.read(min(size, PIECE_BYTES))
                if not piece:
                    raise OSError(0, "the temporary file is cut off")
                to.write(piece)
                size -= len(piece)
