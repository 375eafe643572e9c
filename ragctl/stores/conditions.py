"""Conditions made ready for an engine: checked, and without what it cannot be asked."""

import math
from collections.abc import Callable, Iterable, Mapping
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

Beginning = Callable[[Prefix], Iterable[str]]
"""The stored values of a field that begin with a text."""


NOTHING = AnyOf(())


def settled(
    where: Where,
    fields: Mapping[str, str],
    beginning: Beginning | None = None,
    *,
    held: bool = False,
) -> Where:
    """`where` as an engine may be asked for it. Raises UsageError for bounds that are none.

    `fields`: the types of indexed fields. An index of numbers answers a question for times
    with numbers, and the other way round: such a range is one that nothing is in.
    `beginning`: for an engine that knows no prefixes. `held`: a value is asked for only
    where the field's index may hold it; an engine that filters by indexes alone refuses
    all of a condition otherwise.
    """
    return tuple(_settled(condition, fields, beginning, held) for condition in where)


def _settled(
    condition: Condition, fields: Mapping[str, str], beginning: Beginning | None, held: bool
) -> Condition:
    match condition:
        case Between():
            times, _ = bounds(condition)
            kind = fields.get(condition.key)
            other = kind in ("integer", "float") if times else kind == "datetime"
            return NOTHING if other else condition
        case Match() if held and condition.key in fields:
            return _held(condition, fields[condition.key])
        case Prefix() if beginning is not None:
            values = tuple(sorted(beginning(condition)))
            return Match(condition.key, values) if values else NOTHING
        case AnyOf() | AllOf() | NoneOf():
            return replace(condition, of=settled(condition.of, fields, beginning, held=held))
        case _:
            return condition


def _held(match: Match, kind: str) -> Condition:
    """What of a match an index of this kind may hold; equal numbers and times as ranges."""
    key = match.key
    if kind == "float":
        numbers = [value for value in match.values if type(value) is int]
        return AnyOf(tuple(Between(key, gte=number, lte=number) for number in numbers))
    if kind == "datetime":
        times = [value for value in match.values if isinstance(value, str) and _is_time(value)]
        return AnyOf(tuple(Between(key, gte=time, lte=time) for time in times))
    wanted = {"integer": int, "bool": bool}.get(kind, str)
    values = tuple(value for value in match.values if type(value) is wanted)
    return Match(key, values) if values else NOTHING


def bounds(between: Between) -> tuple[bool, dict[str, float | str]]:
    """Whether they are times, and the bounds there are, by the engine's names.

    Times come as RFC 3339 in UTC. Raises UsageError.
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
    """A time in RFC 3339, in UTC. Raises UsageError."""
    try:
        time = datetime.fromisoformat(text.strip())
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        raise UsageError(
            f"{text!r} is no date or time; write 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return time.isoformat().replace("+00:00", "Z")
