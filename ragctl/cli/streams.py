"""Standard output and standard error whose reader may go away, as in `ragctl search … | head -1`.

Commands write as usual. The first write to standard output after its reader has gone raises
`ReaderGone`, which ends the command with exit code 0; standard error is dropped silently. An
`OSError` of any other pipe or socket is never taken for this.
"""

import io
import os
import sys
from typing import Any, TextIO

from ragctl.errors import RagctlError


class ReaderGone(Exception):
    """The reader of standard output has closed it. Further output is dropped."""


class _Output(io.FileIO):
    """A standard stream that drops everything after an error, so that leaving cannot fail."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._needed = needed
        self._failed = False

    def write(self, data: Any, /) -> int:
        """Write as a file does. Raises ReaderGone and RagctlError if the output is needed."""
        if not self._failed:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                self._failed = True
                if self._needed:
                    raise ReaderGone from None
            except OSError as error:
                self._failed = True
                if self._needed:
                    raise RagctlError(f"standard output: {error.strerror}") from error
        return len(data)


def prepare_streams() -> None:
    """Replace the standard streams of the process. A character that they cannot encode is escaped.

    A stream that the caller has closed (`>&-`) is dropped. Streams that are no files stay.
    """
    sys.stdout = _replacement(sys.stdout, needed=True)
    sys.stderr = _replacement(sys.stderr, needed=False)


def _replacement(stream: Any, *, needed: bool) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - until the end
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if type(raw) is not io.FileIO:
        return stream  # type: ignore[no-any-return]
    stream.flush()
    output = _Output(raw.fileno(), needed=needed)
    return io.TextIOWrapper(
        output if buffer is raw else io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
