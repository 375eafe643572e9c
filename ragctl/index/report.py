"""What a run did, counted; the JSON of `ragctl ingest --json`."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ragctl.hosts.usage import UsageTotals
from ragctl.records import Json
from ragctl.stores.size import Size


@dataclass(slots=True)
class Documents:
    added: int = 0
    updated: int = 0
    renamed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0


@dataclass(slots=True)
class Chunks:
    """`reused`: written or kept without embedding. `deleted`: points removed."""

    embedded: int = 0
    reused: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class DocumentFailure:
    """`file`: of the document, where the run had one to read. `postponed`: not tried again."""

    source: str
    error: str
    file: str | None = None
    postponed: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan would do with one document.

    `what`: added, updated, renamed (`was` says from where), rechunked, repaired,
    restamped (the same content with another time or place) or removed.
    """

    source: str
    what: str
    why: str
    embedded: int = 0  # chunks
    reused: int = 0
    tokens: int = 0
    was: str | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            "source": self.source,
            "what": self.what,
            "why": self.why,
            "chunks": {"embedded": self.embedded, "reused": self.reused},
            "tokens": self.tokens,
            "was": self.was,
        }


@dataclass(slots=True)
class Report:
    collection: str
    identity: Mapping[str, Json]
    documents: Documents = field(default_factory=Documents)
    chunks: Chunks = field(default_factory=Chunks)
    tokens: int = 0  # billed by the backend where it says so, else o200k_base tokens sent
    requests: int = 0
    cost: float | None = None  # US dollars at list price; None where no price is known
    backends: list[dict[str, Json]] = field(default_factory=list)
    changes: list[Change] | None = None  # of a plan
    size: Size | None = None  # of the collection, when a plan is carried out
    failures: list[DocumentFailure] = field(default_factory=list)
    warnings: list[DocumentFailure] = field(default_factory=list)
    skipped: int = 0  # files of unknown type
    elsewhere: int = 0  # documents of other roots, left alone
    left: int = 0  # files that a run which ended early did not come to
    stages: dict[str, float] = field(default_factory=dict)  # seconds; reading, embedding and
    seconds: float = 0.0  # writing overlap

    def add_failure(
        self, source: str, error: str, file: str | None = None, postponed: bool = False
    ) -> None:
        self.documents.failed += 1
        self.failures.append(DocumentFailure(source, error, file, postponed))

    def failed_more_than(self, percent: float) -> bool:
        """Whether more than that share of the documents failed; at 0, whether any did."""
        done = self.documents
        stand = done.added + done.updated + done.renamed + done.unchanged
        return done.failed > 0 and 100 * done.failed > percent * (stand + done.failed)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the seconds of a part of the run."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - began

    def add_warning(self, source: str, text: str) -> None:
        self.warnings.append(DocumentFailure(source, text))

    def set_usage(self, bill: UsageTotals) -> None:
        """Take over what was sent to whom and at what price. A backend never asked is left out."""
        self.requests = bill.requests
        self.tokens = bill.tokens
        self.cost = bill.cost
        self.backends = [account.to_json() for account in bill.usages if account.requests]

    def to_json(self) -> dict[str, Json]:
        whole: dict[str, Json] = {
            "collection": self.collection,
            "identity": dict(self.identity),
            "documents": {
                name: getattr(self.documents, name) for name in Documents.__dataclass_fields__
            },
            "chunks": {name: getattr(self.chunks, name) for name in Chunks.__dataclass_fields__},
            "tokens": self.tokens,
            "requests": self.requests,
            "cost": None if self.cost is None else round(self.cost, 8),
            "backends": list(self.backends),
            "failures": [
                {"source": f.source, "error": f.error, "waiting": f.postponed}
                for f in self.failures
            ],
            "warnings": [{"source": w.source, "warning": w.error} for w in self.warnings],
            "skipped": self.skipped,
            "elsewhere": self.elsewhere,
            "left": self.left,
            "stages": {name: round(spent, 3) for name, spent in self.stages.items()},
            "seconds": round(self.seconds, 3),
        }
        if self.changes is not None:
            whole["changes"] = [change.to_json() for change in self.changes]
        if self.size is not None:
            whole["size"] = self.size.to_json()
        return whole


class Progress:
    """What a caller may watch; this one watches nothing."""

    def file(self, size: int) -> None:
        """A file of `size` bytes was read."""

    def tokens(self, count: int) -> None:
        """So many tokens were embedded."""
