"""The crontab line of a job, and its installation between the other lines of a crontab."""

import os
import re
import shlex
import shutil
import subprocess

from ragctl.errors import UsageError
from ragctl.schedule.job import ScheduledJob
from ragctl.schedule.when import Schedule

MARK_PREFIX = "# ragctl schedule "
MAX_COMMAND_BYTES = 998  # Debian's cron refuses longer commands
_CRON_ADVICE = "install cron (Debian: apt-get install cron), or use --systemd"


def line(job: ScheduledJob, schedule: Schedule) -> str:
    """Return the crontab line, without a newline. The comment at its end marks it as ours.

    Raises UsageError for a command that cron cannot run.
    """
    variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(job.variables.items())]
    command = " ".join([*variables, *map(shlex.quote, job.words)])
    if "\\" in command:
        raise UsageError(
            "cron programs treat a backslash differently; rename the file, or use --systemd"
        )
    command = f"{command} {_mark(job)}".replace("%", r"\%")  # a bare % is a newline to cron
    if len(os.fsencode(command)) > MAX_COMMAND_BYTES:
        raise UsageError(
            f"the command is longer than the {MAX_COMMAND_BYTES} bytes that cron allows; "
            "use shorter paths, or --systemd"
        )
    return f"{schedule.cron} {command}"


def _mark(job: ScheduledJob) -> str:
    return f"{MARK_PREFIX}{job.pipeline}"


def without(crontab: bytes, job: ScheduledJob) -> bytes:
    """Return a crontab without the line of this pipeline; all other bytes stay as they are."""
    mark = os.fsencode(" " + _mark(job).replace("%", r"\%"))
    rows = re.split(rb"(?<=\n)", crontab)
    return b"".join(row for row in rows if not row.rstrip(b"\n").endswith(mark))


def with_line(crontab: bytes, job: ScheduledJob, schedule: Schedule) -> bytes:
    """Return a crontab with the line of this pipeline at its end, an older line removed."""
    rest = without(crontab, job)
    if rest and not rest.endswith(b"\n"):
        rest += b"\n"
    return rest + os.fsencode(line(job, schedule)) + b"\n"


def install(job: ScheduledJob, schedule: Schedule) -> None:
    """Add the line to the user's crontab; it replaces an older one. Raises UsageError."""
    _write(with_line(read(), job, schedule))


def remove(job: ScheduledJob) -> bool:
    """Remove the line from the user's crontab. Return whether there was one. Raises UsageError."""
    crontab = read()
    rest = without(crontab, job)
    if rest == crontab:
        return False
    _write(rest)
    return True


def is_available() -> bool:
    """Return whether this machine has a crontab command."""
    return shutil.which("crontab") is not None


def read() -> bytes:
    """Return the user's crontab, b"" without one. Raises UsageError."""
    ran = _crontab("-l")
    if ran.returncode == 0:
        return ran.stdout
    # Any other failure is not an empty crontab: writing would destroy it.
    if b"no crontab for" in ran.stderr:
        return b""
    raise UsageError(f"cannot read this user's crontab: {_failure(ran)}")


def _write(crontab: bytes) -> None:
    ran = _crontab("-", crontab)
    if ran.returncode != 0:
        raise UsageError(f"cannot write this user's crontab: {_failure(ran)}")


def _crontab(argument: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    program = shutil.which("crontab")
    if program is None:
        raise UsageError(f"no crontab command found; {_CRON_ADVICE}")
    try:
        return subprocess.run(  # noqa: S603 - a fixed argument to a fixed program
            [program, argument],
            input=stdin or b"",
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError as error:
        raise UsageError(f"cannot run {program}: {error.strerror}") from error


def _failure(ran: "subprocess.CompletedProcess[bytes]") -> str:
    """Return what the crontab command reported."""
    message = ran.stderr.decode("utf-8", "replace").strip()
    return message or f"crontab ended with status {ran.returncode}"
