"""`ragctl schedule`."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import env_file_named, environ
from ragctl.environment import PATH
from ragctl.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ragctl.schedule import Schedule, ScheduledJob


def schedule(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    systemd: Annotated[
        bool,
        typer.Option(
            "--systemd/--cron", help="Use a systemd service and timer, or a crontab line."
        ),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="PERIOD",
            help="day, weekday, monday …, hour, '6 hours', '15 minutes'.",
            show_default="day",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="HH:MM",
            help="Local time of the run; :MM for periods of hours.",
            show_default="03:15",
        ),
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            "--calendar",
            metavar="EXPR",
            help="A cron expression of five fields, or a systemd calendar event.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait for another run on the collection, instead of exiting with 9."
        ),
    ] = False,
    install: Annotated[
        bool,
        typer.Option("--install", help="Install for the current user, replacing an older version."),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what --install has installed.")
    ] = False,
) -> int:
    """Print or install the cron or systemd job of a pipeline."""
    from ragctl.schedule import ScheduledJob, crontab, units
    from ragctl.schedule.job import absolute_path, this_program

    if install and remove:
        raise UsageError("give --install or --remove, not both")
    path = absolute_path(file)
    folder = units.user_folder(os.environ)
    if remove:
        job = ScheduledJob(this_program(), path, "")
        removed = units.remove(job, folder) if systemd else crontab.remove(job)
        what = "systemd service and timer" if systemd else "crontab line"
        outcome = f"removed the {what} of" if removed else "nothing was installed for"
        console.say(f"{outcome} {path}")
        return 0
    times = _schedule(every, at, calendar, systemd=systemd)
    job = _job(path, wait=wait)
    if install and systemd:
        units.install(job, times, folder)
        _record(path)
        console.say(f"installed: {units.name(job)}.timer")
        console.warn(
            "note: it runs only while you are logged in, unless you run: loginctl enable-linger"
        )
    elif install:
        crontab.install(job, times)
        _record(path)
        console.say_unwrapped(f"installed: {crontab.line(job, times)}")
    elif systemd:
        for name, text in units.units(job, times).items():
            console.say_unwrapped(f"# {folder / name}\n{text}")
    else:
        console.say_unwrapped(crontab.line(job, times))
    return 0


def _record(pipeline: Path) -> None:
    """Record the installation, for `ragctl check`, which also works without it."""
    from ragctl.reporting.last_run import record_installation

    with contextlib.suppress(OSError, StoreError):
        record_installation(pipeline, environ())


def _schedule(
    period: str | None, at: str | None, calendar: str | None, *, systemd: bool
) -> "Schedule":
    from ragctl.schedule import every, from_calendar, from_cron

    if calendar is None:
        return every(period or "day", at)
    if period is not None or at is not None:
        raise UsageError("give --calendar, or --every and --at, not both")
    return from_calendar(calendar) if systemd else from_cron(calendar)


def _job(path: Path, *, wait: bool) -> "ScheduledJob":
    """Return the job, after reading the pipeline as this shell and as the job will read it.

    Raises UsageError for a pipeline that either cannot read.
    """
    from ragctl.pipeline import read_pipeline
    from ragctl.schedule import ScheduledJob, variables
    from ragctl.schedule.job import absolute_path, this_program

    read_pipeline(path, environ())
    carried = variables.carried_variables(os.environ)
    named = env_file_named()
    env_file = absolute_path(named) if named else None
    pipeline = variables.read_as_job(path, carried, env_file)
    for text in variables.missing_secrets(pipeline, environ()):
        console.warn(f"warning: {text}", message=text)
    if variables.needs_shell_path(pipeline, os.environ):
        carried[PATH.name] = PATH.value(os.environ) or os.defpath
    return ScheduledJob(this_program(), path, pipeline.collection, env_file, wait, carried)
