"""A line of a crontab, and its place among the lines of others."""

import os
import re
import shlex
import shutil
import subprocess

from ragctl.errors import UsageError
from ragctl.schedule.job import ScheduledJob
from ragctl.schedule.when import When

_MARK = "# ragctl schedule "
_LONGEST = 998  # bytes of a command that Debian's cron takes
_HAVE_CRON = "install cron (Debian: apt-get install cron), or use --systemd"


def line(job: ScheduledJob, when: When) -> str:
    """The crontab line, without its newline. The pipeline's path at its end marks it as ours.

    Raises UsageError for a command that cron does not take.
    """
    variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(job.variables.items())]
    command = " ".join([*variables, *map(shlex.quote, job.words)])
    if "\\" in command:
        raise UsageError("crons differ in how they read a backslash; rename it, or use --systemd")
    command = f"{command} {_mark(job)}".replace("%", r"\%")  # a bare % is a newline to cron
    if len(os.fsencode(command)) > _LONGEST:
        raise UsageError(
            f"the command is longer than the {_LONGEST} bytes that cron takes; "
            "use shorter paths, or --systemd"
        )
    return f"{when.cron} {command}"


def _mark(job: ScheduledJob) -> str:
    return f"{_MARK}{job.pipeline}"


def without(table: bytes, job: ScheduledJob) -> bytes:
    """A crontab without the line of this pipeline; all others stay byte for byte."""
    mark = os.fsencode(" " + _mark(job).replace("%", r"\%"))
    rows = re.split(rb"(?<=\n)", table)
    return b"".join(row for row in rows if not row.rstrip(b"\n").endswith(mark))


def with_line(table: bytes, job: ScheduledJob, when: When) -> bytes:
    """A crontab with the line of this pipeline at its end, and no other of it."""
    rest = without(table, job)
    if rest and not rest.endswith(b"\n"):
        rest += b"\n"
    return rest + os.fsencode(line(job, when)) + b"\n"


def install(job: ScheduledJob, when: When) -> None:
    """Put the line into this user's crontab, in place of an older one. Raises UsageError."""
    _write(with_line(_read(), job, when))


def remove(job: ScheduledJob) -> bool:
    """Take the line out again; False where there was none. Raises UsageError."""
    table = _read()
    rest = without(table, job)
    if rest == table:
        return False
    _write(rest)
    return True


def _read() -> bytes:
    ran = _crontab("-l")
    if ran.returncode == 0:
        return ran.stdout
    # Anything else must not pass for an empty crontab, which would be written over.
    if b"no crontab for" in ran.stderr:
        return b""
    raise UsageError(f"cannot read this user's crontab: {_words(ran)}")


def _write(table: bytes) -> None:
    ran = _crontab("-", table)
    if ran.returncode != 0:
        raise UsageError(f"cannot write this user's crontab: {_words(ran)}")


def _crontab(word: str, given: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    program = shutil.which("crontab")
    if program is None:
        raise UsageError(f"there is no crontab command here; {_HAVE_CRON}")
    try:
        return subprocess.run(  # noqa: S603 - a fixed word to a fixed program
            [program, word],
            input=given or b"",
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError as error:
        raise UsageError(f"cannot run {program}: {error.strerror}") from error


def _words(ran: "subprocess.CompletedProcess[bytes]") -> str:
    said = ran.stderr.decode("utf-8", "replace").strip()
    return said or f"crontab ended with status {ran.returncode}"
