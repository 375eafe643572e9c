"""Files that failed: recorded in the collection's notes and retried at growing intervals.

The next run after the first failure retries a file. After each further failure the wait
doubles: 1.5 days, 2.5, 4.5, 8.5 and then 16.5 each time; so a nightly run skips one night,
then two, then four. A file is retried at once if it has changed, or if its recipe or
another setting that can make it fail has changed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ragctl.collection.notes import FailedFileNote, Notes
from ragctl.collection.points import digest
from ragctl.index.plan import Plan, WorkItem
from ragctl.index.report import DocumentFailure
from ragctl.text import readable_time

DAY_SECONDS = 86_400.0
MAX_RETRY_INTERVAL_DAYS = 16.0
MAX_RECORDED_FILES = 2_000
"""Failed files beyond this number are not recorded and are therefore tried in every run."""
MAX_ERRORS_PER_FILE = 3
MAX_ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that failed in each of the last `tries` runs that read it, as it was then.

    `size` is in bytes. `cause_digest`: digest of its recipe and of the run's settings that
    can make a document fail. `first` and `last`: times of the first and the last failure, in
    seconds since 1970. `errors`: (source, reason) of the first few documents.
    """

    file: str
    source_name: str
    size: int
    mtime_ns: int
    cause_digest: str
    tries: int
    first: float
    last: float
    errors: tuple[tuple[str, str], ...]

    @property
    def due(self) -> float:
        """The time from which it is retried, in seconds since 1970."""
        if self.tries < 2:
            return self.last
        days = min(2.0 ** (self.tries - 2), MAX_RETRY_INTERVAL_DAYS) + 0.5
        return self.last + DAY_SECONDS * days

    def is_waiting(self, now: float) -> bool:
        """Return whether it is not due yet. If the clock was set back it counts as due."""
        return self.last <= now < self.due

    def is_same(self, work: WorkItem, run_digest: str) -> bool:
        """Return whether the file and what can make it fail have not changed since."""
        stat = work.stat
        current = (stat.source_name, stat.size, stat.mtime_ns, _cause_digest(work, run_digest))
        return current == (self.source_name, self.size, self.mtime_ns, self.cause_digest)

    def to_json(self) -> FailedFileNote:
        """Return the row of this file in the note `failures`."""
        return {
            "source_name": self.source_name,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "cause_digest": self.cause_digest,
            "tries": self.tries,
            "first": round(self.first),
            "last": round(self.last),
            "errors": [list(error) for error in self.errors],
        }


def read_failures(notes: Notes) -> dict[str, FailedFile]:
    """Return the recorded failed files of a collection, by file."""
    kept = notes.get("failures", {})
    return {
        file: FailedFile(
            file,
            row["source_name"],
            row["size"],
            row["mtime_ns"],
            row["cause_digest"],
            row["tries"],
            row["first"],
            row["last"],
            tuple((source, reason) for source, reason in row["errors"]),
        )
        for file, row in kept.items()
    }


def _cause_digest(work: WorkItem, run_digest: str) -> str:
    return digest(work.recipe.encode(), run_digest.encode())


def postpone(
    plan: Plan, failed_before: Mapping[str, FailedFile], run_digest: str, now: float
) -> tuple[Plan, list[FailedFile]]:
    """Return the plan without the files that failed before and are not due, and these files.

    `run_digest`: digest of the run's settings that can make a document fail.
    """
    waiting = {
        work.stat.file: failed
        for work in plan.work_items
        if (failed := failed_before.get(work.stat.file))
        and failed.is_same(work, run_digest)
        and failed.is_waiting(now)
    }
    if not waiting:
        return plan, []
    due = tuple(work for work in plan.work_items if work.stat.file not in waiting)
    return replace(plan, work_items=due), list(waiting.values())


def postponed_failures(failed: FailedFile) -> list[DocumentFailure]:
    """Return the report's entries for a file that was not retried in this run."""
    times = "once" if failed.tries == 1 else f"{failed.tries} times"
    return [
        DocumentFailure(
            source,
            f"{reason.removesuffix('.')} (failed {times}; "
            f"next try after {readable_time(failed.due)}, or now with --retry-failed)",
            failed.file,
            postponed=True,
        )
        for source, reason in failed.errors
    ]


def failures_note(
    failed_before: Mapping[str, FailedFile],
    work_items: Sequence[WorkItem],
    failures: Iterable[DocumentFailure],
    *,
    run_digest: str,
    postponed: Iterable[FailedFile],
    in_scope: Callable[[FailedFile], bool],
    completed: bool,
    now: float,
) -> Notes:
    """Return the note `failures` at the end of a run; empty if nothing changed.

    It contains the files that failed in this run, the `postponed` ones, and earlier
    failures that this run did not cover. `in_scope` tells whether the run covered a file; a
    covered file that needed no work no longer fails.
    `completed`: false if the run stopped early and files may be untried.
    """
    errors_by_file: dict[str, list[tuple[str, str]]] = {}
    for failure in failures:
        if failure.file is not None and not failure.postponed:
            errors_by_file.setdefault(failure.file, []).append((failure.source, failure.error))
    planned = {work.stat.file: work for work in work_items}
    recorded = {failed.file: failed for failed in postponed} | {
        file: failed
        for file, failed in failed_before.items()
        if file not in errors_by_file
        and (not in_scope(failed) or (file in planned and not completed))
    }
    for file, errors in errors_by_file.items():
        if file in planned and len(recorded) < MAX_RECORDED_FILES:
            recorded[file] = _failed_again(
                failed_before.get(file), planned[file], run_digest, errors, now
            )
    if recorded == failed_before:
        return {}
    return {"failures": {file: failed.to_json() for file, failed in sorted(recorded.items())}}


def _failed_again(
    before: FailedFile | None,
    work: WorkItem,
    run_digest: str,
    errors: list[tuple[str, str]],
    now: float,
) -> FailedFile:
    stat = work.stat
    failed = FailedFile(
        file=stat.file,
        source_name=stat.source_name,
        size=stat.size,
        mtime_ns=stat.mtime_ns,
        cause_digest=_cause_digest(work, run_digest),
        tries=1,
        first=round(now),
        last=round(now),
        errors=tuple(
            (source, reason[:MAX_ERROR_CHARACTERS])
            for source, reason in errors[:MAX_ERRORS_PER_FILE]
        ),
    )
    if before is None or not before.is_same(work, run_digest):
        return failed
    return replace(failed, tries=before.tries + 1, first=before.first)
