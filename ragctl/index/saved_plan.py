"""A plan written to a file, to be applied later exactly as it is or not at all."""

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
_SHOWN = 3  # differences named in an error


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a plan was made of. `made`: seconds since 1970; failed documents were due as of then.

    `only` and `retry_failed`: as the plan was asked for. `tasks`: by file, what was to
    be read of it and why. `removed`: sources.
    `state`: a digest of every document that the collection had.
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
        return cls(
            report.collection,
            made,
            list(pipeline.only),
            pipeline.retry_failed,
            dict(report.identity),
            _state(run_plan),
            _tasks(run_plan),
            _removed(run_plan),
        )

    def check(self, report: Report, run_plan: RunPlan) -> None:
        """Raises UsageError where what there is now is not what the plan was made of."""
        moved = []
        if self.collection != report.collection:
            moved.append(f"it is for collection {self.collection!r}, not {report.collection!r}")
        if self.identity != dict(report.identity):
            moved.append("the model, or how it is asked, is another")
        tasks = _tasks(run_plan)
        moved += [
            f"{file} {'changed' if file in tasks and file in self.tasks else 'came or went'}"
            for file in sorted(tasks.keys() | self.tasks.keys())
            if tasks.get(file) != self.tasks.get(file)
        ]
        removed = set(_removed(run_plan)) ^ set(self.removed)
        moved += [f"{source} is gone, or there again" for source in sorted(removed)]
        if self.state != _state(run_plan):
            moved.append("the collection has changed")
        if moved:
            more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
            raise UsageError(
                f"the plan does not fit any more: {'; '.join(moved[:_SHOWN])}{more}. "
                "Nothing was changed; make a new plan"
            )

    def write(self, path: Path, report: Report) -> None:
        """Raises UsageError where the file cannot be written."""
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
                f"{path}: the plan cannot be written ({error.strerror or error})"
            ) from error


def read_plan(path: Path) -> SavedPlan:
    """Raises UsageError for what is no plan of this format."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise UsageError(f"{path}: a plan of format {raw['format']}; make a new one")
        saved = SavedPlan(**{key: raw[key] for key in SavedPlan.__dataclass_fields__})
        for value, kind in ((saved.made, float), (saved.only, list), (saved.tasks, dict)):
            if type(value) is not kind:
                raise TypeError(f"{value!r} is no {kind.__name__}")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the plan ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a plan; make one with: ragctl plan --out {path}") from error
    return saved


def _tasks(run_plan: RunPlan) -> dict[str, list[Json]]:
    return {
        task.stat.file: [
            task.stat.root,
            task.stat.size,
            task.stat.mtime_ns,
            task.recipe,
            task.why,
        ]
        for task in run_plan.plan.work_items
    }


def _removed(run_plan: RunPlan) -> list[str]:
    return sorted(document.source for document in run_plan.plan.removed)


def _state(run_plan: RunPlan) -> str:
    documents = run_plan.state.documents.values()
    rows = sorted((d.source, d.digest, d.recipe, d.chunks, d.whole) for d in documents)
    return digest(json.dumps(cast(Json, rows)).encode())
