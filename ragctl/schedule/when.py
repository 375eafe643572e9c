"""When a job is started, as cron and as systemd write it."""

import re
from dataclasses import dataclass

from ragctl.errors import UsageError

AT = "03:15"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEK = [day[:3] for day in _DAYS]
# crontab(5): the fields, their least and greatest values, and names from the least on.
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, [_WEEK[-1], *_WEEK[:-1]]),
)
_NICKNAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_WORDS = "day, weekday, monday … sunday, hour, or as 15 minutes, 6 hours"


@dataclass(frozen=True, slots=True)
class When:
    """One of them may be "": an expression was given for the other alone."""

    cron: str = ""
    systemd: str = ""


def every(period: str, at: str | None = None) -> When:
    """The times that `--every` and `--at` name, local time. Raises UsageError."""
    words = period.lower().split()
    if len(words) == 2:
        return _each(words, period, at)
    word = words[0] if len(words) == 1 else ""
    if word == "hour":
        return _each(["1", "hours"], period, at)
    if word == "minute":
        return _each(["1", "minutes"], period, at)
    hour, minute = _clock(at or AT)
    clock = f"*-*-* {hour:02}:{minute:02}:00"
    if word == "day":
        return When(f"{minute} {hour} * * *", clock)
    if word == "weekday":
        return When(f"{minute} {hour} * * 1-5", f"Mon..Fri {clock}")
    if word in _DAYS:
        number = (_DAYS.index(word) + 1) % 7
        return When(f"{minute} {hour} * * {number}", f"{word[:3].title()} {clock}")
    raise UsageError(f"--every {period!r}: {_WORDS}")


def _each(words: list[str], period: str, at: str | None) -> When:
    """Every so many minutes or hours: parts of an hour or a day, so that all are of one length."""
    number, unit = words
    whole = {"minute": 60, "minutes": 60, "hour": 24, "hours": 24}.get(unit)
    if whole is None or not re.fullmatch(r"[0-9]{1,2}", number):
        raise UsageError(f"--every {period!r}: {_WORDS}")
    step = int(number)
    if step < 1 or whole % step or step == whole:
        fitting = ", ".join(str(n) for n in range(1, whole) if whole % n == 0)
        raise UsageError(f"--every {period!r}: one of {fitting} {unit}")
    steps = "*" if step == 1 else f"*/{step}"
    if whole == 60:
        if at is not None:
            raise UsageError("--at goes with hours and days, not with minutes")
        return When(f"{steps} * * * *", f"*-*-* *:{'*' if step == 1 else f'0/{step}'}:00")
    minute = _minute(at or AT)
    return When(
        f"{minute} {steps} * * *", f"*-*-* {'*' if step == 1 else f'0/{step}'}:{minute:02}:00"
    )


def _clock(at: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", at)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise UsageError(f"--at {at!r}: a time from 00:00 to 23:59")
    return int(match[1]), int(match[2])


def _minute(at: str) -> int:
    """The minute of `:15`, of every hour."""
    match = re.fullmatch(r"(?:[0-9]{1,2})?:([0-9]{2})", at)
    if match is None or int(match[1]) > 59:
        raise UsageError(f"--at {at!r}: the minute of the hour, from :00 to :59")
    return int(match[1])


def of_cron(expression: str) -> When:
    """An expression of crontab(5): five fields, or a nickname. Raises UsageError."""
    fields = expression.split()
    if len(fields) == 1 and fields[0] in _NICKNAMES:
        return When(cron=fields[0])
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, *_ in _FIELDS)
        raise UsageError(f"--calendar {expression!r}: cron has five fields: {names}")
    for text, (name, least, most, words) in zip(fields, _FIELDS, strict=True):
        if not all(_is_right(part, least, most, words) for part in text.split(",")):
            raise UsageError(
                f"--calendar {expression!r}: {text!r} is no {name}: *, numbers from {least} "
                f"to {most}, ranges as {least}-{most}, steps as */2, joined by commas"
            )
    return When(cron=" ".join(fields))


def _is_right(part: str, least: int, most: int, words: list[str]) -> bool:
    match = re.fullmatch(r"(?:\*|(\w+)-(\w+))(?:/([0-9]+))?|(\w+)", part, re.ASCII)
    if match is None:
        return False
    first, last, step, single = match.groups()
    values = [_value(word, words, least) for word in (first, last, single) if word is not None]
    if any(value is None or not least <= value <= most for value in values):
        return False
    if len(values) == 2 and values != sorted(values, key=lambda value: value or 0):
        return False
    return step is None or 0 < int(step) <= most


def _value(word: str, words: list[str], least: int) -> int | None:
    if word.isdigit() and len(word) < 3:
        return int(word)
    return words.index(word.lower()) + least if word.lower() in words else None


def of_calendar(expression: str) -> When:
    """An expression of systemd.time(7), as it stands. Raises UsageError for what is surely none."""
    if not re.fullmatch(r"[A-Za-z0-9*~.,:/+_ -]+", expression) or not expression.strip():
        raise UsageError(f"--calendar {expression!r} is no calendar event of systemd")
    return When(systemd=expression.strip())
