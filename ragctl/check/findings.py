"""The results of a check: a Finding for each test, and the measured figures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from ragctl.embedding import Canary
from ragctl.errors import BackendError, IdentityMismatch, RagctlError, StoreError, UsageError
from ragctl.records import Json

Status = Literal["ok", "fail", "note", "skip"]

EXIT_PRIORITY = (StoreError, IdentityMismatch, BackendError, UsageError)
"""Classes of failures; the first one that occurred decides the exit code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one test. `what`: the subject, in a word or two; `text`: a sentence.

    A note is information, not a failure; what is skipped was not checked. `code` is the exit
    code of a failure, 0 otherwise.
    """

    status: Status
    what: str
    text: str
    code: int = 0

    def to_json(self) -> Json:
        """Return the JSON object for `--json`."""
        return {"status": self.status, "what": self.what, "text": self.text}


def good(what: str, text: str) -> Finding:
    """Return the finding of a passed test."""
    return Finding("ok", what, text)


def note(what: str, text: str) -> Finding:
    """Return a finding that is information, not a failure."""
    return Finding("note", what, text)


def skipped(what: str, reason: str) -> Finding:
    """Return the finding of a test that was not made, with the reason."""
    return Finding("skip", what, f"not checked: {reason}")


def failed(what: str, error: RagctlError) -> Finding:
    """Return the finding of a failed test, with the error's message and exit code."""
    return Finding("fail", what, str(error), error.exit_code)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The store, and the pipeline's collection in it. None: unknown.

    `milliseconds` is the time to open the store, list its collections (`names`) and open
    the pipeline's. `version` is the server's; `points` is the collection's count.
    """

    location: str
    collection: str
    findings: tuple[Finding, ...]
    milliseconds: float | None = None
    version: str | None = None
    names: tuple[str, ...] | None = None
    exists: bool | None = None
    points: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object for `--json`."""
        return {
            "location": self.location,
            "version": self.version,
            "milliseconds": _rounded(self.milliseconds, 1),
            "collections": None if self.names is None else list(self.names),
            "collection": self.collection,
            "exists": self.exists,
            "points": self.points,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """A backend's answer to one text.

    `tokens` are those billed, 0 if the backend does not say. `length` is the number of
    dimensions and `norm` the Euclidean length of the vector as received, before it was cut
    or normalised here.
    """

    milliseconds: float
    tokens: int
    length: int
    norm: float

    def to_json(self) -> Json:
        """Return the JSON object for `--json`."""
        return {
            "milliseconds": _rounded(self.milliseconds, 1),
            "tokens": self.tokens or None,
            "length": self.length,
            "norm": _rounded(self.norm, 6),
        }


@dataclass(frozen=True, slots=True)
class CertificateReport:
    """What a certification sent to a backend, and what it compared the answers with.

    `estimated_tokens`: stated before anything was sent; `estimated_cost`: in US dollars, None:
    unknown. `tokens`: billed, 0 if the backend does not say. `cosines`: by reference, the lowest
    of documents and that of the query.
    """

    estimated_tokens: int
    estimated_cost: float | None
    texts: int = 0
    requests: int = 0
    tokens: int = 0
    cosines: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> Json:
        """Return the JSON object for `--json`."""
        return {
            "estimated_tokens": self.estimated_tokens,
            "estimated_cost": self.estimated_cost,
            "texts": self.texts,
            "requests": self.requests,
            "tokens": self.tokens or None,
            "compared_with": {name: _cosines_json(pair) for name, pair in self.cosines.items()},
        }


@dataclass(frozen=True, slots=True)
class BackendReport:
    """One backend, tested on its own. None: unknown, or not checked.

    `name` is short and unique among the backends of a check; `label` includes the address.
    `model` is the model's name at the backend, `key` the source of the API key. `cosine` is
    between one text as a document and as a query; `cut` is between the vector cut by the
    host and its whole vector cut here. `canary` has its vectors of the canary texts, and
    `agreement` their smallest cosines (documents, queries) to the collection's. `certificate`:
    of a certification.
    """

    name: str
    label: str
    findings: tuple[Finding, ...]
    model: str | None = None
    key: str | None = None
    document: Reply | None = None
    query: Reply | None = None
    cosine: float | None = None
    cut: float | None = None
    canary: Canary | None = field(default=None, repr=False)
    agreement: tuple[float, float] | None = None
    certificate: CertificateReport | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object for `--json`."""
        return {
            "backend": self.name,
            "place": self.label,
            "model": self.model,
            "key": self.key,
            "document": self.document.to_json() if self.document else None,
            "query": self.query.to_json() if self.query else None,
            "cosine": _rounded(self.cosine, 6),
            "cut": _rounded(self.cut, 6),
            "canary": _cosines_json(self.agreement),
            "certificate": self.certificate.to_json() if self.certificate else None,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two backends of one run: the smallest cosines (documents, queries) of their canaries."""

    names: tuple[str, str]
    cosines: tuple[float, float]
    finding: Finding

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object for `--json`."""
        return {
            "backends": list(self.names),
            "canary": _cosines_json(self.cosines),
            "findings": [self.finding.to_json()],
        }


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of a check. `model` and `dim` are None if they could not be determined.

    `notes` are about the model, independent of the backend.
    """

    model: str | None
    dim: int | None
    task: str | None
    store: StoreReport
    backends: tuple[BackendReport, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    notes: tuple[Finding, ...] = ()

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """Every finding in order, each with its subject: the store, the model or a backend."""
        found = [("store", finding) for finding in self.store.findings]
        found += [("model", finding) for finding in self.notes]
        for backend in self.backends:
            found += [(backend.name, finding) for finding in backend.findings]
        return found + [(pair.names[0], pair.finding) for pair in self.agreements]

    @property
    def failures(self) -> int:
        """The number of failed tests."""
        return sum(finding.status == "fail" for _, finding in self.findings)

    @property
    def exit_code(self) -> int:
        """The code of the worst class of failures, 0 without failures."""
        return worst(finding.code for _, finding in self.findings)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object for `--json`."""
        return {
            "model": self.model,
            "dimension": self.dim,
            "task": self.task,
            "failures": self.failures,
            "exit_code": self.exit_code,
            "notes": [finding.to_json() for finding in self.notes],
            "store": self.store.to_json(),
            "backends": [cast(Json, backend.to_json()) for backend in self.backends],
            "agreement": [cast(Json, pair.to_json()) for pair in self.agreements],
        }


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for several failures: store, identity, backend, then usage."""
    occurred = set(codes)
    ranked = [kind.exit_code for kind in EXIT_PRIORITY]
    return next((code for code in ranked if code in occurred), max(occurred, default=0))


def _cosines_json(cosines: tuple[float, float] | None) -> Json:
    if cosines is None:
        return None
    return {"documents": _rounded(cosines[0], 6), "queries": _rounded(cosines[1], 6)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
