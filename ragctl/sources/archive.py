"""The files in a local .zip or .tar archive. Nothing is unpacked to its own name."""

import struct
import tarfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from lzma import LZMAError
from pathlib import Path
from typing import BinaryIO

from ragctl.errors import DocumentError
from ragctl.sources.remote_file import PIECE_BYTES
from ragctl.sources.retry import Refused
from ragctl.sources.tree import RemoteEntry

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, struct.error, zlib.error, LZMAError)
_LINK = "is a link or no regular file"
_END_BYTES = (1 << 16) + 200
"""The records at the end of a zip archive, with a comment, take fewer bytes."""
_UNIX, _REGULAR = 3, (0, 8)  # of a zip file's entry: its system, and kinds of files there


def is_archive(path: Path) -> bool:
    """Return whether a path is a file that is read as an archive."""
    return path.name.lower().endswith((".zip", *_TAR)) and path.is_file()


class ArchiveTree:
    """The files of an archive. It stays open, so a new archive of its name is read in the next run.

    In a zip archive a file's stamp is its checksum, so an archive that is made again with the same
    contents is unchanged.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self._path = path
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | tarfile.TarFile | None = None
        self._entries: dict[str, RemoteEntry] = {}
        self._identity: tuple[int, ...] = ()

    def files(self, enter: Callable[[str], bool]) -> Iterable[RemoteEntry]:
        """Return all files, in their order in the archive. See Tree.files."""
        with self._lock:
            status = self._path.stat()
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if identity != self._identity:
                self._entries = self._read()
                self._identity = identity
            return list(self._entries.values())

    def fetch(self, key: str, to: BinaryIO, limit: int) -> None:
        """Write the content of a file. See Content.fetch."""
        with self._lock:
            assert self._archive is not None, "the archive was listed"
            try:
                if isinstance(self._archive, zipfile.ZipFile):
                    file = self._archive.open(key)
                else:
                    member = self._archive.extractfile(key)
                    assert member is not None, "only regular files are listed"
                    file = member
                with file:
                    while piece := file.read(PIECE_BYTES):
                        to.write(piece)
            except (RuntimeError, NotImplementedError) as error:  # a password; a compression
                raise DocumentError(f"cannot be read from the archive: {error}") from error
            except _BROKEN as error:
                raise DocumentError(f"is damaged in the archive: {error}") from error

    def _read(self) -> dict[str, RemoteEntry]:
        """Open the archive and return its files by name; of equal names the last one counts."""
        try:
            if self._path.name.lower().endswith(".zip"):
                archive = zipfile.ZipFile(self._path)
                self._archive = archive
                infos = archive.infolist()
                if len(infos) != _zip_count(self._path):
                    raise EOFError("its list of files is damaged")
                entries = [_zip_entry(archive, info) for info in infos if not info.is_dir()]
            else:
                tar = tarfile.open(self._path)  # noqa: SIM115 - stays open
                self._archive = tar
                weakref.finalize(self, tar.close)
                entries = [_tar_entry(info) for info in tar.getmembers() if not info.isdir()]
                _check_end(tar)
        except _BROKEN as error:
            raise Refused(f"it is no complete archive: {error}") from error
        return {entry.path: entry for entry in entries}


def _zip_count(path: Path) -> int:
    """Return how many entries a zip archive has by the record at its end (APPNOTE 4.3.14, 4.3.16).

    The library does not compare it: with one damaged length it finds only the first entries.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    (count,) = struct.unpack_from("<H", end, at + 10)
    if count == 0xFFFF and (at := end.rfind(b"PK\x06\x06")) >= 0:
        (count,) = struct.unpack_from("<Q", end, at + 32)
    return int(count)


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> RemoteEntry:
    """Return a file. Raises BadZipFile if its name is not the one in front of its content."""
    with suppress(RuntimeError, NotImplementedError):  # a password or a compression: see fetch
        archive.open(info).close()
    link = info.create_system == _UNIX and info.external_attr >> 28 not in _REGULAR
    return RemoteEntry(
        info.filename,
        info.filename,
        info.file_size,
        stamp=f"crc32:{info.CRC:08x}",
        exact=True,
        problem=_LINK if link else "",
    )


def _tar_entry(info: tarfile.TarInfo) -> RemoteEntry:
    name = info.name.removeprefix("./")
    problem = "" if info.isreg() else _LINK
    return RemoteEntry(name, info.name, info.size, int(info.mtime * 1e9), problem=problem)


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise an error if an archive ends without its mark, or does not match its checksum.

    The library takes it for complete. The mark is blocks of zeros; `offset` is where the reading of
    entries ended. Reading a compressed file to its end compares the checksum.
    """
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise EOFError("it is cut off")
    while stream.read(PIECE_BYTES):
        pass
