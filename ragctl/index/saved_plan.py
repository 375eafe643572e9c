"""A plan saved to a file, to be applied later unchanged or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ragctl.collection.points import digest
from ragctl.errors import UsageError
from ragctl.files import replace_file
from ragctl.index.planning import RunPlan
from ragctl.index.report import Report
from ragctl.pipeline import Pipeline
from ragctl.records import Json

FORMAT = 1
"""Version of the file format."""

MAX_SHOWN_DIFFERENCES = 3


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan and what it was made from. The fields are the keys of its file.

    `made`: seconds since 1970; failures due by then are retried.
    `only` and `retry_failed`: the options that the plan was made with. `state`: digest of
    all documents in the collection. `tasks`: source name, size, time, recipe and reason of each
    file to read. `removed`: sources of the documents to remove.
    """

    collection: str
    made: float
    only: list[str]
    retry_failed: bool
    identity: dict[str, Json]
    state: str
    tasks: dict[str, list[Json]]
    removed: list[str]

    @classmethod
    def of(cls, pipeline: Pipeline, report: Report, run_plan: RunPlan, made: float) -> "SavedPlan":
        """Return the saved form of a plan."""
        return cls(
            report.collection,
            made,
            list(pipeline.only),
            pipeline.retry_failed,
            report.identity.to_json(),
            _state(run_plan),
            _tasks(run_plan),
            _removed(run_plan),
        )

    def check(self, report: Report, run_plan: RunPlan) -> None:
        """Raise UsageError if the plan made now differs from this one."""
        differences = []
        if self.collection != report.collection:
            differences.append(
                f"it is for collection {self.collection!r}, not {report.collection!r}"
            )
        if self.identity != report.identity.to_json():
            differences.append("the model or its settings differ")
        tasks = _tasks(run_plan)
        removed = set(_removed(run_plan))
        differences += [
            f"{file} {self._what_changed(file, tasks, run_plan)}"
            for file in sorted((tasks.keys() | self.tasks.keys()) - removed)
            if tasks.get(file) != self.tasks.get(file)
        ]
        differences += [f"{source} was deleted" for source in sorted(removed - set(self.removed))]
        differences += [
            f"{source} is there again"
            for source in sorted(set(self.removed) - removed - tasks.keys())
        ]
        if self.state != _state(run_plan):
            differences.append("the collection has changed")
        if differences:
            shown = "; ".join(differences[:MAX_SHOWN_DIFFERENCES])
            hidden = len(differences) - MAX_SHOWN_DIFFERENCES
            more = f" and {hidden} more" if hidden > 0 else ""
            raise UsageError(
                f"the plan is out of date: {shown}{more}. Nothing was changed; make a new plan"
            )

    def _what_changed(self, file: str, tasks: dict[str, list[Json]], run_plan: RunPlan) -> str:
        """Return what happened to a file since the plan was made."""
        if file in tasks:
            before = self.tasks.get(file)
            if before is not None and before[:3] == tasks[file][:3]:  # source, size, time
                return "is to be chunked in another way"
            known = before is not None or file in run_plan.state.files or file in self.removed
            return "changed" if known else "is new"
        return "is up to date already" if file in run_plan.state.files else "was deleted"

    def write(self, path: Path, report: Report) -> None:
        """Write the plan and its report to a file. Raises UsageError if that fails."""
        whole = {
            "format": FORMAT,
            "collection": self.collection,
            "made": self.made,
            "only": self.only,
            "retry_failed": self.retry_failed,
            "identity": self.identity,
            "state": self.state,
            "tasks": self.tasks,
            "removed": self.removed,
            "report": report.to_json(),
        }
        try:
            replace_file(path, json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n")
        except OSError as error:
            raise UsageError(
                f"{path}: cannot write the plan ({error.strerror or error})"
            ) from error


def read_plan(path: Path) -> SavedPlan:
    """Read a plan from a file. Raises UsageError if it is not a plan of this FORMAT."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise UsageError(f"{path}: a plan of format {raw['format']}; make a new one")
        saved = SavedPlan(**{key: raw[key] for key in SavedPlan.__dataclass_fields__})
        for value, kind in ((saved.made, float), (saved.only, list), (saved.tasks, dict)):
            if type(value) is not kind:
                raise TypeError(f"{value!r} is not a {kind.__name__}")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the plan ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a plan; make one with: ragctl plan --out {path}") from error
    return saved


def _tasks(run_plan: RunPlan) -> dict[str, list[Json]]:
    return {
        work.stat.file: [
            work.stat.source_name,
            work.stat.size,
            work.stat.mtime_ns or work.stat.stamp,  # sources elsewhere may have no times
            work.recipe,
            work.why,
        ]
        for work in run_plan.plan.work_items
    }


def _removed(run_plan: RunPlan) -> list[str]:
    return sorted(document.source for document in run_plan.plan.removed)


def _state(run_plan: RunPlan) -> str:
    documents = run_plan.state.documents.values()
    rows = sorted((d.source, d.digest, d.recipe, d.chunks, d.complete) for d in documents)
    return digest(json.dumps(cast(Json, rows)).encode())
