"""Keep a collection in sync while its sources change: a full run, then a run for each batch.

    start ─► full run ─► events ─► paths at rest ─► run of these paths ─┐
                 ▲         ▲                                            │
                 │         └────────────────────────────────────────────┘
                 └── after `every` seconds; when a root or an ignore rule changed; after too many
                     events; when the names of the sources changed; after an error

Events are hints. Whatever they miss, the next full run finds.
"""

import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ragctl.errors import (
    IdentityMismatch,
    Interrupted,
    Locked,
    PruneRefused,
    UnreadableCollection,
    UsageError,
)
from ragctl.index.naming import Naming
from ragctl.index.partial import Changed, NamesChanged
from ragctl.loaders.registry import format_of
from ragctl.pipeline import Pipeline
from ragctl.records import Notify
from ragctl.sources.changes import LOOK_SECONDS, ChangedPaths, RestingPaths
from ragctl.sources.ignore import GIT_IGNORE_FILE, IGNORE_FILE
from ragctl.sources.watched import WatchedSources

MAX_BATCH_PATHS = 1_000
"""More changed paths are cheaper in a full run; of so many events the system may lose some."""
TICK_SECONDS = 0.5
"""Time between two looks at the roots while nothing happens."""
QUIET_SECONDS = 1.0
"""A full run because of events begins when none has come for so long,"""
MAX_NOISE_SECONDS = 30.0
"""or after so long."""
FULL_RUN_PAUSE = 3.0
"""Such runs are so many times their own duration apart."""
SECOND_LOOK_SECONDS = 1.0
"""A new folder is looked at again after so long."""
LOCK_SECONDS = 1.0
"""Time until the next try while another run holds the lock."""
FIRST_RETRY_SECONDS = 10.0
"""Time until the next try after an error; it doubles with each one, up to the period."""

IGNORE_FILES = (IGNORE_FILE, GIT_IGNORE_FILE)

FATAL_AT_FIRST = (UsageError, IdentityMismatch, UnreadableCollection)
"""Errors of the first run that no later run can overcome."""


class StopFlag(Protocol):
    """Tells whether to stop watching."""

    def is_set(self) -> bool:
        """Return whether to stop."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a run ended: how it named the files, if it had a plan, and its error."""

    naming: Naming | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class Watch:
    """A watcher of the sources of one pipeline.

    `run`: does a run of everything, or of changed paths, and returns how it ended. `every`: seconds
    between two full runs. `notify` is told what is waited for.
    """

    pipeline: Pipeline
    run: Callable[[Changed | None], Attempt]
    stop: StopFlag
    notify: Notify
    every: float
    _sources: WatchedSources = field(init=False)
    _changed: ChangedPaths = field(default_factory=ChangedPaths)
    _failed: set[str] = field(default_factory=set)  # paths of a batch that is to be tried again
    _retry_at: float = 0.0
    _errors: int = 0  # in a row
    _naming: Naming | None = None
    _full_at: float = 0.0
    _full_ended: float = 0.0
    _full_seconds: float = 0.0
    _noise_since: float | None = None  # events that make a full run necessary
    _last_event: float = 0.0
    _new_folders: list[tuple[float, str]] = field(default_factory=list)  # to be looked at again
    _interrupted: bool = False

    def loop(self) -> None:
        """Watch until `stop` is set. Raises an error of the first run that is for good."""
        paths = {
            number: source.path
            for number, source in enumerate(self.pipeline.sources)
            if source.path is not None and not source.is_archive  # others: in full runs
        }
        self._sources = WatchedSources(paths, self.notify)
        try:
            self._sources.watch()
            self._full_run(first=True)
            while not self.stop.is_set():
                self._wait()
                replaced, files = self._sources.look()
                for path in files:
                    self._changed.add(path)
                if replaced:
                    self._sources.watch()
                    self._full_at = 0.0
                elif self._is_full_due():
                    self._full_run()
                elif self._naming is not None:
                    self._run_batch(self._changed.take())
            if self._naming is not None and not self._interrupted:
                self._collect(LOOK_SECONDS)
                self._run_batch(self._changed.take_all())
        finally:
            self._sources.close()

    def _wait(self) -> None:
        """Wait for events, or until there is something to do."""
        until_full = self._full_at - time.monotonic()
        seconds = LOOK_SECONDS if len(self._changed) else TICK_SECONDS
        seconds = max(0.0, min(seconds, until_full))
        self._collect(seconds)
        while self._new_folders and time.monotonic() >= self._new_folders[0][0]:
            self._changed.add(self._new_folders.pop(0)[1])
        if len(self._changed) > MAX_BATCH_PATHS:
            self._want_full_run()

    def _collect(self, seconds: float) -> None:
        for path, added in self._sources.wait(seconds):
            self._note(path, added)

    def _note(self, path: str, added: bool) -> None:
        """Note an event, unless it cannot be about a document."""
        *folders, name = self._sources.parts(path)
        if any(folder.startswith(".") for folder in folders):
            return
        if name in IGNORE_FILES:
            self._want_full_run()
            return
        if name.startswith("."):
            return
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            mode = 0
        if stat.S_ISLNK(mode):  # what it leads to decides whether it is a document
            self._want_full_run()
        elif stat.S_ISDIR(mode):
            if added:
                # Files may be written to it before the system reports what happens there.
                self._new_folders.append((time.monotonic() + SECOND_LOOK_SECONDS, path))
                self._changed.add(path)
        elif not mode or format_of(name) is not None:
            self._changed.add(path, added=added)

    def _want_full_run(self) -> None:
        now = time.monotonic()
        self._last_event = now
        if self._noise_since is None:
            self._noise_since = now
        self._changed.clear()

    def _is_full_due(self) -> bool:
        now = time.monotonic()
        if now >= self._full_at:
            return True
        if self._noise_since is None:
            return False
        quiet = now - self._last_event >= QUIET_SECONDS
        late = now - self._noise_since >= MAX_NOISE_SECONDS
        return (quiet or late) and now - self._full_ended >= FULL_RUN_PAUSE * self._full_seconds

    def _full_run(self, *, first: bool = False) -> None:
        began = time.monotonic()
        self._noise_since = None
        self._failed.clear()
        attempt = self._do(None)
        self._full_ended = time.monotonic()
        self._full_seconds = self._full_ended - began
        if attempt.naming is not None:
            self._naming = attempt.naming
        if attempt.error is None:
            self._errors = 0
            self._full_at = self._full_ended + self.every
        elif first and isinstance(attempt.error, FATAL_AT_FIRST):
            raise attempt.error
        elif isinstance(attempt.error, PruneRefused):
            self._full_at = self._full_ended + self.every
        else:
            self._full_at = self._full_ended + self._delay(attempt.error)

    def _delay(self, error: BaseException) -> float:
        """Return the seconds until the next try after an error."""
        if isinstance(error, Locked):
            return LOCK_SECONDS
        self._errors += 1
        return min(FIRST_RETRY_SECONDS * 2.0 ** min(self._errors - 1, 10), self.every)

    def _run_batch(self, resting: RestingPaths) -> None:
        """Run over the paths at rest, and over those that failed before."""
        retried = self._failed if resting.present or resting.missing else set[str]()
        if self._failed and time.monotonic() >= self._retry_at:
            retried = self._failed
        present = [*resting.present, *(path for path in retried if os.path.lexists(path))]
        missing = [*resting.missing, *(path for path in retried if not os.path.lexists(path))]
        if not present and not missing:
            return
        self._failed = set()
        error = self._attempt(present, missing, resting.vanished)
        if isinstance(error, PruneRefused) and present and missing:
            missing = []  # the full run decides about them
            error = self._attempt(present, missing, frozenset())
        if isinstance(error, NamesChanged):
            self._full_at = 0.0
        elif error is None:
            self._errors = 0
        elif not isinstance(error, PruneRefused):
            self._failed = {*present, *missing}
            self._retry_at = time.monotonic() + self._delay(error)

    def _attempt(
        self, present: Sequence[str], missing: Sequence[str], vanished: frozenset[str]
    ) -> BaseException | None:
        assert self._naming is not None
        paths: defaultdict[int, set[str]] = defaultdict(set)
        briefly: set[tuple[int, str]] = set()
        for path in (*present, *missing):
            for number, relative in self._sources.places(path):
                if number not in self._naming.prefixes:
                    continue
                paths[number].add(relative)
                if path in vanished:
                    briefly.add((number, relative))
        if not paths:
            return None
        changed = Changed(
            {number: frozenset(found) for number, found in paths.items()},
            self._naming,
            frozenset(briefly),
        )
        return self._do(changed).error

    def _do(self, changed: Changed | None) -> Attempt:
        attempt = self.run(changed)
        self._interrupted = isinstance(attempt.error, Interrupted)
        return attempt
