"""Conditions prepared for an engine: checked, and without what the engine cannot answer."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    Match,
    NoneOf,
    Prefix,
    Where,
)
from ragctl.errors import UsageError

ValuesWithPrefix = Callable[[Prefix], Iterable[str]]
"""Returns the stored values of a field that begin with a text."""

NOTHING = AnyOf(())


def prepare(
    where: Where,
    fields: Mapping[str, str],
    values_with_prefix: ValuesWithPrefix | None = None,
    *,
    indexed_only: bool = False,
) -> Where:
    """Return `where` in a form that the engine answers correctly.

    `fields`: the types of the indexed fields. A range of another type than its field's
    matches nothing; an index of numbers would answer a question for times with numbers.
    `values_with_prefix`: for engines without prefix conditions. `indexed_only`: leave out
    values that the field's index cannot hold; an engine that filters by indexes alone
    would refuse the whole condition. Raises UsageError for invalid bounds.
    """
    return tuple(
        _prepared(condition, fields, values_with_prefix, indexed_only) for condition in where
    )


def _prepared(
    condition: Condition,
    fields: Mapping[str, str],
    values_with_prefix: ValuesWithPrefix | None,
    indexed_only: bool,
) -> Condition:
    match condition:
        case Between():
            times, _ = bounds(condition)
            kind = fields.get(condition.key)
            other_type = kind in ("integer", "float") if times else kind == "datetime"
            return NOTHING if other_type else condition
        case Match() if indexed_only and condition.key in fields:
            return _values_of_type(condition, fields[condition.key])
        case Prefix() if values_with_prefix is not None:
            values = tuple(sorted(values_with_prefix(condition)))
            return Match(condition.key, values) if values else NOTHING
        case AnyOf() | AllOf() | NoneOf():
            of = prepare(condition.of, fields, values_with_prefix, indexed_only=indexed_only)
            return replace(condition, of=of)
        case _:
            return condition


def _values_of_type(match: Match, kind: str) -> Condition:
    """Return the match with the values that an index of this type can hold.

    Equal numbers and times become ranges.
    """
    key = match.key
    if kind == "float":
        numbers = [value for value in match.values if type(value) is int]
        return AnyOf(tuple(Between(key, gte=number, lte=number) for number in numbers))
    if kind == "datetime":
        times = [value for value in match.values if isinstance(value, str) and _is_time(value)]
        return AnyOf(tuple(Between(key, gte=time, lte=time) for time in times))
    python_type = {"integer": int, "bool": bool}.get(kind, str)
    values = tuple(value for value in match.values if type(value) is python_type)
    return Match(key, values) if values else NOTHING


def split(where: Where, most: int) -> Iterator[Where]:
    """Yield filters that together select what `where` does, each with few values in a match.

    Only the outermost matches are split, into `most` values each; a point may be selected twice.
    """
    for position, condition in enumerate(where):
        if isinstance(condition, Match) and len(condition.values) > most:
            before, after = where[:position], where[position + 1 :]
            for first in range(0, len(condition.values), most):
                part = Match(condition.key, condition.values[first : first + most])
                yield from split((*before, part, *after), most)
            return
    yield where


def bounds(between: Between) -> tuple[bool, dict[str, float | str]]:
    """Return whether the bounds are times, and those given, by the engine's names.

    Times come as RFC 3339 in UTC. Raises UsageError for bounds that are invalid, missing,
    or of both kinds.
    """
    named = {"gte": between.gte, "gt": between.gt, "lte": between.lte, "lt": between.lt}
    given = {name: bound for name, bound in named.items() if bound is not None}
    times = [isinstance(bound, str) for bound in given.values()]
    if not given or any(times) != all(times):
        raise UsageError(f"range of {between.key}: give numbers, or times on all sides")
    if all(times):
        return True, {name: moment(str(bound)) for name, bound in given.items()}
    numbers = {name: float(bound) for name, bound in given.items()}
    if not all(map(math.isfinite, numbers.values())):
        raise UsageError(f"range of {between.key}: give finite numbers")
    return False, dict(numbers)


def _is_time(text: str) -> bool:
    try:
        return bool(moment(text))
    except UsageError:
        return False


def moment(text: str) -> str:
    """Return a date or time as RFC 3339 in UTC. Raises UsageError for other text."""
    try:
        time = datetime.fromisoformat(text.strip())
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        raise UsageError(
            f"{text!r} is not a date or time; write 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return time.isoformat().replace("+00:00", "Z")
