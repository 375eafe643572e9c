"""What a run did, counted; the JSON of `ragctl ingest --json`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ragctl.embedding.usage import Bill
from ragctl.records import Json


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
class Failure:
    source: str
    error: str


@dataclass(slots=True)
class Report:
    collection: str
    identity: Mapping[str, Json]
    documents: Documents = field(default_factory=Documents)
    chunks: Chunks = field(default_factory=Chunks)
    tokens: int = 0  # billed by the provider where it says so, else o200k_base tokens sent
    requests: int = 0
    cost: float | None = None  # US dollars at list price; None where no price is known
    providers: list[dict[str, Json]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[Failure] = field(default_factory=list)
    skipped: int = 0  # files of unknown type
    elsewhere: int = 0  # documents of other roots, left alone
    seconds: float = 0.0

    def fail(self, source: str, error: str) -> None:
        self.documents.failed += 1
        self.failures.append(Failure(source, error))

    def warn(self, source: str, text: str) -> None:
        self.warnings.append(Failure(source, text))

    def bill(self, bill: Bill) -> None:
        """Take over what was sent to whom and at what price. A provider never asked is left out."""
        self.requests = bill.requests
        self.tokens = bill.tokens
        self.cost = bill.cost
        self.providers = [account.to_json() for account in bill.accounts if account.requests]

    def to_json(self) -> dict[str, Json]:
        return {
            "collection": self.collection,
            "identity": dict(self.identity),
            "documents": {
                name: getattr(self.documents, name) for name in Documents.__dataclass_fields__
            },
            "chunks": {name: getattr(self.chunks, name) for name in Chunks.__dataclass_fields__},
            "tokens": self.tokens,
            "requests": self.requests,
            "cost": None if self.cost is None else round(self.cost, 8),
            "providers": list(self.providers),
            "failures": [{"source": f.source, "error": f.error} for f in self.failures],
            "warnings": [{"source": w.source, "warning": w.error} for w in self.warnings],
            "skipped": self.skipped,
            "elsewhere": self.elsewhere,
            "seconds": round(self.seconds, 3),
        }


class Progress:
    """What a caller may watch; this one watches nothing."""

    def file(self, size: int) -> None:
        """A file of `size` bytes was read."""

    def tokens(self, count: int) -> None:
        """So many tokens were embedded."""
