"""The folder walk: which files under a root have a loader, and what could not be read."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ragctl.errors import PruneRefused
from ragctl.loaders.registry import format_of
from ragctl.sources.ignore import IGNORE_FILE, Levels, Rules
from ragctl.sources.local_file import LocalFile
from ragctl.sources.selection import Selection

MAX_UNKNOWN_SOURCES = 100
"""Files without a loader that are named; all are counted."""


class FoundFile(NamedTuple):
    """A file of a known format. `source` is its path below the root, with `/`, in NFC.

    `stamp`: what the listing knows of its state besides size and time: of a local file the time of
    the last change of its inode (ctime) in nanoseconds, as decimal text.
    """

    source: str
    location: LocalFile
    size: int  # bytes
    mtime_ns: int
    stamp: str


@dataclass(frozen=True, slots=True)
class UnreadablePath:
    """A file or folder that could not be read, and why.

    If `folder` is true, the files below `source` ("" is the root) are unknown, so their documents
    must not be removed.
    """

    source: str
    error: str
    folder: bool = False


def walk(
    root: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    within: str | None = None,
    *,
    only: Selection | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> "Walk":
    """Return an iterator over the files under `root`, sorted by name in each folder.

    `include`, `exclude` and `within` are gitignore patterns; see `ignore.py`. A root that is a
    file yields that file. `only`: look only at these paths, and at no links. `stop`: asked at each
    folder; when it returns True, the folder is not read, and the walk is incomplete. Raises
    PruneRefused at once if the root is missing or cannot be read, and UsageError for an invalid
    pattern. An empty root is no error.
    """
    try:
        mode = root.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(root).close()
    except FileNotFoundError as error:
        raise PruneRefused(f"{root}: no such file or folder; nothing was changed") from error
    except OSError as error:
        raise PruneRefused(
            f"{root}: cannot be read: {error.strerror}; nothing was changed"
        ) from error
    return Walk(root, Rules(include, exclude, within), stop, only)


class Walk(Iterator[FoundFile]):
    """An iterator over files; `failures`, `complete` and `unknown` are final when it has ended.

    It yields regular files, and links to regular files below the root. Hidden files and folders,
    links to folders and links out of the root are skipped. `unknown` counts the files without a
    loader, by suffix or name; `unknown_sources` are the first MAX_UNKNOWN_SOURCES of them.
    """

    def __init__(
        self,
        root: Path,
        rules: Rules,
        stop: Callable[[], bool],
        only: Selection | None = None,
    ) -> None:
        self.root = root
        self.failures: list[UnreadablePath] = []
        self.unknown: Counter[str] = Counter()  # files without a loader, by suffix or name
        self.unknown_sources: list[str] = []
        self._rules = rules
        self._stop = stop
        self._only = only
        self._non_ascii_sources: set[str] = set()  # only these can become equal in NFC
        self._real_root = os.path.realpath(root)
        self._prefix = os.path.join(root, "")  # noqa: PTH118
        self._files = self._walk_folder() if root.is_dir() else self._walk_file()

    def __next__(self) -> FoundFile:
        return next(self._files)

    @property
    def complete(self) -> bool:
        """Whether every folder was read; if not, a file that was not found may still exist."""
        return not any(failure.folder for failure in self.failures)

    def _walk_file(self) -> Iterator[FoundFile]:
        name = unicodedata.normalize("NFC", self.root.name)
        if self._has_loader(name, name):
            status, target = self.root.stat(), self.root.resolve()
            location = LocalFile(str(target.parent), target.name)
            yield FoundFile(name, location, status.st_size, status.st_mtime_ns, _stamp(status))

    def _walk_folder(self) -> Iterator[FoundFile]:
        identity = _device_and_inode(self.root)
        stack = [self._open_folder(str(self.root), "", ())]
        while stack:
            prefix, levels, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            name = entry.name
            if name.startswith("."):
                continue
            if not name.isascii():
                name = _normalized_name(name)
            source = prefix + name
            if entry.is_dir(follow_symlinks=False):
                if not self._rules.ignores(source, levels, folder=True):
                    stack.append(self._open_folder(entry.path, f"{source}/", levels))
            elif not self._rules.ignores(source, levels) and self._has_loader(name, source):
                found = self._stat_entry(entry, source)
                if found is not None:
                    yield found
        if _device_and_inode(self.root) != identity:
            self.failures.append(
                UnreadablePath("", "the root was replaced during the walk", folder=True)
            )

    def _open_folder(
        self, path: str, prefix: str, levels: Levels
    ) -> tuple[str, Levels, Iterator["os.DirEntry[str]"]]:
        """Return a folder's prefix, rules and entries; no entries if it cannot be read."""
        if self._stop():
            self._note_failure(prefix, "the folder was not read", folder=True)
            return prefix, levels, iter(())
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            self._note_failure(prefix, f"the folder cannot be read: {error.strerror}", folder=True)
            return prefix, levels, iter(())
        if any(entry.name == IGNORE_FILE for entry in entries):
            try:
                levels = self._rules.enter(path, prefix, levels)
            except OSError as error:
                # Without its rules, excluded files would be indexed.
                self._note_failure(
                    prefix, f"its {IGNORE_FILE} cannot be read: {error.strerror}", True
                )
                return prefix, levels, iter(())
        if self._only is not None:
            names = self._only.names(prefix)
            entries = [
                entry
                for entry in entries
                if not entry.is_symlink()
                and (names is None or unicodedata.normalize("NFC", entry.name) in names)
            ]
        return prefix, levels, iter(entries)

    def _has_loader(self, name: str, source: str) -> bool:
        """Return whether a file has a loader; record it as unknown if not."""
        if format_of(name) is not None:
            return True
        stem, dot, suffix = name.rpartition(".")
        self.unknown[f".{suffix.lower()}" if stem and dot else name] += 1
        if len(self.unknown_sources) < MAX_UNKNOWN_SOURCES:
            self.unknown_sources.append(source)
        return False

    def _stat_entry(self, entry: "os.DirEntry[str]", source: str) -> FoundFile | None:
        try:
            location = self._locate(entry.path) if entry.is_symlink() else self._below(entry.path)
            if location is None:
                return None
            status = entry.stat()
        except FileNotFoundError:  # deleted since the folder was read, or a dangling link
            return None
        except OSError as error:
            self._note_failure(source, f"cannot be read: {error.strerror}")
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        if not entry.path.isascii() and not self._check_name(entry, source):
            return None
        return FoundFile(source, location, status.st_size, status.st_mtime_ns, _stamp(status))

    def _below(self, path: str) -> LocalFile:
        """Return the location of a file that no link leads to."""
        return LocalFile(self._real_root, path[len(self._prefix) :])

    def _locate(self, link: str) -> LocalFile | None:
        """Return the location of the target of a link; None if it is not below the root."""
        target = os.path.realpath(link)
        root = os.path.join(self._real_root, "")  # noqa: PTH118
        return LocalFile(self._real_root, target[len(root) :]) if target.startswith(root) else None

    def _check_name(self, entry: "os.DirEntry[str]", source: str) -> bool:
        """Return whether a non-ASCII name is valid UTF-8 and its source, in NFC, is new."""
        if not _is_utf8(entry.path[len(str(self.root)) :]):
            self._note_failure(source, "its name is not valid UTF-8; rename it")
        elif source in self._non_ascii_sources:
            self._note_failure(source, "another file has the same name after Unicode normalisation")
        else:
            self._non_ascii_sources.add(source)
            return True
        return False

    def _note_failure(self, source: str, error: str, folder: bool = False) -> None:
        self.failures.append(UnreadablePath(source.removesuffix("/"), error, folder))


def _device_and_inode(root: Path) -> tuple[int, int] | None:
    """Return device and inode of the root.

    A file system that is unmounted during the walk looks like an empty folder, not like an error.
    """
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _stamp(status: os.stat_result) -> str:
    return str(status.st_ctime_ns)


def _normalized_name(name: str) -> str:
    r"""Return a name in NFC, with bytes that are not UTF-8 as \xff."""
    if not _is_utf8(name):
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
