"""Conditions on payloads, by which a read or a search selects points."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Match:
    """Payload `key` (dots reach into objects) holds one of `values`.

    A field that holds a list matches when any of its elements does.
    """

    key: str
    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """A payload number, or a time, within bounds; None: open.

    Bounds that are texts compare times: RFC 3339, or a date alone, which is its midnight;
    without an offset they are UTC. A stored text that is no time is in no range.
    """

    key: str
    least: float | str | None = None  # value >= least
    above: float | str | None = None  # value > above
    most: float | str | None = None  # value <= most
    below: float | str | None = None  # value < below


@dataclass(frozen=True, slots=True)
class Prefix:
    """A keyword field begins with a text, in the same case."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Has:
    """A payload field is there, and neither null nor an empty list."""

    key: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the conditions; none of them where there are none."""

    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class AllOf:
    of: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class NoneOf:
    """None of the conditions holds; of a field that is not there, none does."""

    of: "tuple[Condition, ...]"


Condition: TypeAlias = Match | Between | Prefix | Has | AnyOf | AllOf | NoneOf
Where: TypeAlias = tuple[Condition, ...]  # all of them
