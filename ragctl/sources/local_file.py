"""Open a file of a folder so that no link leads to another one, whatever happened since the walk.

Each folder on the way is opened relative to the one above it, without following links, and so is
the file. A file, or a folder above it, that was replaced by a link is therefore not read.
"""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from ragctl.errors import DocumentError
from ragctl.loaders.content import FileContent

_HAS_DIR_FD = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
# O_PATH needs no permission to list the folder. O_NONBLOCK: opening a FIFO must not wait.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FILE |= getattr(os, "O_BINARY", 0)
_REPLACED = "was replaced after its folder was listed: a link on its path is not followed"


class LocalFile(NamedTuple):
    """A file below a folder. `root` is trusted: a link in it is followed.

    `path`: below the root, as on disk, with the separator of the system and without links.
    """

    root: str
    path: str

    def open(self) -> FileContent:
        """Open the file.

        Raises DocumentError if a link is in its place or in that of a folder above it, or if it is
        not a regular file; OSError if it cannot be opened.
        """
        descriptor = (_open_below if _HAS_DIR_FD else open_checked)(self.root, self.path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DocumentError("cannot be read: it is not a regular file")
            stream = os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
        return FileContent(self.path.rpartition(os.sep)[2], status.st_size, stream)


def _open_below(root: str, path: str) -> int:
    """Return a descriptor of the file; open it folder by folder."""
    *folders, name = Path(path).parts
    here = os.open(root, _FOLDER)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER | _NO_LINK, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, _FILE | _NO_LINK, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):  # EMLINK: FreeBSD
            raise DocumentError(_REPLACED) from error
        raise
    finally:
        os.close(here)


def open_checked(root: str, path: str) -> int:
    """Return a descriptor of the file, on a system that cannot open relative to a folder.

    The file is opened by its whole path, and must then be the one that a path without links names.
    """
    whole = Path(root, path)
    descriptor = os.open(whole, _FILE)
    try:
        opened, named = os.fstat(descriptor), whole.lstat()
        if whole.resolve() != Path(root).resolve() / path or not os.path.samestat(opened, named):
            raise DocumentError(_REPLACED)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
