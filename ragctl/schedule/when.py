"""Start times of a job, as a cron expression and as a systemd calendar event."""

import re
from dataclasses import dataclass

from ragctl.errors import UsageError

DEFAULT_TIME = "03:15"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEK = [day[:3] for day in _DAYS]
# crontab(5): name, smallest and largest value of each field, and names of values in order.
FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, [_WEEK[-1], *_WEEK[:-1]]),
)
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PERIODS = "must be day, weekday, monday … sunday, hour, or like '15 minutes' or '6 hours'"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Start times in the syntax of cron and of systemd.

    From --calendar only one of the two is known; the other is "".
    """

    cron: str = ""
    systemd: str = ""


def every(period: str, at: str | None = None) -> Schedule:
    """Return the schedule for `--every` and `--at`, in local time. Raises UsageError."""
    words = period.lower().split()
    if len(words) == 2:
        return _each(words, period, at)
    word = words[0] if len(words) == 1 else ""
    if word == "hour":
        return _each(["1", "hours"], period, at)
    if word == "minute":
        return _each(["1", "minutes"], period, at)
    hour, minute = _clock(at or DEFAULT_TIME)
    clock = f"*-*-* {hour:02}:{minute:02}:00"
    if word == "day":
        return Schedule(f"{minute} {hour} * * *", clock)
    if word == "weekday":
        return Schedule(f"{minute} {hour} * * 1-5", f"Mon..Fri {clock}")
    if word in _DAYS:
        number = (_DAYS.index(word) + 1) % 7
        return Schedule(f"{minute} {hour} * * {number}", f"{word[:3].title()} {clock}")
    raise UsageError(f"--every {period!r} {_PERIODS}")


def _each(words: list[str], period: str, at: str | None) -> Schedule:
    """Return the schedule for every N minutes or hours; N divides the hour or the day.

    Only then are all intervals equally long. Raises UsageError.
    """
    number, unit = words
    per_cycle = {"minute": 60, "minutes": 60, "hour": 24, "hours": 24}.get(unit)
    if per_cycle is None or not re.fullmatch(r"[0-9]{1,2}", number):
        raise UsageError(f"--every {period!r} {_PERIODS}")
    step = int(number)
    if step < 1 or per_cycle % step or step == per_cycle:
        divisors = ", ".join(str(n) for n in range(1, per_cycle) if per_cycle % n == 0)
        raise UsageError(f"--every {period!r}: write one of {divisors} {unit}")
    steps = "*" if step == 1 else f"*/{step}"
    if per_cycle == 60:
        if at is not None:
            raise UsageError("--at needs a period of hours or days, not of minutes")
        return Schedule(f"{steps} * * * *", f"*-*-* *:{'*' if step == 1 else f'0/{step}'}:00")
    minute = _minute(at or DEFAULT_TIME)
    return Schedule(
        f"{minute} {steps} * * *", f"*-*-* {'*' if step == 1 else f'0/{step}'}:{minute:02}:00"
    )


def _clock(at: str) -> tuple[int, int]:
    """Return hour and minute of a time such as 03:15. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", at)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise UsageError(f"--at {at!r}: write a time from 00:00 to 23:59")
    return int(match[1]), int(match[2])


def _minute(at: str) -> int:
    """Return the minute of a time such as `:15` or `03:15`. Raises UsageError."""
    match = re.fullmatch(r"(?:[0-9]{1,2})?:([0-9]{2})", at)
    if match is None or int(match[1]) > 59:
        raise UsageError(f"--at {at!r}: write the minute of the hour, from :00 to :59")
    return int(match[1])


def from_cron(expression: str) -> Schedule:
    """Return the schedule of a crontab(5) expression, five fields or a nickname.

    Raises UsageError.
    """
    fields = expression.split()
    if len(fields) == 1 and fields[0] in NICKNAMES:
        return Schedule(cron=fields[0])
    if len(fields) != len(FIELDS):
        names = ", ".join(name for name, *_ in FIELDS)
        raise UsageError(f"--calendar {expression!r}: cron has five fields: {names}")
    for text, (name, minimum, maximum, value_names) in zip(fields, FIELDS, strict=True):
        if not all(_is_valid(part, minimum, maximum, value_names) for part in text.split(",")):
            raise UsageError(
                f"--calendar {expression!r}: {text!r} is not a {name}: write *, numbers from "
                f"{minimum} to {maximum}, ranges like {minimum}-{maximum}, steps like */2, "
                "separated by commas"
            )
    return Schedule(cron=" ".join(fields))


def _is_valid(part: str, minimum: int, maximum: int, value_names: list[str]) -> bool:
    match = re.fullmatch(r"(?:\*|(\w+)-(\w+))(?:/([0-9]+))?|(\w+)", part, re.ASCII)
    if match is None:
        return False
    first, last, step, single = match.groups()
    words = [word for word in (first, last, single) if word is not None]
    values = [field_value(word, value_names, minimum) for word in words]
    if any(value is None or not minimum <= value <= maximum for value in values):
        return False
    if len(values) == 2 and values != sorted(values, key=lambda value: value or 0):
        return False
    return step is None or 0 < int(step) <= maximum


def field_value(word: str, value_names: list[str], minimum: int) -> int | None:
    """Return the number that a word of a cron expression stands for; None if it is wrong."""
    if word.isdigit() and len(word) < 3:
        return int(word)
    name = word.lower()
    return value_names.index(name) + minimum if name in value_names else None


def from_calendar(expression: str) -> Schedule:
    """Return the schedule of a systemd.time(7) calendar event, unchanged.

    Raises UsageError for text that cannot be one; systemd checks the rest.
    """
    if not re.fullmatch(r"[A-Za-z0-9*~.,:/+_ -]+", expression) or not expression.strip():
        raise UsageError(f"--calendar {expression!r} is not a calendar event of systemd")
    return Schedule(systemd=expression.strip())
