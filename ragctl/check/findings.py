"""What a check found: a Finding for each thing that was looked at, and the figures behind it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

from ragctl.embedding import Canary
from ragctl.errors import BackendError, IdentityMismatch, RagctlError, StoreError, UsageError
from ragctl.records import Json

Status = Literal["ok", "fail", "note"]

_WORST = (StoreError, IdentityMismatch, BackendError, UsageError)
"""The classes of failures, the one that ends the command first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `what` in a word, `text` in a sentence.

    A note is no failure, but good to know. `code` is the exit code that a
    failure stands for, 0 for all else.
    """

    status: Status
    what: str
    text: str
    code: int = 0

    def to_json(self) -> Json:
        return {"status": self.status, "what": self.what, "text": self.text}


def good(what: str, text: str) -> Finding:
    return Finding("ok", what, text)


def note(what: str, text: str) -> Finding:
    return Finding("note", what, text)


def failed(what: str, error: RagctlError) -> Finding:
    return Finding("fail", what, str(error), error.exit_code)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """The store and the pipeline's collection in it. None: not known.

    `milliseconds` is the time to open the store, list its collections (`names`) and open the
    one that is wanted; `version` that of a server; `points` are those of the collection.
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

    `tokens` are those billed, 0 where it does not say; `length` is how many numbers the vector
    had, and `norm` its length, before anything was cut or normalised here.
    """

    milliseconds: float
    tokens: int
    length: int
    norm: float

    def to_json(self) -> Json:
        return {
            "milliseconds": _rounded(self.milliseconds, 1),
            "tokens": self.tokens or None,
            "length": self.length,
            "norm": _rounded(self.norm, 6),
        }


@dataclass(frozen=True, slots=True)
class BackendReport:
    """One backend, asked alone. None: not known, or not asked for want of a reason.

    `name` is short and its own among the backends of a check, `place` says its address too.
    `model` is the model's name there; `key` where the key came from. `cosine` is that of one
    text as a document and as a query, `cut` that of the vector which the host cut and of its
    whole one, cut here. `canary` are its vectors of the canary texts, `agreement` their least
    cosines (documents, queries) to those that the collection keeps.
    """

    name: str
    place: str
    findings: tuple[Finding, ...]
    model: str | None = None
    key: str | None = None
    document: Reply | None = None
    query: Reply | None = None
    cosine: float | None = None
    cut: float | None = None
    canary: Canary | None = field(default=None, repr=False)
    agreement: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            "backend": self.name,
            "place": self.place,
            "model": self.model,
            "key": self.key,
            "document": self.document.to_json() if self.document else None,
            "query": self.query.to_json() if self.query else None,
            "cosine": _rounded(self.cosine, 6),
            "cut": _rounded(self.cut, 6),
            "canary": _sides(self.agreement),
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two backends of one run: the least cosines (documents, queries) of their canaries."""

    names: tuple[str, str]
    cosines: tuple[float, float]
    finding: Finding

    def to_json(self) -> dict[str, Json]:
        return {
            "backends": list(self.names),
            "canary": _sides(self.cosines),
            "findings": [self.finding.to_json()],
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """All that a check found. `model` and `dim` are None where nobody could say them.

    `notes` are about the model, whoever runs it.
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
        """Every finding and whom it is about, in the order in which they were made."""
        found = [("store", finding) for finding in self.store.findings]
        found += [("model", finding) for finding in self.notes]
        for backend in self.backends:
            found += [(backend.name, finding) for finding in backend.findings]
        return found + [(pair.names[0], pair.finding) for pair in self.agreements]

    @property
    def failures(self) -> int:
        return sum(finding.status == "fail" for _, finding in self.findings)

    @property
    def exit_code(self) -> int:
        """The code of the worst class of failures, 0 where there is none."""
        return worst(finding.code for _, finding in self.findings)

    def to_json(self) -> dict[str, Json]:
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
    found = set(codes)
    known = [kind.exit_code for kind in _WORST]
    return next((code for code in known if code in found), max(found, default=0))


def _sides(cosines: tuple[float, float] | None) -> Json:
    if cosines is None:
        return None
    return {"documents": _rounded(cosines[0], 6), "queries": _rounded(cosines[1], 6)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
