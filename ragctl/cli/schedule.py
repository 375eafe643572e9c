"""`ragctl schedule`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import env_file_named, environ
from ragctl.environment import PATH
from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.schedule import ScheduledJob, When


def schedule(
    file: Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="The pipeline file.")],
    systemd: Annotated[
        bool,
        typer.Option("--systemd/--cron", help="A service and a timer, or a crontab line."),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="PERIOD",
            help="day, weekday, monday …, hour, '6 hours', '15 minutes'. [day]",
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="HH:MM", help="Local time; :MM for hours. [03:15]")
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            "--calendar", metavar="EXPR", help="Five fields of cron, or systemd's OnCalendar."
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="A run waits for another on the collection, instead of exit 9."
        ),
    ] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Install it for this user, in place of an older one.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away again.")] = False,
) -> int:
    """Print the crontab line or systemd units that run a pipeline regularly, or install them."""
    from ragctl.schedule import ScheduledJob, crontab, units
    from ragctl.schedule.job import absolute_path, this_program

    if install and remove:
        raise UsageError("give --install or --remove, not both")
    path = absolute_path(file)
    if remove:
        job = ScheduledJob(this_program(), path, "")
        gone = units.remove(job, units.folder(os.environ)) if systemd else crontab.remove(job)
        console.say(f"removed: {path}" if gone else f"nothing was installed for {path}")
        return 0
    when = _when(every, at, calendar, systemd=systemd)
    job = _job(path, systemd=systemd, wait=wait)
    if install and systemd:
        units.install(job, when, units.folder(os.environ))
        console.say(f"installed: {units.name(job)}.timer")
        console.warn("note: it runs while you are logged in; always: loginctl enable-linger")
    elif install:
        crontab.install(job, when)
        console.say(f"installed: {crontab.line(job, when)}")
    elif systemd:
        for name, text in units.units(job, when).items():
            console.say(f"# {units.folder(os.environ) / name}\n{text}")
    else:
        console.say(crontab.line(job, when))
    return 0


def _when(every: str | None, at: str | None, calendar: str | None, *, systemd: bool) -> "When":
    from ragctl import schedule as room

    if calendar is None:
        return room.every(every or "day", at)
    if every is not None or at is not None:
        raise UsageError("give --calendar, or --every and --at")
    return room.of_calendar(calendar) if systemd else room.of_cron(calendar)


def _job(path: Path, *, systemd: bool, wait: bool) -> "ScheduledJob":
    """The job, its pipeline found right both here and with what cron will know."""
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
