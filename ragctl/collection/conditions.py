"""Conditions on payloads, which select the points of a read or a search."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ragctl.collection.payload import PayloadKey

MAX_FILTER_VALUES = 256
"""Maximum values of one Match in the filters that ragctl builds itself."""


@dataclass(frozen=True, slots=True)
class Match:
    """The field `key` equals one of `values`. Dots in `key` reach into objects.

    A field that holds a list matches when any of its elements does.
    """

    key: str
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The field `key` is a number or a time within bounds; None leaves a side open.

    Bounds given as text compare times: RFC 3339, or a date alone, which means midnight;
    without an offset they are UTC. A stored text that is not a time is in no range.
    """

    key: str
    gte: float | str | None = None
    gt: float | str | None = None
    lte: float | str | None = None
    lt: float | str | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keyword field `key` begins with `text`; case matters."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Has:
    """The field `key` exists and is neither null nor an empty list."""

    key: str


@dataclass(frozen=True, slots=True)
class HasId:
    """The id of the point is one of `ids`, as text."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the conditions holds; without conditions nothing matches."""

    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of the conditions hold."""

    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class NoneOf:
    """None of the conditions holds. A condition on a missing field does not hold."""

    of: "tuple[Condition, ...]"


Condition: TypeAlias = Match | Between | Prefix | Has | HasId | AnyOf | AllOf | NoneOf
Where: TypeAlias = tuple[Condition, ...]  # all must hold


def own_match(key: PayloadKey, *values: str) -> Match:
    """Return a match on one of ragctl's own payload fields."""
    return Match(key, values)


def own_matches(key: PayloadKey, values: Sequence[str]) -> Iterator[Where]:
    """Yield filters that together select every value, MAX_FILTER_VALUES in each."""
    for first in range(0, len(values), MAX_FILTER_VALUES):
        yield (own_match(key, *values[first : first + MAX_FILTER_VALUES]),)
