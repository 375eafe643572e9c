"""An open batch job, and where new ones go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ragctl.batch.keys import KeySet
from ragctl.batch.service import BatchService, RemoteJob
from ragctl.collection.notes import BatchJobNote
from ragctl.hosts.usage import Usage


@dataclass(slots=True, eq=False)
class Job:
    """An open job. `service`: of its host, if this run can reach it.

    `remote`: the job at the host once it has ended. `loaded`: its results are in the spool.
    `errors`: some texts failed.
    `kept`: a document needs its results and waits for others, or failed.
    """

    note: BatchJobNote
    keys: KeySet
    service: BatchService | None
    remote: RemoteJob | None = None
    loaded: bool = False
    errors: bool = False
    kept: bool = False

    @property
    def label(self) -> str:
        """The job for messages."""
        made = datetime.fromtimestamp(self.note["made"], UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"batch job {self.note['remote'] or self.note['id']} of {made}"


@dataclass(slots=True)
class Submission:
    """Where new jobs go. `check`: compares the backend with the collection's canary.

    `usage` counts what is sent, at the price of a batch.
    """

    service: BatchService
    backend: str
    usage: Usage
    sources: Sequence[str]
    check: Callable[[], object]
