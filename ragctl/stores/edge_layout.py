"""The files of an embedded store: collections, their generations and settings, locks.

ROOT/collections/NAME/current                the number of the current generation
ROOT/collections/NAME/current.copy           the same again, for when the first is damaged
ROOT/collections/NAME/collection.json        settings of generation 1, with a checksum
ROOT/collections/NAME/collection.copy.json   the same again, for when the first is damaged
ROOT/collections/NAME/notes.json             notes of generation 1, with a checksum
ROOT/collections/NAME/notes.copy.json        the same again
ROOT/collections/NAME/shard/                 the engine's files of generation 1
ROOT/collections/NAME/N/                     the same five for generation N, from 2 on
ROOT/collections/.NAME.PID.{new,dropped}     unfinished work of process PID
ROOT/collections/NAME/.N.PID.{new,dropped}   the same for a generation
ROOT/locks/NAME.run.lock                     held by the run that writes the collection
ROOT/locks/NAME[@N].shard.lock               held by the process that has generation N open
"""

import contextlib
import json
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragctl.collection.names import check_name, is_name
from ragctl.errors import StoreError
from ragctl.files import replace_file, sync_folder
from ragctl.stores.locks import is_running

SETTINGS_FILES = ("collection.json", "collection.copy.json")
NOTES_FILES = ("notes.json", "notes.copy.json")
SHARD = "shard"
POINTERS = ("current", "current.copy")
PARTS = (*SETTINGS_FILES, *NOTES_FILES, SHARD)
"""The entries of a generation's folder."""

CHECKSUM = "crc32"
"""The key that is added to a stored JSON object: the checksum of all others."""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class Layout:
    """The paths of the store in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.collections = root / "collections"

    def names(self) -> list[str]:
        """Return the names of all collections, damaged or not, sorted."""
        try:
            return sorted(filter(is_name, (entry.name for entry in self.collections.iterdir())))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(
                f"{self.collections}: the folder cannot be read ({error.strerror})"
            ) from error

    def collection(self, name: str) -> Path:
        """Return the folder of a collection. Raises UsageError for an invalid name."""
        check_name(name)
        return self.collections / name

    def exists(self, name: str) -> bool:
        """Return whether there is anything of a collection with this name."""
        return os.path.lexists(self.collection(name))

    def generation(self, name: str, number: int) -> Path:
        """Return the folder of a generation."""
        folder = self.collection(name)
        return folder if number == 1 else folder / str(number)

    def numbers(self, name: str) -> list[int]:
        """Return the numbers of the generations of which anything exists, in order."""
        try:
            entries = {entry.name for entry in self.collection(name).iterdir()}
        except OSError:  # none; a file; a folder that may not be read
            return []
        later = [int(entry) for entry in entries if _NUMBER.fullmatch(entry)]
        return sorted({*later, *((1,) if entries & set(PARTS) else ())})

    def current(self, name: str) -> int | None:
        """Return the number of the current generation; None if the pointer and its copy are lost.

        Without a readable pointer the only generation is the current one.
        """
        for pointer in POINTERS:
            with contextlib.suppress(OSError, ValueError):
                text = (self.collection(name) / pointer).read_text().strip()
                if _NUMBER.fullmatch(text):
                    return int(text)
        numbers = self.numbers(name)
        return numbers[0] if len(numbers) == 1 else None

    def lock(self, name: str, kind: str, generation: int = 1) -> Path:
        """Return a lock file; `kind` is "run" (of the collection) or "shard"."""
        check_name(name)
        suffix = "" if generation == 1 else f"@{generation}"
        return self.root / "locks" / f"{name}{suffix}.{kind}.lock"

    def may_only_be_read(self, name: str, number: int | None = None) -> bool:
        """Return whether this user must not write a collection, or one generation's shard."""
        lock = self.lock(name, "shard" if number else "run", number or 1)
        needed = [self.root, self.collections, lock.parent, lock]
        if number:
            folder = self.generation(name, number)
            shard = folder / SHARD
            needed += [folder, shard, shard / "segments", shard / "edge_config.json"]
        return any(_exists(path) and not os.access(path, os.W_OK) for path in needed)

    def temporary(self, folder: Path, kind: str) -> Path:
        """Return the hidden path next to `folder` for this process's work on it.

        `kind` is "new" or "dropped". An earlier process with the same id is dead.
        """
        path = folder.with_name(f".{folder.name}.{os.getpid()}.{kind}")
        if os.path.lexists(path):
            remove_tree(path)
        return path


def point_to(folder: Path, number: int) -> None:
    """Make a generation the current one of a collection's folder, atomically. Raises OSError."""
    for pointer in (folder / name for name in reversed(POINTERS)):  # the last write switches
        if pointer.is_dir() and not pointer.is_symlink():  # damage
            remove_tree(pointer)
        replace_file(pointer, f"{number}\n".encode())
        sync_folder(folder)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report what the system refuses to write at `path` as StoreError, in one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "check its permissions and the space on the disk"
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left next to `folder`.

    Of creations, that of this very folder: a name may begin with another one and a dot. Of
    deletions, all. The process in the file name must be dead.
    """
    pattern = re.compile(rf"\.(?:{re.escape(folder.name)}\.(\d+)\.new|.+\.(\d+)\.dropped)")
    for path in folder.parent.iterdir():
        found = pattern.fullmatch(path.name)
        if found and not is_running(int(found[1] or found[2])):
            with contextlib.suppress(OSError):
                remove_tree(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that may not be read
        return False


def remove_tree(path: Path) -> None:
    """Remove a file or a folder, also one whose permissions forbid it to its owner."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        _permit(path)
        shutil.rmtree(path)


def _permit(folder: Path) -> None:
    folder.chmod(stat.S_IRWXU)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _permit(entry)


def with_checksum(content: Mapping[str, Any]) -> bytes:
    """Return a JSON object as it is stored."""
    return json.dumps({**content, CHECKSUM: _checksum(content)}, ensure_ascii=False).encode()


def read_checked(path: Path) -> dict[str, Any]:
    """Return what `with_checksum` made of a JSON object. Raises OSError and ValueError."""
    stored = json.loads(path.read_bytes())
    if not isinstance(stored, dict):
        raise ValueError("it is no JSON object")
    if stored.pop(CHECKSUM, None) != _checksum(stored):
        raise ValueError("its checksum is wrong")
    return stored


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(dict(content), sort_keys=True).encode())


def intact_copy(folder: Path, files: Sequence[str]) -> dict[str, Any] | None:
    """Return the content of the first of these copies that is intact; None if none is."""
    for name in files:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return read_checked(folder / name)
    return None
