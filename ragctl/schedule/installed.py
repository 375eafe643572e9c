"""The scheduled pipelines of this user, read back from the crontab and the systemd units."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ragctl.schedule import crontab
from ragctl.schedule.units import MARK_PREFIX

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_CRON_TIMES = re.compile(r"(@\w+|\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+(.*)")


@dataclass(frozen=True, slots=True)
class InstalledJob:
    """A job that `ragctl schedule --install` wrote.

    Attributes:
        pipeline: absolute path of the pipeline file.
        kind: the program that starts it.
        times: a cron expression, or a systemd calendar event; "" if it cannot be read.
        env_file: its --env-file, if it has one.
        variables: environment variables written into the job.
        unit: name of the timer.
        enabled: whether systemd starts the timer when the user logs in.
    """

    pipeline: Path
    kind: Literal["cron", "systemd"]
    times: str
    env_file: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    enabled: bool = True


def jobs_in_crontab() -> list[InstalledJob]:
    """Return the jobs in the user's crontab; [] without a crontab command. Raises UsageError."""
    return list(read_crontab(crontab.read())) if crontab.is_available() else []


def read_crontab(content: bytes) -> Iterator[InstalledJob]:
    """Yield the jobs whose lines a crontab has."""
    for row in content.decode("utf-8", "surrogateescape").splitlines():
        text, mark, pipeline = row.replace(r"\%", "%").rpartition(f" {crontab.MARK_PREFIX}")
        found = _CRON_TIMES.match(text.strip())
        if mark and found and not row.lstrip().startswith("#"):
            yield _job(Path(pipeline), "cron", found[1], _words(found[2]))


def jobs_in_units(folder: Path) -> Iterator[InstalledJob]:
    """Yield the jobs whose timers are in a folder of user units. Raises OSError."""
    if not folder.is_dir():
        return
    for timer in sorted(folder.glob("ragctl-*.timer")):
        text = timer.read_text(encoding="utf-8", errors="replace")
        first, _, rest = text.partition("\n")
        if not first.startswith(MARK_PREFIX):
            continue
        service = timer.with_suffix(".service")
        lines = service.read_text(encoding="utf-8", errors="replace") if service.exists() else ""
        words = _unit_words(_value(lines, "ExecStart"))
        variables = [word for each in _values(lines, "Environment") for word in _unit_words(each)]
        enabled = folder / "timers.target.wants" / timer.name
        yield _job(
            Path(first.removeprefix(MARK_PREFIX)),
            "systemd",
            _value(rest, "OnCalendar"),
            [*variables, *words],
            unit=timer.name,
            enabled=enabled.exists() or enabled.is_symlink(),
        )


def _job(
    pipeline: Path,
    kind: Literal["cron", "systemd"],
    times: str,
    words: list[str],
    *,
    unit: str = "",
    enabled: bool = True,
) -> InstalledJob:
    variables = {}
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words[0].partition("=")
        variables[name] = value
        words = words[1:]
    after = words[words.index("--env-file") + 1 :] if "--env-file" in words else []
    env_file = Path(after[0]) if after else None
    return InstalledJob(pipeline, kind, times, env_file, variables, unit, enabled)


def _words(command: str) -> list[str]:
    """Return the words of a shell command; [] if somebody made it unreadable."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _unit_words(text: str) -> list[str]:
    return [word.replace("%%", "%").replace("$$", "$") for word in _words(text)]


def _value(unit: str, key: str) -> str:
    return next(_values(unit, key), "")


def _values(unit: str, key: str) -> Iterator[str]:
    for line in unit.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == key:
            yield value.strip()
