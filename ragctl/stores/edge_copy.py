"""Private copies of stored files, for reading what must not be changed.

The engine maps the files that it reads for writing, and repairs some when it opens them. What is
read-only or damaged is therefore copied to the system's folder for temporary files (TMPDIR) and
read there. A copy is removed after use; one that a killed process left, by the next copy.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragctl.errors import StoreError
from ragctl.stores.edge_layout import remove_tree
from ragctl.stores.locks import is_running

_PREFIX = "ragctl-copy-"
_OURS = re.compile(re.escape(_PREFIX) + r"(\d+)-\w+")
_BLOCK_BYTES = 1 << 20
_STAT_BLOCK_BYTES = 512


@contextmanager
def private_copies() -> Iterator[Path]:
    """Make a folder for copies that only this user can read, and remove it at the end."""
    folder = copies_folder()
    try:
        yield folder
    finally:
        remove_tree(folder)


def copies_folder() -> Path:
    """Make such a folder; the caller removes it. Removes those of dead processes."""
    place = Path(tempfile.gettempdir())
    for path in place.glob(f"{_PREFIX}*"):
        found = _OURS.fullmatch(path.name)
        if found and not is_running(int(found[1])):
            with contextlib.suppress(OSError):  # another user's
                remove_tree(path)
    try:
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    except OSError as error:
        raise StoreError(
            f"{place}: no temporary copy can be made ({error.strerror}); "
            "set TMPDIR to a folder with space"
        ) from error


def copy_files(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all it holds, without the holes of sparse files.

    Entries that are neither a file nor a folder are left out. Raises OSError if something cannot
    be read, StoreError if there is not enough space at the target.
    """
    needed, free = _used_bytes(source), shutil.disk_usage(target.parent).free
    if needed > free:
        raise StoreError(
            f"{target.parent}: a temporary copy of {source} takes {needed >> 20:,} MiB, and "
            f"{free >> 20:,} MiB are free; set TMPDIR to a folder with more space"
        )
    _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir()
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
    elif source.is_file():
        _copy_file(source, target)


def _used_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(map(_used_bytes, path.iterdir()))
    stat = path.lstat()
    return getattr(stat, "st_blocks", stat.st_size // _STAT_BLOCK_BYTES) * _STAT_BLOCK_BYTES


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        size = os.fstat(read.fileno()).st_size
        for start, end in _extents(read.fileno(), size):
            read.seek(start)
            written.seek(start)
            while start < end and (block := read.read(min(_BLOCK_BYTES, end - start))):
                written.write(block)
                start += len(block)
        written.truncate(size)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file that hold data."""
    if not hasattr(os, "SEEK_DATA"):
        yield 0, size
        return
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            yield end, size  # the file system does not say
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
