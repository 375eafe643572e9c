"""Documents that failed: kept in the collection's notes, tried again at growing distances.

A file that failed is tried again by the next run; after that a day and a half
later, then two and a half, four and a half, and so on to sixteen and a half: so
a nightly run skips one night, then two, then four. A file that changed since is
tried at once, and so is one that would now be read or embedded on other terms.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from ragctl.collection.points import digest
from ragctl.index.plan import Plan, WorkItem
from ragctl.index.report import DocumentFailure
from ragctl.records import Json
from ragctl.stores.base import Collection

DAY = 86_400.0  # seconds
_LONGEST = 16.0  # days
_MOST = 2_000  # files remembered; those beyond are tried in every run
_ERRORS = 3  # kept of each file


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that failed in the last `tries` runs that read it, as it was then.

    `terms`: a digest of its recipe and of all else that may have been the reason.
    `first` and `last`: seconds since 1970. `errors`: (source, reason), the first few.
    """

    file: str
    root: str
    size: int
    mtime_ns: int
    terms: str
    tries: int
    first: float
    last: float
    errors: tuple[tuple[str, str], ...]

    @property
    def due(self) -> float:
        """When it is tried again, in seconds since 1970."""
        if self.tries < 2:
            return self.last
        return self.last + DAY * (min(2.0 ** (self.tries - 2), _LONGEST) + 0.5)

    def waits(self, now: float) -> bool:
        """Whether it is not due yet. Under a clock that was set back it is."""
        return self.last <= now < self.due

    def is_of(self, task: WorkItem, terms: str) -> bool:
        """Whether it is the same file, unchanged, to be read on the same terms."""
        stat = task.stat
        now = (stat.root, stat.size, stat.mtime_ns, _terms(task, terms))
        return now == (self.root, self.size, self.mtime_ns, self.terms)

    def to_json(self) -> dict[str, Json]:
        return {
            "root": self.root,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "terms": self.terms,
            "tries": self.tries,
            "first": round(self.first),
            "last": round(self.last),
            "errors": [list(error) for error in self.errors],
        }


def read_failures(collection: Collection | None) -> dict[str, FailedFile]:
    """By file, what the last runs noted."""
    if collection is None:
        return {}
    kept = cast(Mapping[str, Any], collection.settings.notes.get("failures") or {})
    return {
        file: FailedFile(
            file,
            row["root"],
            row["size"],
            row["mtime_ns"],
            row["terms"],
            row["tries"],
            row["first"],
            row["last"],
            tuple((source, reason) for source, reason in row["errors"]),
        )
        for file, row in kept.items()
    }


def _terms(task: WorkItem, terms: str) -> str:
    return digest(task.recipe.encode(), terms.encode())


def postpone(
    plan: Plan, known: Mapping[str, FailedFile], terms: str, now: float
) -> tuple[Plan, list[FailedFile]]:
    """The plan without the tasks that failed before and are not due, and those failures.

    `terms`: of this run, whatever they are made of.
    """
    waiting = {
        task.stat.file: failed
        for task in plan.work_items
        if (failed := known.get(task.stat.file)) and failed.is_of(task, terms) and failed.waits(now)
    }
    if not waiting:
        return plan, []
    tasks = tuple(task for task in plan.work_items if task.stat.file not in waiting)
    return replace(plan, work_items=tasks), list(waiting.values())


def describe(failed: FailedFile) -> list[DocumentFailure]:
    """What a report says of a file that was not tried."""
    when = datetime.fromtimestamp(failed.due, UTC).strftime("%Y-%m-%d %H:%M")
    times = "once" if failed.tries == 1 else f"{failed.tries} times"
    return [
        DocumentFailure(
            source,
            f"{reason} (failed {times}; next try after {when} UTC, or now with --retry-failed)",
            failed.file,
            True,
        )
        for source, reason in failed.errors
    ]


def failures_note(
    known: Mapping[str, FailedFile],
    tasks: Sequence[WorkItem],
    failures: Iterable[DocumentFailure],
    *,
    terms: str,
    postponed: Iterable[FailedFile],
    in_scope: Callable[[FailedFile], bool],
    ended: bool,
    now: float,
) -> dict[str, Json]:
    """The note of what failed in this run, and of what failed before and was `postponed`.

    Empty where nothing has changed.

    `in_scope`: whether the run would have seen the file, so that one it has no
    task for has no failure any more. `ended`: false where the run broke off.
    """
    failing: dict[str, list[tuple[str, str]]] = {}
    for failure in failures:
        if failure.file is not None and not failure.postponed:
            failing.setdefault(failure.file, []).append((failure.source, failure.error))
    tried = {task.stat.file: task for task in tasks}
    kept = {failed.file: failed for failed in postponed} | {
        file: failed
        for file, failed in known.items()
        if file not in failing and (not in_scope(failed) or (file in tried and not ended))
    }
    for file, errors in failing.items():
        if file in tried and len(kept) < _MOST:
            kept[file] = _after(known.get(file), tried[file], terms, errors, now)
    if kept == known:
        return {}
    return {"failures": {file: failed.to_json() for file, failed in sorted(kept.items())}}


def _after(
    before: FailedFile | None, task: WorkItem, terms: str, errors: list[tuple[str, str]], now: float
) -> FailedFile:
    stat = task.stat
    first = FailedFile(
        file=stat.file,
        root=stat.root,
        size=stat.size,
        mtime_ns=stat.mtime_ns,
        terms=_terms(task, terms),
        tries=1,
        first=round(now),
        last=round(now),
        errors=tuple((source, reason[:300]) for source, reason in errors[:_ERRORS]),
    )
    if before is None or not before.is_of(task, terms):
        return first
    return replace(first, tries=before.tries + 1, first=before.first)
