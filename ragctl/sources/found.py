"""What a source finds: files, and what could not be read. Names in Unicode NFC."""

import os
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from ragctl.loaders import Location
from ragctl.records import Json


class FoundFile(NamedTuple):
    """A file of a known format. `source` is its path below the root, with `/`, in NFC.

    `size` is in bytes, and 0 if the listing has none. `stamp`: what the listing knows of its state
    besides size and time: an ETag or a version; of a local file the time of the last change of its
    inode (ctime) in nanoseconds, as decimal text. `exact`: the stamp identifies the content, so
    equal ones prove equal contents. `title` and `meta`: given by the source, and stronger than
    those in the file.
    """

    source: str
    location: Location
    size: int
    mtime_ns: int
    stamp: str
    exact: bool = False
    title: str = ""
    meta: tuple[tuple[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class UnreadablePath:
    """A file or folder that could not be read, and why.

    If `folder` is true, the files below `source` ("" is the root) are unknown, so their documents
    must not be removed.
    """

    source: str
    error: str
    folder: bool = False


def stamp(status: os.stat_result) -> str:
    """Return the stamp of a local file: its ctime in nanoseconds."""
    return str(status.st_ctime_ns)


def normalized_name(name: str) -> str:
    r"""Return a name in NFC, with bytes that are not UTF-8 as \xff."""
    if not is_utf8(name):
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name)


def is_utf8(name: str) -> bool:
    """Return whether a name from the disk is valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
