"""A folder that is listed and opened through its descriptor, however long its path is."""

import os
import stat
from typing import Self

_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.scandir in os.supports_fd

FILE, FOLDER, LINK, OTHER = range(4)


Entry = tuple[str, int]
"""A name in a folder, as on disk, and its kind: FILE, FOLDER, LINK or OTHER."""


class Directory:
    """An open folder. On a system that cannot open relative to a folder, its path is used."""

    def __init__(self, path: str, above: "Directory | None" = None) -> None:
        """Open a folder: `path`, or the name `path` in `above`, where it must not be a link.

        Raises OSError.
        """
        if above is not None:
            path = above._name(path)
        self._path = path
        self._descriptor: int | None = None
        if _BY_DESCRIPTOR:
            here = None if above is None else above._descriptor
            flags = _FLAGS if above is None else _FLAGS | _NO_LINK
            self._descriptor = os.open(path, flags, dir_fd=here)
        elif above is not None and stat.S_ISLNK(os.lstat(path).st_mode):
            raise NotADirectoryError(20, "is a link")

    def child(self, name: str) -> Self:
        """Open a folder in this one. Raises OSError, for a link too."""
        return type(self)(name, self)

    def entries(self) -> list[Entry]:
        """Return the names in the folder, sorted. Raises OSError."""
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as scan:
            return sorted([(entry.name, _kind(entry)) for entry in scan])

    def status(self, name: str, *, follow: bool = False) -> os.stat_result:
        """Return the status of a name in the folder; `follow`: of what a link leads to."""
        if self._descriptor is None:
            name = self._name(name)
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=follow)

    def identity(self) -> tuple[int, int]:
        """Return device and inode of the folder. Raises OSError."""
        where = self._path if self._descriptor is None else self._descriptor
        status = os.stat(where)  # noqa: PTH116
        return status.st_dev, status.st_ino

    def read(self, name: str, *, follow: bool = False) -> bytes:
        """Return the content of a regular file; `follow`: also through a link. Raises OSError."""
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        flags |= 0 if follow else _NO_LINK
        descriptor = os.open(self._name(name), flags, dir_fd=self._descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(0, "is not a file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _name(self, name: str) -> str:
        """Return a name as the functions of `os` take it."""
        return name if _BY_DESCRIPTOR else os.path.join(self._path, name)  # noqa: PTH118


def _kind(entry: "os.DirEntry[str]") -> int:
    try:
        if entry.is_file(follow_symlinks=False):
            return FILE
        if entry.is_dir(follow_symlinks=False):
            return FOLDER
        return LINK if entry.is_symlink() else OTHER
    except OSError:  # the file system does not tell kinds, and this one cannot be read
        return FILE
