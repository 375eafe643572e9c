"""The sources of a pipeline while they are watched: events, and what is missing or replaced."""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ragctl.records import Notify
from ragctl.sources.changes import LOOK_SECONDS, FolderEvents


@dataclass(slots=True)
class _Root:
    """A source. `real`: its folder without links. `identity`: of what is watched; None: nothing."""

    number: int
    path: Path
    is_folder: bool
    real: str = ""
    identity: tuple[int, ...] | None = None
    is_missing: bool = False

    def current(self) -> tuple[int, ...] | None:
        """Return what tells the folder, or the state of a single file; None if it is missing."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode) != self.is_folder:
            return None
        if self.is_folder:
            return status.st_dev, status.st_ino
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class WatchedSources:
    """Sources at some paths, by number. `notify` is told of a missing one. Call `watch` first."""

    def __init__(self, paths: Mapping[int, Path], notify: Notify) -> None:
        self._notify = notify
        self._roots = [_Root(number, path, not path.is_file()) for number, path in paths.items()]
        self._events: FolderEvents | None = None

    def watch(self) -> None:
        """Watch the folders that exist, whatever was watched before."""
        self.close()
        for root in self._roots:
            root.identity = root.current()
            root.real = os.path.realpath(root.path) if root.is_folder else str(root.path)
        folders = [Path(r.real) for r in self._roots if r.is_folder and r.identity is not None]
        if not folders:
            return
        try:
            self._events = FolderEvents(folders)
        except OSError as error:
            self._notify(
                f"the system reports no changes ({error.strerror or error}); "
                "waiting for the next full run (on Linux raise fs.inotify.max_user_watches)"
            )

    def wait(self, seconds: float) -> set[tuple[str, bool]]:
        """Wait for changes up to `seconds`; see FolderEvents."""
        if self._events is not None:
            return self._events.wait(seconds)
        time.sleep(max(seconds, LOOK_SECONDS))
        return set()

    def look(self) -> tuple[bool, list[str]]:
        """Return whether a folder is another one or has come back, and the single files changed."""
        replaced, files = False, []
        for root in self._roots:
            current = root.current()
            if current is None:
                if not root.is_missing:
                    self._notify(f"{root.path}: not found; waiting until it is back")
                    root.is_missing = True
                continue
            was_missing, root.is_missing = root.is_missing, False
            if current == root.identity and not was_missing:
                continue
            if root.is_folder or was_missing:
                replaced = True
            else:
                root.identity = current
                files.append(root.real)
        return replaced, files

    def parts(self, path: str) -> tuple[str, ...]:
        """Return the names below the innermost source around a path, at least one."""
        below = [root.real for root in self._roots if path.startswith(f"{root.real}{os.sep}")]
        inner = Path(path).relative_to(max(below, key=len)) if below else Path(path)
        return inner.parts

    def places(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield each source that a path is in, with the path there; none that is missing."""
        for root in self._roots:
            current = root.current()
            if current is None:
                continue
            if root.is_folder and path.startswith(f"{root.real}{os.sep}"):
                if current == root.identity:
                    yield root.number, path[len(root.real) + 1 :].replace(os.sep, "/")
            elif not root.is_folder and path == root.real:
                yield root.number, root.path.name

    def close(self) -> None:
        """Stop watching."""
        if self._events is not None:
            events, self._events = self._events, None
            events.close()
