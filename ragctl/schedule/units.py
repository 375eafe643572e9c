"""A service and a timer of systemd for a job, and their place among the user's units."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ragctl.environment import XDG_CONFIG_HOME
from ragctl.errors import UsageError
from ragctl.schedule.job import ScheduledJob
from ragctl.schedule.when import When

_MARK = "# ragctl schedule "
_UNSAFE = "$\"'\\"


def name(job: ScheduledJob) -> str:
    """The units' name without its ending, one for each pipeline file."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", job.pipeline.stem).strip("-.") or "pipeline"
    digest = hashlib.sha256(os.fsencode(job.pipeline)).hexdigest()[:8]
    return f"ragctl-{slug[:60]}-{digest}"


def units(job: ScheduledJob, when: When) -> dict[str, str]:
    """The text of each unit by its file name. Raises UsageError for what no unit can start."""
    if any(character in job.program[0] for character in _UNSAFE):
        raise UsageError(f"{job.program[0]}: systemd starts no program with one of {_UNSAFE} in it")
    what = f"{_MARK}{job.pipeline}"
    title = _literal(f"ragctl: collection {job.collection}")
    own = name(job)
    program, *words = job.words
    command = " ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in words)])
    variables = "".join(
        f"Environment={_quoted(f'{key}={value}')}\n" for key, value in sorted(job.variables.items())
    )
    service = f"""{what}
[Unit]
Description={title}

[Service]
Type=oneshot
{variables}ExecStart={command}
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
"""
    timer = f"""{what}
[Unit]
Description={title}, by the clock

[Timer]
OnCalendar={when.systemd}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{own}.service": service, f"{own}.timer": timer}


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) has it: quoted, its specifiers taken literally."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_literal(escaped)}"'


def folder(environ: Mapping[str, str]) -> Path:
    """Where a user's own units are."""
    config = XDG_CONFIG_HOME.value(environ)
    base = Path(config) if config.startswith("/") else Path.home() / ".config"
    return base / "systemd" / "user"


def install(job: ScheduledJob, when: When, place: Path) -> None:
    """Write the units, and start the timer. Raises UsageError."""
    texts = units(job, when)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            _check_own(place / file, job)
            (place / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the units to {place}: {error.strerror}") from error
    timer = f"{name(job)}.timer"
    _systemctl(f"the units are in {place}", ["daemon-reload"], ["enable", "--now", timer])


def remove(job: ScheduledJob, place: Path) -> bool:
    """Stop the timer and take the units away; False where there were none. Raises UsageError."""
    files = [place / f"{name(job)}{ending}" for ending in (".timer", ".service")]
    there = [file for file in files if file.exists()]
    if not there:
        return False
    try:
        for file in there:
            _check_own(file, job)
    except OSError as error:
        raise UsageError(f"cannot read the units in {place}: {error.strerror}") from error
    if shutil.which("systemctl") is not None:
        # Where no manager of the user runs there is nothing to stop.
        _run(["disable", "--now", files[0].name])
    try:
        for file in there:
            file.unlink()
        (place / "timers.target.wants" / files[0].name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot remove the units from {place}: {error.strerror}") from error
    if shutil.which("systemctl") is not None:
        _run(["daemon-reload"])
    return True


def _check_own(file: Path, job: ScheduledJob) -> None:
    """Refuse to touch a unit that somebody else wrote."""
    if not file.exists():
        return
    first = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    if first != f"{_MARK}{job.pipeline}":
        raise UsageError(f"{file} was not written by ragctl schedule; move it away first")


def _systemctl(done: str, *commands: list[str]) -> None:
    """Carry the commands out. Raises UsageError that says them, where one fails."""
    by_hand = " && ".join(" ".join(("systemctl", "--user", *words)) for words in commands)
    if shutil.which("systemctl") is None:
        raise UsageError(f"{done}, but there is no systemctl here; on the host run: {by_hand}")
    for words in commands:
        failure = _run(words)
        if failure is not None:
            raise UsageError(
                f"{done}, but systemctl --user {words[0]} failed ({failure}); "
                f"as the user, logged in, run: {by_hand}"
            )


def _run(words: list[str]) -> str | None:
    """Why `systemctl --user` failed with these words; None where it did not."""
    try:
        ran = subprocess.run(  # noqa: S603 - words of our own
            ["systemctl", "--user", *words],  # noqa: S607 - wherever the system has it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        return error.strerror or str(error)
    if ran.returncode == 0:
        return None
    said = ran.stderr.decode("utf-8", "replace").strip()
    return said or f"status {ran.returncode}"
