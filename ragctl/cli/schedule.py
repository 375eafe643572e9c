"""`ragctl schedule`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragctl.cli import console
from ragctl.cli.options import env_file_named, environ
from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.catalog import Backend
    from ragctl.pipeline import Pipeline
    from ragctl.schedule import ScheduledJob, When

# What a run looks up, and a login shell may have set: cron and systemd do not.
_CARRIED = ("RAGCTL_HOME", "RAGCTL_CONFIG", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "HF_HOME")
_PATHS = ("PYTHONPATH", "SSL_CERT_FILE", "RAGCTL_LOG_FORMAT")
_CRON_PATH = "/usr/bin:/bin"


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
    """Print what runs a pipeline by the clock, or install it: for cron, or for systemd."""
    from ragctl.schedule import ScheduledJob, crontab, units

    if install and remove:
        raise UsageError("give --install or --remove, not both")
    path = _absolute(file)
    if remove:
        job = ScheduledJob(_program(), path, "")
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
    from ragctl.schedule import ScheduledJob

    read_pipeline(path, environ())
    variables = _carried(os.environ)
    named = env_file_named()
    env_file = _absolute(named) if named else None
    pipeline = _as_cron(path, variables, env_file)
    for text in _missing(pipeline):
        console.warn(f"warning: {text}", message=text)
    if _commands_elsewhere(pipeline):
        variables["PATH"] = os.environ.get("PATH", os.defpath)
    return ScheduledJob(_program(), path, pipeline.collection, env_file, wait, variables)


def _absolute(path: Path) -> Path:
    """An absolute path; links stay, for they are chosen by the user."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() follows links


def _program() -> tuple[str, ...]:
    """How this very ragctl is started from anywhere."""
    script = Path(sys.argv[0])
    if script.name == "ragctl" and script.is_file() and os.access(script, os.X_OK):
        return (str(_absolute(script)),)
    return (sys.executable, "-P", "-m", "ragctl")


def _carried(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of this shell that a run has to know."""
    found = {name: variables[name] for name in (*_CARRIED, *_PATHS) if variables.get(name)}
    for name in _CARRIED:
        if name in found and "://" not in found[name]:  # a store may be a server's address
            found[name] = str(_absolute(Path(found[name])))
    if "PYTHONPATH" in found:
        parts = found["PYTHONPATH"].split(os.pathsep)
        found["PYTHONPATH"] = os.pathsep.join(str(_absolute(Path(part))) for part in parts if part)
    return found


def _as_cron(path: Path, variables: Mapping[str, str], env_file: Path | None) -> "Pipeline":
    """The pipeline as it is read without this shell's variables. Raises UsageError."""
    from ragctl.pipeline import read_pipeline, with_env_file

    known = {"HOME": str(Path.home()), "PATH": _CRON_PATH, **variables}
    try:
        return read_pipeline(path, with_env_file(known, env_file) if env_file else known)
    except UsageError as error:
        raise UsageError(
            f"{error}; by the clock, it has only what env_file or --env-file names"
        ) from error


def _missing(pipeline: "Pipeline") -> list[str]:
    """Keys that this shell has, and that a run by the clock will look for in vain."""
    wanted = [row.keys for row in _rows(pipeline) if not row.key_command]
    if "://" in pipeline.store:
        wanted.append(("QDRANT_API_KEY",))
    return [
        f"{here[0]} is set in this shell only, where cron does not look: write it to a file "
        "that only you can read, and name that with --env-file or env_file"
        for names in wanted
        if (here := [name for name in names if environ().get(name)])
        and not any(pipeline.environ.get(name) for name in names)
    ]


def _rows(pipeline: "Pipeline") -> list["Backend"]:
    """The backends that the pipeline names, with what it has of its own."""
    from ragctl.catalog import BackendConfig
    from ragctl.pipeline import MODEL

    model = pipeline.embedding.model or MODEL
    backends = pipeline.embedding.backends or (BackendConfig(),)
    return [config.resolve(pipeline.catalog, model, pipeline.embedding.task) for config in backends]


def _commands_elsewhere(pipeline: "Pipeline") -> bool:
    """Whether a key command is found on this shell's PATH, and not on that of cron."""
    import shutil

    commands = [row.key_command[0] for row in _rows(pipeline) if row.key_command]
    return any(shutil.which(c) and not shutil.which(c, path=_CRON_PATH) for c in commands)
