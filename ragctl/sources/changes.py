"""Which paths of some folders have changed, and which of them are at rest.

The events of the file system come from watchfiles. An event is only a hint: what counts is the
state of a path, looked at twice. A file that changes between two looks is still being written;
while files keep disappearing, a folder is being deleted or moved.
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

STEP_MS = 50
"""Events are handed over when none has come for so long,"""
DEBOUNCE_MS = 200
"""or after so long."""
LOOK_SECONDS = 0.1
"""Time between two looks at a path."""
MAX_RENAME_SECONDS = 2.0
"""So long, files that are at rest wait for others to stop disappearing: they may be the same."""

_State = tuple[int, ...] | None
_NOT_SEEN: _State = (-1,)


class FolderEvents:
    """The events below some folders, which are collected from the moment this is made.

    Raises OSError if the system cannot watch them: a folder is missing, or its limit is reached.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

        polling = bool(os.environ.get("WATCHFILES_FORCE_POLLING"))
        try:
            # debug, polling, its interval in ms, recursive, ignoring folders without permission
            self._events = RustNotify(
                [str(folder) for folder in folders], False, polling, 300, True, True
            )
        except WatchfilesRustInternalError as error:
            raise OSError(0, str(error)) from error

    def wait(self, seconds: float) -> set[tuple[str, bool]]:
        """Wait for changes up to `seconds`; return the paths, and whether each was added."""
        # Without an event that stops it: changes that it has collected would be lost.
        found = self._events.watch(DEBOUNCE_MS, STEP_MS, max(1, round(seconds * 1000)), None)
        if not isinstance(found, set):
            return set()
        return {(path, change == 1) for change, path in found}

    def close(self) -> None:
        """Stop watching."""
        self._events.close()


@dataclass(frozen=True, slots=True)
class RestingPaths:
    """Paths whose state did not change between two looks.

    `present` exist, `missing` do not; `vanished` of them did not exist before either.
    """

    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    vanished: frozenset[str] = frozenset()


class ChangedPaths:
    """Paths with events, until they are at rest."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}  # at the last look
        self._added: set[str] = set()
        self._looked = 0.0
        self._disappearing_since: float | None = None

    def __len__(self) -> int:
        return len(self._states)

    def add(self, path: str, *, added: bool = False) -> None:
        """Note an event. `added`: the path did not exist before."""
        self._states.setdefault(path, _NOT_SEEN)
        if added:
            self._added.add(path)

    def clear(self) -> None:
        """Forget all paths."""
        self._states.clear()
        self._added.clear()
        self._disappearing_since = None

    def take(self) -> RestingPaths:
        """Look at the paths, and return those at rest. Does nothing too soon after a look."""
        now = time.monotonic()
        if not self._states or now - self._looked < LOOK_SECONDS:
            return RestingPaths()
        self._looked = now
        before, self._states = self._states, {path: _state(path) for path in self._states}
        resting = [path for path, state in self._states.items() if before[path] == state]
        missing = [path for path, state in self._states.items() if state is None]
        disappearing = any(before[path] != self._states[path] for path in missing)
        if not disappearing:
            self._disappearing_since = None
        elif self._disappearing_since is None:
            self._disappearing_since = now
        if disappearing and now - (self._disappearing_since or now) < MAX_RENAME_SECONDS:
            return RestingPaths()
        return self._taken(resting, with_missing=not disappearing)

    def take_all(self) -> RestingPaths:
        """Return all paths as they are now."""
        self._states = {path: _state(path) for path in self._states}
        return self._taken(list(self._states), with_missing=True)

    def _taken(self, resting: Iterable[str], *, with_missing: bool) -> RestingPaths:
        states: Mapping[str, _State] = {path: self._states[path] for path in resting}
        present = [path for path, state in states.items() if state is not None]
        missing = [path for path, state in states.items() if state is None and with_missing]
        vanished = self._added.intersection(missing)
        for path in (*present, *missing):
            del self._states[path]
            self._added.discard(path)
        return RestingPaths(tuple(present), tuple(missing), frozenset(vanished))


def _state(path: str) -> _State:
    """Return what changes with a file's content; of a folder only which one it is."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return status.st_dev, status.st_ino
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
