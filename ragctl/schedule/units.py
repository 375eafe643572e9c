"""The systemd service and timer of a job, and their installation as user units."""

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
from ragctl.schedule.when import Schedule

MARK_PREFIX = "# ragctl schedule "
_UNSAFE_CHARACTERS = "$\"'\\"  # systemd starts no program with one of them in its path
MAX_SLUG_CHARACTERS = 60


def name(job: ScheduledJob) -> str:
    """Return the name of the units without suffix; it is different for each pipeline file."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", job.pipeline.stem).strip("-.") or "pipeline"
    digest = hashlib.sha256(os.fsencode(job.pipeline)).hexdigest()[:8]
    return f"ragctl-{slug[:MAX_SLUG_CHARACTERS]}-{digest}"


def units(job: ScheduledJob, schedule: Schedule) -> dict[str, str]:
    """Return the text of each unit by file name.

    Raises UsageError for a program path that systemd does not accept.
    """
    if any(character in job.program[0] for character in _UNSAFE_CHARACTERS):
        raise UsageError(
            f"{job.program[0]}: systemd starts no program with one of "
            f"{_UNSAFE_CHARACTERS} in its path"
        )
    mark = f"{MARK_PREFIX}{job.pipeline}"
    title = _literal(f"ragctl: collection {job.collection}")
    own = name(job)
    program, *words = job.words
    command = " ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in words)])
    variables = "".join(
        f"Environment={_quoted(f'{key}={value}')}\n" for key, value in sorted(job.variables.items())
    )
    service = f"""{mark}
[Unit]
Description={title}

[Service]
Type=oneshot
{variables}ExecStart={command}
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
"""
    timer = f"""{mark}
[Unit]
Description={title}, scheduled

[Timer]
OnCalendar={schedule.systemd}
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{own}.service": service, f"{own}.timer": timer}


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word quoted as in systemd.syntax(7), with % specifiers escaped."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_literal(escaped)}"'


def user_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's own units."""
    config = XDG_CONFIG_HOME.value(environ)
    base = Path(config) if config.startswith("/") else Path.home() / ".config"
    return base / "systemd" / "user"


def install(job: ScheduledJob, schedule: Schedule, folder: Path) -> None:
    """Write the units to `folder` and start the timer. Raises UsageError."""
    texts = units(job, schedule)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            _check_own(folder / file, job)
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the units to {folder}: {error.strerror}") from error
    timer = f"{name(job)}.timer"
    _systemctl(f"the units are in {folder}", ["daemon-reload"], ["enable", "--now", timer])


def remove(job: ScheduledJob, folder: Path) -> bool:
    """Stop the timer and delete the units. Return whether there were any. Raises UsageError."""
    files = [folder / f"{name(job)}{ending}" for ending in (".timer", ".service")]
    existing = [file for file in files if file.exists()]
    if not existing:
        return False
    try:
        for file in existing:
            _check_own(file, job)
    except OSError as error:
        raise UsageError(f"cannot read the units in {folder}: {error.strerror}") from error
    if shutil.which("systemctl") is not None:
        # It fails if no user manager runs; then there is no timer to stop.
        _run(["disable", "--now", files[0].name])
    try:
        for file in existing:
            file.unlink()
        (folder / "timers.target.wants" / files[0].name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot remove the units from {folder}: {error.strerror}") from error
    if shutil.which("systemctl") is not None:
        _run(["daemon-reload"])
    return True


def _check_own(file: Path, job: ScheduledJob) -> None:
    """Raise UsageError for a unit that `ragctl schedule` did not write for this pipeline."""
    if not file.exists():
        return
    first = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    if first != f"{MARK_PREFIX}{job.pipeline}":
        raise UsageError(f"{file} was not written by ragctl schedule; move it away first")


def _systemctl(done: str, *commands: list[str]) -> None:
    """Run `systemctl --user` commands. Raises UsageError, which lists them, if one fails."""
    commands_text = " && ".join(" ".join(("systemctl", "--user", *words)) for words in commands)
    if shutil.which("systemctl") is None:
        raise UsageError(f"{done}, but systemctl was not found; on the host run: {commands_text}")
    for words in commands:
        failure = _run(words)
        if failure is not None:
            raise UsageError(
                f"{done}, but systemctl --user {words[0]} failed ({failure}); "
                f"log in as the user and run: {commands_text}"
            )


def _run(words: list[str]) -> str | None:
    """Run `systemctl --user` with `words`. Return why it failed, None if it succeeded."""
    try:
        ran = subprocess.run(  # noqa: S603 - fixed words
            ["systemctl", "--user", *words],  # noqa: S607 - found on PATH
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        return error.strerror or str(error)
    if ran.returncode == 0:
        return None
    message = ran.stderr.decode("utf-8", "replace").strip()
    return message or f"status {ran.returncode}"
