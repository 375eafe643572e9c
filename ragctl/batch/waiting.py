"""What waits for batch jobs, by a collection's notes alone: no host is asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ragctl.batch.keys import KeySet
from ragctl.collection.notes import BatchJobNote
from ragctl.collection.points import digest
from ragctl.records import Identity, Json
from ragctl.text import counted


@dataclass(frozen=True, slots=True)
class Waiting:
    """Open jobs, the texts in them, and the time of the oldest, in seconds since 1970.

    `documents`: those that a run could not write for want of their vectors.
    """

    jobs: int = 0
    texts: int = 0
    documents: int = 0
    since: int | None = None

    @classmethod
    def of(cls, notes: Sequence[BatchJobNote], documents: int = 0) -> "Waiting":
        """Return what waits for the jobs in a collection's notes."""
        return cls(
            len(notes),
            sum(job["texts"] for job in notes),
            documents,
            min((job["made"] for job in notes), default=None),
        )

    def __str__(self) -> str:
        """Return this in words; "" if nothing waits."""
        if not self.jobs:
            return ""
        since = "" if self.since is None else f" submitted since {_time(self.since)}"
        jobs = f"{counted(self.jobs, 'batch job')}{since} ({counted(self.texts, 'text')})"
        return (
            f"{counted(self.documents, 'document')} waiting for {jobs}" if self.documents else jobs
        )

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object of a report."""
        since = None if self.since is None else _time(self.since)
        return {
            "jobs": self.jobs,
            "texts": self.texts,
            "documents": self.documents,
            "since": since,
        }


class PendingTexts:
    """The texts in open jobs of one identity."""

    def __init__(self, notes: Sequence[BatchJobNote], identity: Identity) -> None:
        own = identity_digest(identity)
        self._keys = [KeySet(job["keys"]) for job in notes if job["identity"] == own]

    def __contains__(self, text_hash: str) -> bool:
        return any(text_hash in keys for keys in self._keys)


def identity_digest(identity: Identity) -> str:
    """Return the digest of an identity that a job's note has."""
    return digest(repr(sorted(identity.to_json().items())).encode())


def job_rows(notes: Sequence[BatchJobNote]) -> Iterator[dict[str, Json]]:
    """Yield the JSON object of each open job, for `ragctl status`."""
    for job in notes:
        yield {
            "id": job["id"],
            "backend": job["backend"],
            "remote": job["remote"],
            "texts": job["texts"],
            "tokens": job["tokens"],
            "submitted": _time(job["made"]),
            "problem": job["refused"],
        }


def problems(notes: Sequence[BatchJobNote]) -> Iterator[str]:
    """Yield a sentence for each job whose vectors may not be used."""
    for job in notes:
        if job["refused"] is not None:
            yield f"{job['remote'] or job['id']} at {job['backend']} is refused: {job['refused']}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
