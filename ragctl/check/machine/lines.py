"""The result of examining this machine: lines, each with what to do if something is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from ragctl.check.findings import Status, worst
from ragctl.errors import RagctlError
from ragctl.records import Json

NO_DETAILS: Mapping[str, Json] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Line:
    """One fact about this machine.

    Attributes:
        subject: the kind of thing: "store", "collection", "disk" …
        name: which one; "" if there is only one.
        text: what was found.
        advice: what to do about it; None if there is nothing to do.
        code: the exit code of a failure, else 0.
        details: the figures in the text, for programs.
    """

    status: Status
    subject: str
    name: str
    text: str
    advice: str | None = None
    code: int = 0
    details: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object for `--json`."""
        return {
            "status": self.status,
            "subject": self.subject,
            "name": self.name,
            "text": self.text,
            "advice": self.advice,
            "details": dict(self.details),
        }


def good(subject: str, name: str, text: str, details: Mapping[str, Json] = NO_DETAILS) -> Line:
    """Return a line about something that is in order."""
    return Line("ok", subject, name, text, details=details)


def note(
    subject: str,
    name: str,
    text: str,
    advice: str | None,
    details: Mapping[str, Json] = NO_DETAILS,
) -> Line:
    """Return a line about something that may need attention, but is no failure."""
    return Line("note", subject, name, text, advice, details=details)


def failed(
    subject: str,
    name: str,
    text: str,
    advice: str | None,
    details: Mapping[str, Json] = NO_DETAILS,
    *,
    code: int = RagctlError.exit_code,
) -> Line:
    """Return a line about something that is wrong."""
    return Line("fail", subject, name, text, advice, code, details)


@dataclass(frozen=True, slots=True)
class MachineReport:
    """All lines. `seconds`: how long the examination took."""

    lines: tuple[Line, ...]
    seconds: float

    @property
    def failures(self) -> int:
        """The number of failed lines."""
        return sum(line.status == "fail" for line in self.lines)

    @property
    def exit_code(self) -> int:
        """The code of the worst class of failures, 0 without failures."""
        return worst(line.code for line in self.lines)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object for `--json`."""
        return {
            "failures": self.failures,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "checks": [cast(Json, line.to_json()) for line in self.lines],
        }
