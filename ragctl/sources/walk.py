"""The folder walk: which files under a root have a loader, what was left out, what failed."""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ragctl.errors import PruneRefused
from ragctl.loaders.registry import format_of
from ragctl.sources.directory import FOLDER, LINK, OTHER, Directory, Entry
from ragctl.sources.found import (
    FoundFile,
    UnreadablePath,
    is_utf8,
    normalized_name,
    stamp,
)
from ragctl.sources.git_tree import inner_levels, is_below, levels_above
from ragctl.sources.ignore import (
    GIT_IGNORE_FILE,
    IGNORE_FILE,
    Levels,
    Rules,
    gitignore_level,
    ragctlignore_level,
)
from ragctl.sources.local_file import LocalFile
from ragctl.sources.noise import VIRTUAL_ENVIRONMENT
from ragctl.sources.open_folder import OpenFolder, has
from ragctl.sources.selection import Selection
from ragctl.sources.skipped import (
    BROKEN_LINK,
    DEFAULT,
    INDEXED_BY_ITSELF,
    LINK_OUT,
    LINK_TO_FOLDER,
    NOT_REGULAR,
    SkippedFile,
    SkippedFiles,
)

MAX_OPEN_FOLDERS = 64
"""Folders of a path that are open at a time; deeper trees open theirs again on the way back."""


def walk(
    root: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    within: str | None = None,
    *,
    default_ignores: bool = True,
    gitignore: bool = True,
    only: Selection | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_skipped: Callable[[SkippedFile], None] | None = None,
) -> "Walk":
    """Return an iterator over the files under `root`, sorted by name in each folder.

    Files that a link leads to come last. `include`, `exclude` and `within` are gitignore patterns;
    see `ignore.py`. `default_ignores`: leave out what is noise. `gitignore`: honour git's ignore
    rules in its work trees. A root that is a file yields that file. `only`: look only at these
    paths, and at no links. `stop`: asked at each folder; when it returns True, the folder is not
    read, and the walk is incomplete. `on_skipped` is called with everything that is left out.
    Raises PruneRefused at once if the root is missing or cannot be read, and UsageError for an
    invalid pattern. An empty root is no error.
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
    rules = Rules(include, exclude, within, defaults=default_ignores)
    found = Walk(root, rules, stop, gitignore=gitignore, only=only)
    if on_skipped is not None:
        found.skipped.notify = on_skipped
    return found


class Walk(Iterator[FoundFile]):
    """An iterator over files; `failures`, `complete` and `skipped` are final when it has ended.

    It yields regular files, and links to regular files below the root that are not found
    themselves, one for each file. Hidden files and folders are left out without mention; all else
    that is left out is in `skipped`.
    """

    def __init__(
        self,
        root: Path,
        rules: Rules,
        stop: Callable[[], bool],
        *,
        gitignore: bool,
        only: Selection | None = None,
    ) -> None:
        self.root = root
        self.failures: list[UnreadablePath] = []
        self.skipped = SkippedFiles()
        self._rules = rules
        self._stop = stop
        self._gitignore = gitignore
        self._only = only
        self._non_ascii_sources: set[str] = set()  # only these can become equal in NFC
        self._real_root = os.path.realpath(root)
        self._found: set[str] = set()  # paths on disk
        self._links: list[tuple[str, FoundFile]] = []  # path of the target on disk
        self._files = self._walk_folder() if root.is_dir() else self._walk_file()

    def __next__(self) -> FoundFile:
        return next(self._files)

    @property
    def complete(self) -> bool:
        """Whether every folder was read; if not, a file that was not found may still exist."""
        return not any(failure.folder for failure in self.failures)

    def _walk_file(self) -> Iterator[FoundFile]:
        name = unicodedata.normalize("NFC", self.root.name)
        if format_of(name) is None:
            self.skipped.add_without_loader(name, name)
            return
        status, target = self.root.stat(), self.root.resolve()
        location = LocalFile(str(target.parent), target.name)
        yield FoundFile(name, location, status.st_size, status.st_mtime_ns, stamp(status))

    def _walk_folder(self) -> Iterator[FoundFile]:
        identity = _device_and_inode(self.root)
        git = levels_above(Path(self._real_root)) if self._gitignore else None
        root = self._open_folder("", None, "", "", Levels(git=git), included=True)
        stack = [] if root is None else [root]
        try:
            while stack:
                folder = stack[-1]
                if folder.directory is None and not folder.reopen(str(self.root)):
                    error = "the folder was replaced during the walk"
                    self._note_failure(folder.prefix, error, folder=True)
                    stack.pop()
                    continue
                entry = next(folder.entries, None)
                if entry is None:
                    stack.pop()
                    folder.close()
                    continue
                name, kind = entry
                if name[0] == ".":
                    continue
                path = folder.path + name
                if not name.isascii():
                    name = normalized_name(name)
                source = folder.prefix + name
                verdict = self._rules.verdict(source, path, folder.levels, folder=kind == FOLDER)
                included = verdict is not None and not verdict.ignored
                if verdict is None or included:
                    verdict = self._rules.leaves_out(source, folder=kind == FOLDER)
                if verdict is not None:
                    if verdict.kind:
                        shown = f"{source}/" if kind == FOLDER else source
                        self.skipped.add(shown, verdict.kind, verdict.reason)
                elif kind == FOLDER:
                    below = self._open_folder(
                        entry[0],
                        folder.directory,
                        f"{source}/",
                        f"{path}/",
                        folder.levels,
                        included=included,
                    )
                    if below is not None:
                        stack.append(below)
                        if len(stack) > MAX_OPEN_FOLDERS:
                            stack[-MAX_OPEN_FOLDERS - 1].close()
                else:
                    found = self._examine(folder, entry, name, source, path)
                    if found is not None:
                        yield found
        finally:
            for folder in stack:
                folder.close()
        yield from self._linked_files()
        if _device_and_inode(self.root) != identity:
            self.failures.append(
                UnreadablePath("", "the root was replaced during the walk", folder=True)
            )

    def _open_folder(
        self,
        name: str,
        above: Directory | None,
        prefix: str,
        path: str,
        levels: Levels,
        *,
        included: bool,
    ) -> OpenFolder | None:
        """Return a folder with its rules and entries; None if it cannot be read.

        `included`: a rule, or the user, says that it is to be read.
        """
        if self._stop():
            self._note_failure(prefix, "the folder was not read", folder=True)
            return None
        directory = None
        try:
            directory = Directory(str(self.root)) if above is None else above.child(name)
            entries = directory.entries()
        except OSError as error:
            if directory is not None:
                directory.close()
            self._note_failure(prefix, f"the folder cannot be read: {error.strerror}", folder=True)
            return None
        if self._rules.defaults and not included and has(entries, VIRTUAL_ENVIRONMENT):
            directory.close()
            self.skipped.add(prefix, DEFAULT, "ignored by default: a virtual environment of Python")
            return None
        try:
            levels = self._enter(directory, entries, prefix, path, levels)
        except OSError as error:
            directory.close()
            # Without its rules, excluded files would be indexed.
            self._note_failure(prefix, str(error.strerror), folder=True)
            return None
        if self._only is not None:
            names = self._only.names(prefix)
            entries = [
                (name, kind)
                for name, kind in entries
                if kind != LINK and (names is None or normalized_name(name) in names)
            ]
        return OpenFolder(directory, prefix, path, levels, iter(entries))

    def _enter(
        self, directory: Directory, entries: list[Entry], prefix: str, path: str, levels: Levels
    ) -> Levels:
        """Return the rules in force in a folder.

        Raises OSError, whose text names the file, and UsageError.
        """
        own, git = levels
        if has(entries, IGNORE_FILE):
            own = (*own, ragctlignore_level(directory, prefix))
        if self._gitignore:
            if prefix and has(entries, ".git"):
                inner = inner_levels(os.path.join(self._real_root, path), prefix, path)  # noqa: PTH118
                git = git if inner is None else inner
            if git is not None and has(entries, GIT_IGNORE_FILE):
                status = directory.status(GIT_IGNORE_FILE)
                if stat.S_ISREG(status.st_mode):  # git ignores links and folders of this name
                    git = (*git, gitignore_level(directory, prefix, path))
        return Levels(own, git)

    def _examine(
        self, folder: OpenFolder, entry: Entry, name: str, source: str, path: str
    ) -> FoundFile | None:
        """Return a file that is no folder and not ignored, if it is to be indexed."""
        assert folder.directory is not None
        kind = entry[1]
        try:
            if kind == LINK:
                self._examine_link(folder.directory, entry[0], name, source, path)
                return None
            if kind == OTHER:
                self.skipped.add(source, NOT_REGULAR, "not a regular file")
                return None
            if format_of(name) is None:
                self.skipped.add_without_loader(source, name)
                return None
            status = folder.directory.status(entry[0])
        except FileNotFoundError:  # deleted since the folder was read
            return None
        except OSError as error:
            self._note_failure(source, f"cannot be read: {error.strerror}")
            return None
        if not stat.S_ISREG(status.st_mode):  # replaced since, or of an unknown kind
            self.skipped.add(source, NOT_REGULAR, "not a regular file")
            return None
        if not path.isascii() and not self._check_name(path, source):
            return None
        self._found.add(path)
        return self._found_file(source, path, status)

    def _examine_link(
        self, directory: Directory, link: str, name: str, source: str, path: str
    ) -> None:
        """Keep a link to a file below the root for later; say why another one is left out."""
        try:
            status = directory.status(link, follow=True)
        except OSError:  # its target is missing, or it leads to itself
            self.skipped.add(source, BROKEN_LINK, "a link that leads nowhere")
            return
        target = os.path.realpath(os.path.join(self._real_root, path))  # noqa: PTH118
        inside = is_below(target, self._real_root)
        if stat.S_ISDIR(status.st_mode):
            reason = f"a link to the folder {target}; folders are not entered through links"
            self.skipped.add(source, LINK_TO_FOLDER, reason)
        elif format_of(name) is None:
            self.skipped.add_without_loader(source, name)
        elif not inside:
            self.skipped.add(source, LINK_OUT, f"a link out of the folder, to {target}")
        elif not stat.S_ISREG(status.st_mode):
            self.skipped.add(source, NOT_REGULAR, "a link to what is no regular file")
        elif path.isascii() or self._check_name(path, source):
            below = target[len(os.path.join(self._real_root, "")) :]  # noqa: PTH118
            self._links.append((below, self._found_file(source, below, status)))

    def _linked_files(self) -> Iterator[FoundFile]:
        """Yield the files that links lead to, each once, and none that was found itself."""
        for path, file in self._links:
            if path in self._found:
                reason = f"a link to {path}, which is indexed by itself"
                self.skipped.add(file.source, INDEXED_BY_ITSELF, reason)
            else:
                self._found.add(path)
                yield file

    def _found_file(self, source: str, path: str, status: os.stat_result) -> FoundFile:
        location = LocalFile(self._real_root, path)
        return FoundFile(source, location, status.st_size, status.st_mtime_ns, stamp(status))

    def _check_name(self, path: str, source: str) -> bool:
        """Return whether a non-ASCII name is valid UTF-8 and its source, in NFC, is new."""
        if not is_utf8(path):
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
