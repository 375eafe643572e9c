"""The report of a run or a plan: what was done, in numbers and names."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from ragctl.batch.waiting import Waiting
from ragctl.hosts.usage import UsageTotals, dollars_json
from ragctl.records import Identity, Json
from ragctl.sources import SkippedFiles
from ragctl.stores.size import Size


@dataclass(slots=True)
class DocumentCounts:
    """Numbers of documents. A document counts once: a renamed one is not also added.

    A run counts a document as added, updated or renamed when the store has acknowledged its mark.
    """

    added: int = 0
    updated: int = 0
    renamed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0


@dataclass(slots=True)
class ChunkCounts:
    """Numbers of chunks. A run counts what the store has acknowledged; a plan what it would do.

    `embedded`: embedded and stored. `reused`: written or kept without embedding. `deleted`:
    points removed. `unstored`: embedded, but not stored, because the run ended before, or the
    document failed; they are paid for.
    """

    embedded: int = 0
    reused: int = 0
    deleted: int = 0
    unstored: int = 0


@dataclass(frozen=True, slots=True)
class DocumentFailure:
    """A failure of, or a warning about, one document.

    `source`: the document, or for a warning about something else its name ("budget").
    `file`: the document's file, if the run read one. `postponed`: it failed in an earlier
    run and was not retried in this one. `documents`: how many failed, if the source is a file
    with several.
    """

    source: str
    error: str
    file: str | None = None
    postponed: bool = False
    documents: int = 1


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan would do with one document.

    `what`: added, updated, renamed (from `was`), rechunked, repaired, restamped (same
    content, other time or root) or removed. `embedded`, `reused` and `waiting` (for a batch job)
    are numbers of chunks,
    `tokens` those to be sent, as o200k_base counts them.
    """

    source: str
    what: str
    why: str
    embedded: int = 0
    reused: int = 0
    tokens: int = 0
    was: str | None = None
    waiting: int = 0

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object of this change."""
        return {
            "source": self.source,
            "what": self.what,
            "why": self.why,
            "chunks": {
                "embedded": self.embedded,
                "reused": self.reused,
                "waiting": self.waiting,
            },
            "tokens": self.tokens,
            "was": self.was,
        }


@dataclass(slots=True)
class Report:
    """What a run did, or what a plan would do.

    `identity`: of the collection. `tokens`: billed by the backends; for a backend that
    does not report them, and for a plan, the o200k_base tokens of the texts. `requests`: embedding
    requests sent, including failed ones; none for a model in this process. `cost`: US dollars at
    list price; None if a price is unknown. `backends`: the usage of each backend that was called.
    `changes`: of a plan only, by document. `size`: of a plan only, the collection afterwards.
    `server`: of a plan for a new collection, its options on a Qdrant server. `skipped`: what was
    left out. `elsewhere`: number of documents that are not among the sources, left alone. `left`:
    number of files not finished, if the run stopped early; None if it stopped before it had a
    plan. `waiting`: what waits for batch jobs.
    `verified`: number of points that the run checked before it made its plan; `damaged`: number
    of documents that it found damaged. `stages`: seconds by stage; reading, embedding and writing
    overlap. `seconds`: of the whole run.
    """

    collection: str
    identity: Identity
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    chunks: ChunkCounts = field(default_factory=ChunkCounts)
    tokens: int = 0
    requests: int = 0
    cost: float | None = 0.0
    backends: list[dict[str, Json]] = field(default_factory=list)
    changes: list[Change] | None = None
    size: Size | None = None
    server: dict[str, Json] = field(default_factory=dict)
    failures: list[DocumentFailure] = field(default_factory=list)
    warnings: list[DocumentFailure] = field(default_factory=list)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    elsewhere: int = 0
    left: int | None = 0
    waiting: Waiting = field(default_factory=Waiting)
    verified: int = 0
    damaged: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def add_failure(
        self, source: str, error: str, file: str | None = None, documents: int = 1
    ) -> None:
        """Record that a document, or several of a file, failed."""
        self.add_failures([DocumentFailure(source, error, file, documents=documents)])

    def add_failures(self, failures: Sequence[DocumentFailure]) -> None:
        """Record failed documents."""
        self.documents.failed += sum(failure.documents for failure in failures)
        self.failures += failures

    def add_warning(self, source: str, text: str) -> None:
        """Record a warning about a document, a backend or a setting."""
        self.warnings.append(DocumentFailure(source, text))

    def failed_more_than(self, percent: float) -> bool:
        """Return whether more than `percent` of all documents failed; for 0, whether any did."""
        counts = self.documents
        indexed = counts.added + counts.updated + counts.renamed + counts.unchanged
        return counts.failed > 0 and 100 * counts.failed > percent * (indexed + counts.failed)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the enclosed block to the stage `name`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - began

    def add(self, other: "Report") -> None:
        """Add what another run did."""
        for counts, more in ((self.documents, other.documents), (self.chunks, other.chunks)):
            for name, value in asdict(more).items():
                setattr(counts, name, getattr(counts, name) + value)
        self.tokens += other.tokens
        self.requests += other.requests
        unknown = self.cost is None or other.cost is None
        self.cost = None if unknown else (self.cost or 0.0) + (other.cost or 0.0)
        self.backends = [*self.backends, *other.backends]
        self.failures += other.failures
        self.warnings += other.warnings
        self.left = other.left
        self.waiting = other.waiting

    def set_usage(self, usage: UsageTotals) -> None:
        """Copy requests, tokens and cost. A backend that was not called is left out."""
        self.requests = usage.requests
        self.tokens = usage.tokens
        self.cost = usage.cost
        self.backends = [
            backend.to_json() for backend in usage.usages if backend.requests or backend.texts
        ]

    def to_json(self) -> dict[str, Json]:
        """Return the report as JSON; `reporting/report.schema.json` describes each key."""
        whole: dict[str, Json] = {
            "collection": self.collection,
            "identity": self.identity.to_json(),
            "documents": dict(asdict(self.documents)),
            "chunks": dict(asdict(self.chunks)),
            "tokens": self.tokens,
            "requests": self.requests,
            "cost": dollars_json(self.cost),
            "backends": list(self.backends),
            "failures": [
                {"source": f.source, "error": f.error, "waiting": f.postponed}
                for f in self.failures
            ],
            "warnings": [{"source": w.source, "warning": w.error} for w in self.warnings],
            **self.skipped.to_json(),
            "elsewhere": self.elsewhere,
            "left": self.left,
            "waiting": self.waiting.to_json(),
            "verified": self.verified,
            "damaged": self.damaged,
            "stages": {name: round(spent, 3) for name, spent in self.stages.items()},
            "seconds": round(self.seconds, 3),
        }
        if self.changes is not None:
            whole["changes"] = [change.to_json() for change in self.changes]
        if self.size is not None:
            whole["size"] = self.size.to_json()
        if self.server:
            whole["server"] = self.server
        return whole
