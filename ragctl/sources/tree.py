"""A tree of files that is not a local folder: listed completely or not at all, then filtered."""

import io
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from ragctl.errors import RagctlError
from ragctl.sources.base import Content, Found, incomplete, reason_of
from ragctl.sources.choice import Choice
from ragctl.sources.found import FoundFile, UnreadablePath
from ragctl.sources.gitignore_patterns import GitIgnorePatterns
from ragctl.sources.ignore import IGNORE_FILE, Level, Rules
from ragctl.sources.remote_file import RemoteFile
from ragctl.sources.retry import with_retries

MAX_LOOKS = 4
MAX_IGNORE_FILE = 1_000_000  # bytes


class RemoteEntry(NamedTuple):
    """A file of a tree. `path`: below the root. `key`: what `Content.fetch` takes.

    `size` None, `mtime_ns` 0, `stamp` "": not known. `exact`: the stamp identifies the content.
    `problem`: why it cannot be a document, such as a link.
    """

    path: str
    key: str
    size: int | None = None
    mtime_ns: int = 0
    stamp: str = ""
    exact: bool = False
    problem: str = ""


class Tree(Content, Protocol):
    """A tree of files."""

    def files(self, enter: Callable[[str], bool]) -> Iterable[RemoteEntry]:
        """Yield all files, as they are now.

        `enter`: whether a folder, by its path, has to be listed; a tree that has no folders may
        ignore it. Raises any error if something is missing, never yields only a part.
        """
        ...


class TreeSource:
    """A kind of source: the files of a tree that the rules choose.

    `shown`: its address, for messages. `limit`: bytes of a file.
    """

    def __init__(self, tree: Tree, rules: Rules, shown: str, limit: int) -> None:
        self._tree = tree
        self._choice = Choice(rules)
        self._shown = shown
        self._limit = limit

    def list_files(self) -> Found:
        """Return its files. Raises PruneRefused if it cannot be listed completely."""
        entries = self._stable_entries()
        self._read_ignore_files(entries)
        found = Found()
        names: set[str] = set()
        for entry in entries:
            path = unicodedata.normalize("NFC", entry.path)
            problem = entry.problem or _path_problem(path)
            if problem:
                found.failures.append(UnreadablePath(path, problem))
            elif self._choice.chooses(path, found):
                if path in names:
                    error = "another file has the same name after Unicode normalisation"
                    found.failures.append(UnreadablePath(path, error))
                    continue
                names.add(path)
                found.files.append(self._found_file(entry, path))
        return found

    def _found_file(self, entry: RemoteEntry, path: str) -> FoundFile:
        name = path.rpartition("/")[2]
        location = RemoteFile(self._tree, entry.key, name, entry.size, self._limit)
        # An exact stamp says more than a time, which changes when a file is copied.
        mtime_ns = 0 if entry.exact else entry.mtime_ns
        return FoundFile(path, location, entry.size or 0, mtime_ns, entry.stamp, entry.exact)

    def _stable_entries(self) -> list[RemoteEntry]:
        """Return the files once no name vanishes from one look to the next.

        A listing that lags behind, or is cut off, would make documents look removed.
        """
        before: set[str] = set()
        for look in range(MAX_LOOKS):
            entries = self._look()
            names = {entry.path for entry in entries}
            if look and before <= names:
                return entries
            before = names
        raise incomplete(self._shown, "its listing changes from one look to the next")

    def _look(self) -> list[RemoteEntry]:
        try:
            return with_retries(lambda: list(self._tree.files(self._enters)))
        except FileNotFoundError as error:
            raise incomplete(self._shown, f"not all of it is there: {reason_of(error)}") from error
        except RagctlError:
            raise
        except Exception as error:
            raise incomplete(self._shown, f"cannot be listed: {reason_of(error)}") from error

    def _enters(self, folder: str) -> bool:
        return not self._choice.leaves_out_folder(folder)

    def _read_ignore_files(self, entries: Iterable[RemoteEntry]) -> None:
        """Read the ignore files of the tree, outermost first."""
        self._choice.clear()
        found = [e for e in entries if e.path.rpartition("/")[2] == IGNORE_FILE and not e.problem]
        for entry in sorted(found, key=lambda each: each.path.count("/")):
            prefix = entry.path[: -len(IGNORE_FILE)]
            content = io.BytesIO()
            try:
                RemoteFile(self._tree, entry.key, IGNORE_FILE, entry.size, MAX_IGNORE_FILE).fetch(
                    content
                )
            except RagctlError as error:  # without its rules, excluded files would be indexed
                raise incomplete(self._shown, f"{entry.path} {error}") from error
            lines = content.getvalue().decode("utf-8-sig", "replace").splitlines()
            self._choice.add_level(prefix, Level(entry.path, GitIgnorePatterns(lines), len(prefix)))


def _path_problem(path: str) -> str:
    """Return why a path is none below the root; "" if it is one."""
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        return "its path leads out of the source"
    if not path.isprintable():
        return "its name has control characters"
    return ""
