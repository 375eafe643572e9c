"""Atomic replacement of a file: readers see the old content or the new, never a part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace a file's content. Raises OSError; see `replacing`."""
    with replacing(path, mode=mode) as file:
        file.write(content)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: what was made, renamed or removed there."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, *, mode: int | None = None, text: bool = False) -> Iterator[IO[Any]]:
    """Open a hidden file that replaces `path` when the `with` block ends without an error.

    Until then `path` stays as it was; symbolic links are followed. `mode`: the file's permissions,
    None for those of new files. `text`: write UTF-8 text instead of bytes. Raises OSError,
    also when `path` exists and is not a regular file: replacing /dev/stdout would remove it
    for other processes.
    """
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise OSError("it is a folder" if path.is_dir() else "it is not a regular file")
    except (RuntimeError, ValueError) as error:  # a loop of symbolic links; a NUL in the name
        raise OSError(str(error)) from error
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w" if text else "wb", encoding="utf-8" if text else None) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
