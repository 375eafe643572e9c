"""Replace a file atomically: readers see the old content or the new, never a part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, which replaces it when the block ends without error.

    `mode`: the permissions; None: those of a new file. After an error, or a kill, `path` is as it
    was. Raises OSError.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with new.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write `content` to `path` atomically; `mode` as in `replacing`. Raises OSError.

    A link is followed. A path that is not a regular file, such as /dev/stdout, is refused:
    replacing it would remove it for other processes.
    """
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise OSError("it is a folder" if path.is_dir() else "it is no regular file")
    except (RuntimeError, ValueError) as error:  # a loop of links; a NUL in the name
        raise OSError(str(error)) from error
    with replacing(path, mode) as file:
        file.write(content)
