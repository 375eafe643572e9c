"""Free space on the disk of an embedded store.

The engine's files are sparse and mapped into memory: a write to a hole of a full disk kills the
process. So space is checked before a write. Searching and deleting must work on a full disk too,
and the engine writes a little whenever it opens a shard; a reserve file is cut for them.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragctl.errors import StoreError

MIN_FREE_BYTES = 192 << 20
"""Disk space that must be free for a write: several times what sealing needs temporarily."""

MIN_FREE_BYTES_TO_DELETE = 4 << 20
"""Disk space that must be free for deleting a batch of points."""

RESERVE_BYTES = 16 << 20
"""Size of the reserve: what deleting some ten thousand points may take."""

OPENING_BYTES = 256 << 10
"""What the engine may write when it opens a shard, besides replaying its log."""

FULL_DISK_BYTES = 1 << 20
"""With less than this free, an error of the engine is explained by the full disk."""


class DiskSpace:
    """The free space for a store in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._reserve = root / "reserve"

    @property
    def is_short(self) -> bool:
        """Whether so little is free that nothing must be written but deletions."""
        return self.free < MIN_FREE_BYTES

    @property
    def free(self) -> int:
        """Bytes that are free."""
        return shutil.disk_usage(self._root).free

    def check(self) -> None:
        """Raise StoreError when the disk is nearly full."""
        if self.is_short:
            raise StoreError(
                f"{self._root}: only {self.free >> 20} MiB of disk are free, and ragctl keeps "
                f"{MIN_FREE_BYTES >> 20} MiB free; make space, or choose another folder with "
                "--store. What was written is kept"
            )

    def check_for_delete(self) -> None:
        """Cut the reserve if that is needed to delete; raise StoreError if it is not enough."""
        missing = MIN_FREE_BYTES_TO_DELETE - self.free
        if missing <= 0:
            return
        with contextlib.suppress(OSError):
            kept = self._reserve.stat().st_size - missing
            if kept >= OPENING_BYTES:
                os.truncate(self._reserve, kept)
        if self.free < MIN_FREE_BYTES_TO_DELETE:
            raise StoreError(
                f"{self._root}: the disk is full: deleting documents takes "
                f"{MIN_FREE_BYTES_TO_DELETE >> 20} MiB; make space, or delete a whole collection "
                "with `ragctl delete --all -c NAME`, which takes none"
            )

    def restore_reserve(self) -> None:
        """Make the reserve whole if there is space for it."""
        if self.free >= MIN_FREE_BYTES + RESERVE_BYTES:
            with contextlib.suppress(OSError):
                self._reserve.touch()
                _grow(self._reserve, RESERVE_BYTES)

    @contextmanager
    def for_opening(self) -> Iterator[None]:
        """Provide the space that the engine needs to open a shard; take it back afterwards."""
        try:
            size = self._reserve.stat().st_size
            if size < OPENING_BYTES or self.free >= OPENING_BYTES:
                size = 0
            else:
                os.truncate(self._reserve, size - OPENING_BYTES)
        except OSError:
            size = 0
        try:
            yield
        finally:
            if size:
                with contextlib.suppress(OSError):
                    _grow(self._reserve, size)


def disk_is_full(folder: Path) -> bool:
    """Return whether an error of the engine may come from a full disk."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < FULL_DISK_BYTES
    return False


def _grow(file: Path, size: int) -> None:
    """Give a file this size, with space on the disk for all of it. Raises OSError."""
    with file.open("r+b") as opened:
        start = opened.seek(0, os.SEEK_END)
        if start >= size:
            return
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(opened.fileno(), start, size - start)
        else:
            opened.write(bytes(size - start))
