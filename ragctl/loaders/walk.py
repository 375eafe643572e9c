"""The folder walk: which files under a root are documents, and what could not be looked at."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ragctl.errors import PruneRefused
from ragctl.loaders.ignore import IGNORE_FILE, Levels, Rules
from ragctl.loaders.registry import format_of


class Found(NamedTuple):
    """A file that a loader knows. `source` is its path below the root, with `/`, in NFC."""

    source: str
    path: str
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class UnreadablePath:
    """What could not be looked at, and why.

    Where `folder` is true nothing below `source` is known ("" is the root): what is stored
    of it must be left alone.
    """

    source: str
    error: str
    folder: bool = False


def walk(
    root: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    within: str | None = None,
) -> "Walk":
    """Iterates over the documents under `root`, in a stable order (by name in each folder).

    `include`, `exclude` and `within` are gitignore patterns; see `ignore.py`. A root that is a
    file is its own only document. Raises PruneRefused, at once, where the root is missing or
    cannot be read, and UsageError for a bad pattern; an empty root is the caller's to judge.
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
    return Walk(root, Rules(include, exclude, within))


class Walk(Iterator[Found]):
    """The files; `failures`, `complete` and `unknown` hold once the iteration has ended.

    Regular files count, and links to regular files below the root. Hidden files and folders,
    links to folders and links out of the root are passed over.
    """

    def __init__(self, root: Path, rules: Rules) -> None:
        self.root = root
        self.failures: list[UnreadablePath] = []
        self.unknown: Counter[str] = Counter()  # suffix, or name, of files that no loader knows
        self._rules = rules
        self._composed: set[str] = set()  # sources beyond ASCII, which alone can meet in NFC
        self._real_root = os.path.realpath(root)
        self._files = self._walk() if root.is_dir() else self._single()

    def __next__(self) -> Found:
        return next(self._files)

    @property
    def complete(self) -> bool:
        """Whether every folder was read: only then is what was not found really gone."""
        return not any(failure.folder for failure in self.failures)

    def _single(self) -> Iterator[Found]:
        name = unicodedata.normalize("NFC", self.root.name)
        if self._known(name):
            status = self.root.stat()
            yield Found(name, str(self.root), status.st_size, status.st_mtime_ns)

    def _walk(self) -> Iterator[Found]:
        identity = _identity(self.root)
        stack = [self._folder(str(self.root), "", ())]
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
                name = _readable(name)
            source = prefix + name
            if entry.is_dir(follow_symlinks=False):
                if not self._rules.ignores(source, levels, folder=True):
                    stack.append(self._folder(entry.path, f"{source}/", levels))
            elif not self._rules.ignores(source, levels) and self._known(name):
                found = self._look_at(entry, source)
                if found is not None:
                    yield found
        if _identity(self.root) != identity:
            self.failures.append(
                UnreadablePath("", "the root was replaced during the walk", folder=True)
            )

    def _folder(
        self, path: str, prefix: str, levels: Levels
    ) -> tuple[str, Levels, Iterator["os.DirEntry[str]"]]:
        """A folder's prefix, the rules in it, and its entries; none of them where it fails."""
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            self._fail(prefix, f"the folder cannot be read: {error.strerror}", folder=True)
            return prefix, levels, iter(())
        if any(entry.name == IGNORE_FILE for entry in entries):
            try:
                levels = self._rules.enter(path, prefix, levels)
            except OSError as error:
                # Its rules unknown, the folder might show what was to stay out of sight.
                self._fail(prefix, f"its {IGNORE_FILE} cannot be read: {error.strerror}", True)
                return prefix, levels, iter(())
        return prefix, levels, iter(entries)

    def _known(self, name: str) -> bool:
        if format_of(name) is not None:
            return True
        stem, dot, suffix = name.rpartition(".")
        self.unknown[f".{suffix.lower()}" if stem and dot else name] += 1
        return False

    def _look_at(self, entry: "os.DirEntry[str]", source: str) -> Found | None:
        try:
            if entry.is_symlink() and not self._leads_inside(entry.path):
                return None
            status = entry.stat()
        except FileNotFoundError:  # gone since the folder was read, or a link to nothing
            return None
        except OSError as error:
            self._fail(source, f"cannot be read: {error.strerror}")
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        if not entry.path.isascii() and not self._admit(entry, source):
            return None
        return Found(source, entry.path, status.st_size, status.st_mtime_ns)

    def _leads_inside(self, link: str) -> bool:
        target = os.path.realpath(link)
        return target.startswith(os.path.join(self._real_root, ""))  # noqa: PTH118

    def _admit(self, entry: "os.DirEntry[str]", source: str) -> bool:
        """Whether a name beyond ASCII can stand as a source of its own."""
        if not _is_utf8(entry.path[len(str(self.root)) :]):
            self._fail(source, "its name is not valid UTF-8; rename it")
        elif source in self._composed:
            self._fail(source, "another file has the same name after Unicode normalisation")
        else:
            self._composed.add(source)
            return True
        return False

    def _fail(self, source: str, error: str, folder: bool = False) -> None:
        self.failures.append(UnreadablePath(source.removesuffix("/"), error, folder))


def _identity(root: Path) -> tuple[int, int] | None:
    """Device and inode: a file system that was unmounted under the walk looks empty, not broken."""
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _readable(name: str) -> str:
    """A name in NFC; bytes that are no UTF-8 as \\xff."""
    if not _is_utf8(name):
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
