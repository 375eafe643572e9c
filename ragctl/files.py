"""A file replaced in one step: whoever reads it sees the old content or the new."""

import os
from pathlib import Path


def put(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write `content`, readable as `mode` says, else as new files are. Raises OSError.

    A link is followed. What is no regular file, such as /dev/stdout, is refused:
    replacing it would take it away from others.
    """
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise OSError("it is a folder" if path.is_dir() else "it is no regular file")
    except (RuntimeError, ValueError) as error:  # links in a circle; a NUL in the name
        raise OSError(str(error)) from error
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
