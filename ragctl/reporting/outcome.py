"""How a run ended, whether or not it came far enough to have a report."""

import json
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ragctl.index.report import Report
from ragctl.records import Identity, Json

_CALLED = 100  # failures and warnings that a call takes along; receivers limit what they read


_NO_IDENTITY = Identity(model="", dimension=0)  # the run ended before it was known


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """`started` is in seconds since 1970; `error` the line that an ended run ended with.

    Without a `report` the run ended before it knew anything: its store was down, or
    another run held the collection.
    """

    collection: str
    started: float
    seconds: float
    exit_code: int
    error: str | None = None
    report: Report | None = None
    host: str = field(default_factory=platform.node)

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    @property
    def ended(self) -> float:
        return self.started + self.seconds

    def to_json(self) -> dict[str, Json]:
        """The JSON report; `report.schema.json` says what each key is. All keys, always."""
        report = self.report or Report(self.collection, _NO_IDENTITY)
        body = report.to_json()
        return {
            **body,
            "identity": body["identity"] if self.report else None,
            "seconds": round(self.seconds, 3),
            "stages": body.get("stages", {}),
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "host": self.host,
            "exit_code": self.exit_code,
            "error": self.error,
        }

    def document(self) -> bytes:
        """The JSON report as a file's content."""
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=2)
        return text.encode("utf-8", "replace") + b"\n"

    def message(self) -> bytes:
        """The JSON report as the body of a call: of failures and warnings the first 100."""
        body = self.to_json()
        for key in ("failures", "warnings"):
            listed = body[key]
            assert isinstance(listed, list)
            body[key] = listed[:_CALLED]
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
