"""The outcome of a run: its exit code, its error and, if it has one, its report."""

import json
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ragctl.index.report import Report
from ragctl.records import Identity, Json

MAX_WEBHOOK_ITEMS = 100  # of each list: receivers limit the message size

_NO_IDENTITY = Identity(model="", dimension=0)  # for a run that ended before it was known


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        collection: The name of the collection.
        started: Seconds since 1970.
        seconds: How long the run took.
        exit_code: As in the README's table.
        error: The message, if the run failed.
        report: What the run did; None if it ended before it had a report, for example because the
            store was down or another run held the lock.
        host: The name of this machine.
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
        """Whether the run exited with 0."""
        return self.exit_code == 0

    @property
    def ended(self) -> float:
        """The end of the run, in seconds since 1970."""
        return self.started + self.seconds

    def to_json(self) -> dict[str, Json]:
        """Return the JSON report, always with all keys; `report.schema.json` describes each."""
        report = self.report or Report(self.collection, _NO_IDENTITY, left=None)
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

    def report_json(self) -> bytes:
        """Return the content of a report file: the JSON report."""
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=2)
        return text.encode("utf-8", "replace") + b"\n"

    def webhook_json(self) -> bytes:
        """Return the body for a webhook: the report with the first 100 of each list."""
        body = self.to_json()
        for key in ("failures", "warnings", "skipped_files"):
            listed = body[key]
            assert isinstance(listed, list)
            body[key] = listed[:MAX_WEBHOOK_ITEMS]
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
