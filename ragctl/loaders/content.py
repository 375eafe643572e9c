"""The content of a file, as a loader gets it: opened once, so that nothing can take its place."""

import io
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from ragctl.errors import DocumentError


class FileContent:
    """An open file. Its name may lead to another file by now; `read` and `open` do not.

    `name`: of the file, without folders. `size`: in bytes, when it was opened.
    """

    def __init__(self, name: str, size: int, stream: BinaryIO) -> None:
        """Take over `stream`, which is at its start; `close` closes it."""
        self.name = name
        self.size = size
        self._stream = stream
        self._data: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def check_size(self, limit: int) -> None:
        """Raise DocumentError if the file is larger than `limit` bytes."""
        if self.size > limit:
            raise DocumentError(
                f"is {megabytes(self.size)}, above the limit of {megabytes(limit)}; "
                "raise --max-file"
            )

    def read(self, limit: int) -> bytes:
        """Return the whole content. The file is read once, however often this is called.

        Raises DocumentError for a file of more than `limit` bytes, before it is read if possible.
        """
        if self._data is None:
            self.check_size(limit)
            data = self._stream.read(limit + 1)
            self.size = len(data)  # it may have grown, or report no size, as in /proc
            self.check_size(limit)
            self._data = data
        return self._data

    def open(self) -> BinaryIO:
        """Return the content as a file at its start: for a loader that reads piece by piece.

        Call it once. If the content was read, the result is in memory; else it is the file itself.
        """
        return self._stream if self._data is None else io.BytesIO(self._data)


class Location(Protocol):
    """Where a file is, and how to open it. Instances can be pickled."""

    def open(self) -> FileContent:
        """Open the file. Raises OSError, or DocumentError if it is no longer what was listed."""
        ...


def megabytes(size: int) -> str:
    """Return a number of bytes as text in MB."""
    return f"{size / 1e6:,.1f} MB"
