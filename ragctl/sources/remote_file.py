"""A file that is not on this machine, and fetching it."""

import tempfile
import time
from dataclasses import dataclass
from typing import BinaryIO

from ragctl.errors import DocumentError, RagctlError
from ragctl.loaders.content import FileContent, megabytes
from ragctl.sources.base import Content, reason_of
from ragctl.sources.retry import with_retries

PIECE_BYTES = 1 << 20
MAX_SECONDS = 600.0
"""Time limit for fetching one file, with all attempts."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """The location of a file that has to be fetched. It is opened in this process only.

    `name`: of the file, without folders. `size`: in bytes as listed; None: not known. `limit`: a
    larger file is a failed document.
    """

    content: Content
    key: str
    name: str
    size: int | None
    limit: int

    def open(self) -> FileContent:
        """Fetch the file to memory or a temporary file without a name. Raises DocumentError."""
        stream = tempfile.SpooledTemporaryFile(max_size=PIECE_BYTES)  # noqa: SIM115 - is returned
        try:
            self.fetch(stream)
            size = stream.tell()
            stream.seek(0)
        except BaseException:
            stream.close()
            raise
        return FileContent(self.name, size, stream)  # type: ignore[arg-type]

    def fetch(self, to: BinaryIO | tempfile.SpooledTemporaryFile[bytes]) -> None:
        """Write the whole content to an empty file. Raises DocumentError."""
        if self.size is not None and self.size > self.limit:
            raise too_large(self.size, self.limit)
        deadline = time.monotonic() + MAX_SECONDS

        def attempt() -> None:
            to.seek(0)
            to.truncate()
            limited = Limited(to, self.limit, deadline)
            self.content.fetch(self.key, limited, self.limit)  # type: ignore[arg-type]
            if self.size is not None and limited.size != self.size:
                raise OSError(0, f"{limited.size:,} of {self.size:,} bytes came")

        try:
            with_retries(attempt)
        except RagctlError:
            raise
        except FileNotFoundError as error:
            raise DocumentError("cannot be fetched: it is gone") from error
        except Exception as error:
            raise DocumentError(f"cannot be fetched: {reason_of(error)}") from error


class Limited:
    """A file to write to, which ends at a number of bytes and at a time."""

    def __init__(
        self,
        to: BinaryIO | tempfile.SpooledTemporaryFile[bytes],
        limit: int,
        deadline: float,
    ) -> None:
        self._to = to
        self._limit = limit
        self._deadline = deadline
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write some bytes. Raises DocumentError at a limit."""
        self.size += len(data)
        if self.size > self._limit:
            raise too_large(self.size, self._limit)
        if time.monotonic() > self._deadline:
            raise DocumentError(f"cannot be fetched: not complete after {MAX_SECONDS:g} s")
        return self._to.write(data)


def too_large(size: int, limit: int) -> DocumentError:
    """Return the error of a file above the limit."""
    return DocumentError(
        f"is {megabytes(size)} or more, above the limit of {megabytes(limit)}; raise --max-file"
    )
