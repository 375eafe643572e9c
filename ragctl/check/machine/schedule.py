"""The scheduled pipelines: whether the last run of each was in time, and how it ended."""

import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from shlex import quote

from ragctl.check.machine.lines import Line, failed, good, note
from ragctl.check.machine.parts import Part
from ragctl.check.machine.stores import Place, moment
from ragctl.errors import DocumentError, StoreError, UsageError
from ragctl.pipeline import Pipeline, read_pipeline
from ragctl.records import Json
from ragctl.reporting.last_run import LastRun, installed_at, last_run, reported_run
from ragctl.schedule import from_cron, units
from ragctl.schedule.installed import InstalledJob, jobs_in_crontab, jobs_in_units
from ragctl.schedule.times import as_cron, last_start, next_start
from ragctl.schedule.variables import missing_secrets, read_as_job
from ragctl.stores import open_store

GRACE = timedelta(minutes=10)
"""A run that has not started so long after its time is late."""

EARLY_SECONDS = 60.0
"""A run that began so long before its time was another one."""

MAX_PIPELINES = 50
MAX_PIPELINE_BYTES = 1 << 20
"""Files of the working folder that may be pipelines, and name stores."""


def examine_schedule(
    environ: Mapping[str, str], folder: Path, known: frozenset[str]
) -> Iterator[Line | Part]:
    """Yield a part for each scheduled pipeline, and for each store that pipelines name.

    `folder`: its pipeline files count too. `known`: stores that are examined already.
    """
    jobs: list[InstalledJob] = []
    try:
        jobs += jobs_in_crontab()
    except UsageError as error:
        yield failed("schedule", "cron", str(error), None, code=error.exit_code)
    units_folder = units.user_folder(environ)
    try:
        jobs += jobs_in_units(units_folder)
    except OSError as error:
        text = f"{units_folder}: cannot be read: {error.strerror}"
        yield failed("schedule", "systemd", text, "check its permissions")
    if not jobs:
        yield good("schedule", "", "no pipeline is scheduled (ragctl schedule PIPELINE.toml)")
    places: dict[str, Place] = {}
    for job in jobs:
        pipeline: Pipeline | UsageError
        try:
            pipeline = read_as_job(job.pipeline, job.variables, job.env_file)
        except UsageError as error:
            pipeline = error
        yield Part("schedule", str(job.pipeline), partial(_examine_job, job, pipeline, environ))
        if isinstance(pipeline, Pipeline):
            place = Place(pipeline.store, f"scheduled {job.pipeline}", pipeline.environ)
            places.setdefault(pipeline.store, place)
    for file, pipeline in _pipelines_in(folder, environ):
        place = Place(pipeline.store, str(file), pipeline.environ)
        places.setdefault(pipeline.store, place)
    for location, place in places.items():
        if location not in known:
            yield place.part()


def _pipelines_in(folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[Path, Pipeline]]:
    """Yield the files of a folder that are valid pipelines."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".toml"))  # noqa: PTH208
    for name in names[:MAX_PIPELINES]:
        file = folder / name
        try:
            if file.stat().st_size <= MAX_PIPELINE_BYTES:
                yield Path(name), read_pipeline(file, environ)
        except (UsageError, OSError):
            continue  # another kind of file; `ragctl validate` says what is wrong with a pipeline


def _examine_job(
    job: InstalledJob, pipeline: Pipeline | UsageError, environ: Mapping[str, str]
) -> Iterator[Line]:
    name, file = str(job.pipeline), quote(str(job.pipeline))
    systemd = " --systemd" if job.kind == "systemd" else ""
    if isinstance(pipeline, UsageError):
        remove = f"correct it, or: ragctl schedule {file} --remove{systemd}"
        yield failed("schedule", name, str(pipeline), remove, code=pipeline.exit_code)
        return
    if not job.enabled:
        advice = f"systemctl --user enable --now {job.unit}"
        yield failed("schedule", name, f"the timer {job.unit} is not enabled", advice)
    for secret in missing_secrets(pipeline, environ):
        text, _, advice = secret.partition(": ")
        yield note("schedule", name, text, advice)
    yield from _last_run(job, pipeline, environ)


def _last_run(job: InstalledJob, pipeline: Pipeline, environ: Mapping[str, str]) -> Iterator[Line]:
    name, file, now = str(job.pipeline), quote(str(job.pipeline)), datetime.now()
    cron = _cron(job)
    due = last_start(cron, now - GRACE) if cron else None
    following = next_start(cron, now) if cron else None
    coming = f"; next at {moment(following.timestamp())}" if following else ""
    job_environ = {**environ, **job.variables}
    run = _newest(
        last_run(job.pipeline, job_environ),
        reported_run(pipeline.reporting.report_file) if pipeline.reporting.report_file else None,
    )
    figures: dict[str, Json] = {
        "kind": job.kind,
        "times": job.times,
        "started": None if run is None else run.started,
        "exit_code": None if run is None else run.exit_code,
        "due": None if due is None else due.timestamp(),
    }
    by_hand = f"run it by hand: ragctl run {file}"
    if (since := _running(pipeline)) is not None:
        yield good("schedule", name, f"a run is writing since {moment(since)}", figures)
        return
    if run is None:
        installed = installed_at(job.pipeline, job_environ)
        if due is None or (installed is not None and due.timestamp() < installed):
            yield good("schedule", name, f"has not run yet{coming}", figures)
        else:
            text = f"never ran; it was due at {moment(due.timestamp())}{coming}"
            yield failed("schedule", name, text, _start_advice(job, by_hand), figures)
        return
    ended = f"last run {moment(run.started)}, {run.seconds:.1f} s, exit code {run.exit_code}"
    if run.exit_code:
        text = f"{ended}: {run.error or 'some documents failed'}{coming}"
        advice = by_hand
        if run.exit_code == DocumentError.exit_code:
            advice = (
                f"ragctl failures -p {file} lists them; repair them, add them to exclude in the "
                "pipeline file, or raise fail_on in its [policy]"
            )
        yield failed("schedule", name, text, advice, figures)
    if due is not None and run.started < due.timestamp() - EARLY_SECONDS:
        text = f"late: due at {moment(due.timestamp())}, {ended}{coming}"
        yield failed("schedule", name, text, _start_advice(job, by_hand), figures)
    elif not run.exit_code:
        yield good("schedule", name, f"{ended}{coming}", figures)


def _cron(job: InstalledJob) -> str | None:
    """Return the times of a job as a valid cron expression; None if they cannot be computed."""
    cron = as_cron(job.times) if job.kind == "systemd" else job.times
    try:
        return from_cron(cron).cron if cron else None
    except UsageError:
        return None  # edited by hand


def _newest(*runs: LastRun | None) -> LastRun | None:
    return max(filter(None, runs), key=lambda run: run.started, default=None)


def _running(pipeline: Pipeline) -> float | None:
    """Return since when a run writes to the pipeline's collection; None if none does."""
    try:
        store = open_store(pipeline.store, environ=pipeline.environ, patience=1.0, read_only=True)
        try:
            holder = store.lock_holder(pipeline.collection)
        finally:
            store.close()
    except (StoreError, UsageError):
        return None  # the line about the store says it
    return None if holder is None else holder.since or time.time()


def _start_advice(job: InstalledJob, by_hand: str) -> str:
    if job.kind == "systemd":
        return f"systemctl --user status {job.unit}; {by_hand}"
    return f"is cron running (service cron status)? {by_hand}"
