"""The times at which a schedule starts a job: the last one before now, and the next one."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache

from ragctl.schedule.when import FIELDS, NICKNAMES, field_value

_MAX_DAYS = 366 * 8 + 1  # 29 February may be missing for eight years
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CALENDAR = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:\.\.(?P<last>[a-z]{3}))?\s+)?\*-\*-\*\s+"
    r"(?P<hour>\*|\d+)(?:/(?P<hours>\d+))?:(?P<minute>\*|\d+)(?:/(?P<minutes>\d+))?:00",
    re.IGNORECASE,
)


def last_start(cron: str, now: datetime) -> datetime | None:
    """Return the last start at or before `now`, a naive local time; None if there is none."""
    days = (now.date() - timedelta(days=number) for number in range(_MAX_DAYS))
    starts = (start for day in days for start in reversed(_starts(cron, day)))
    return next((start for start in starts if start <= now), None)


def next_start(cron: str, now: datetime) -> datetime | None:
    """Return the first start after `now`, a naive local time; None if there is none."""
    days = (now.date() + timedelta(days=number) for number in range(_MAX_DAYS))
    starts = (start for day in days for start in _starts(cron, day))
    return next((start for start in starts if start > now), None)


def as_cron(calendar: str) -> str | None:
    """Return a calendar event of systemd as a cron expression.

    None for an event that is not of the forms that `every` makes.
    """
    found = _CALENDAR.fullmatch(calendar.strip())
    if found is None:
        return None
    try:
        days = [
            str((_WEEK.index(found[name].lower()) + 1) % 7)
            for name in ("first", "last")
            if found[name]
        ]
    except ValueError:
        return None
    hour = _cron_field(found["hour"], found["hours"], 23)
    minute = _cron_field(found["minute"], found["minutes"], 59)
    return f"{minute} {hour} * * {'-'.join(days) or '*'}"


def _cron_field(start: str, step: str | None, maximum: int) -> str:
    if step is None or start == "*":
        return start
    return f"{start}-{maximum}/{step}"


def _starts(cron: str, day: date) -> list[datetime]:
    """Return the starts on one day, in order."""
    minutes, hours, month_days, months, week_days = _values(cron)
    if day.month not in months:
        return []
    in_month, in_week = day.day in month_days, day.isoweekday() % 7 in week_days
    _, _, month_day_text, _, week_day_text = _fields(cron)
    # crontab(5): if both day fields are restricted, one of them is enough.
    both = not month_day_text.startswith("*") and not week_day_text.startswith("*")
    if not ((in_month or in_week) if both else (in_month and in_week)):
        return []
    return [
        datetime(day.year, day.month, day.day, hour, minute)
        for hour in sorted(hours)
        for minute in sorted(minutes)
    ]


def _fields(cron: str) -> list[str]:
    return NICKNAMES.get(cron, cron).split()


@cache
def _values(cron: str) -> tuple[frozenset[int], ...]:
    """Return the values of each field; 7 as a day of the week is 0, Sunday."""
    fields = _fields(cron)
    values = [
        frozenset(number for part in text.split(",") for number in _part(part, low, high, names))
        for text, (_, low, high, names) in zip(fields, FIELDS, strict=True)
    ]
    return *values[:4], frozenset(number % 7 for number in values[4])


def _part(part: str, minimum: int, maximum: int, names: list[str]) -> Iterator[int]:
    span, _, step = part.partition("/")
    first, dash, last = span.partition("-")
    if span == "*":
        start, end = minimum, maximum
    else:
        start = _number(first, names, minimum)
        end = _number(last, names, minimum) if dash else start
    yield from range(start, end + 1, int(step or 1))


def _number(word: str, names: list[str], minimum: int) -> int:
    value = field_value(word, names, minimum)
    if value is None:
        raise ValueError(word)
    return value
