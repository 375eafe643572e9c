"""The last run of each pipeline file on this machine, in files of the user's state folder.

`ragctl check` compares them with the schedule. They only inform: no run depends on them.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import platformdirs

from ragctl.environment import XDG_STATE_HOME
from ragctl.files import replace_file
from ragctl.reporting.outcome import RunOutcome
from ragctl.stores.locks import private_folder
from ragctl.text import one_line

MAX_REPORT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class LastRun:
    """How a run ended. Times are in seconds since 1970; `error`: the message, if it failed."""

    started: float
    seconds: float
    exit_code: int
    error: str | None = None


def record_run(pipeline: Path, outcome: RunOutcome, environ: Mapping[str, str]) -> None:
    """Record the outcome as the last run of a pipeline file. Raises OSError and StoreError."""
    run = {
        "started": outcome.started,
        "seconds": outcome.seconds,
        "exit_code": outcome.exit_code,
        "error": outcome.error,
    }
    _update(pipeline, environ, run=run)


def record_installation(pipeline: Path, environ: Mapping[str, str]) -> None:
    """Record that a schedule was installed just now. Raises OSError and StoreError."""
    _update(pipeline, environ, installed=time.time())


def last_run(pipeline: Path, environ: Mapping[str, str]) -> LastRun | None:
    """Return the last recorded run of a pipeline file; None without one."""
    return _read_run(_record(pipeline, environ).get("run"))


def installed_at(pipeline: Path, environ: Mapping[str, str]) -> float | None:
    """Return when its schedule was installed, in seconds since 1970; None: unknown."""
    installed = _record(pipeline, environ).get("installed")
    return float(installed) if isinstance(installed, int | float) else None


def reported_run(report_file: Path) -> LastRun | None:
    """Return the run that a report file describes; None without a readable one."""
    try:
        if report_file.stat().st_size > MAX_REPORT_BYTES:
            return None
        report = json.loads(report_file.read_bytes())
        started = datetime.fromisoformat(report["started"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return _read_run({**report, "started": started})


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the records."""
    base = XDG_STATE_HOME.value(environ)
    folder = Path(base) / "ragctl" if base else platformdirs.user_state_path("ragctl")
    return folder / "runs"


def _file(pipeline: Path, environ: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.abspath(pipeline))).hexdigest()  # noqa: PTH100
    return state_folder(environ) / f"{digest[:16]}.json"


def _record(pipeline: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        record = json.loads(_file(pipeline, environ).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _update(pipeline: Path, environ: Mapping[str, str], **changes: object) -> None:
    file = _file(pipeline, environ)
    private_folder(file.parent)
    path = os.fsencode(os.path.abspath(pipeline)).decode("utf-8", "replace")  # noqa: PTH100
    record = {**_record(pipeline, environ), "pipeline": path, **changes}
    text = json.dumps(record, ensure_ascii=False, indent=2)
    replace_file(file, text.encode("utf-8", "replace") + b"\n")


def _read_run(stored: object) -> LastRun | None:
    """Return the run in a JSON object of any content; None if it is not one."""
    if not isinstance(stored, dict):
        return None
    numbers = [stored.get(key) for key in ("started", "seconds", "exit_code")]
    if any(type(number) not in (int, float) for number in numbers):
        return None
    started, seconds, code = (float(number) for number in numbers)  # type: ignore[arg-type]
    error = stored.get("error")
    return LastRun(started, seconds, int(code), None if error is None else one_line(str(error)))
