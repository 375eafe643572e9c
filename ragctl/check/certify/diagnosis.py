"""Finds out why a backend's vectors differ from a reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ragctl.catalog import Model
from ragctl.check.certify import thresholds
from ragctl.check.certify.evidence import Evidence
from ragctl.check.certify.reference import Cause, Reference
from ragctl.check.certify.texts import BATCH, ending_of
from ragctl.embedding import Canary, canary
from ragctl.embedding.base import Side, Vectors

Ask = Callable[[Side, str], Vectors | None]
"""Returns the vector of one more text; None if there are no texts left."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The comparison with one reference.

    `documents`, `query`: the cosines of the canary texts. `cause`: of a difference; None: there is
    none, or the canary limit allows it. `shown`: the cause was reproduced, not inferred. `detail`:
    what the vectors are, as a half sentence.
    """

    reference: str
    documents: tuple[float, ...]
    query: float
    cause: Cause | None = None
    shown: bool = False
    detail: str = ""

    @property
    def lowest(self) -> float:
        """The lowest cosine."""
        return min(*self.documents, self.query)

    @property
    def figures(self) -> str:
        """The cosines, for messages."""
        return f"cosine {min(self.documents):.4f} for documents, {self.query:.4f} for queries"


def misplaced(evidence: Evidence, reference: Reference | None, limit: float) -> dict[int, int]:
    """Return the texts of the batch that got another one's vector: position -> position."""
    if not evidence.together:
        return {}
    known = dict(evidence.alone)
    if reference is not None:
        known = {**dict(enumerate(reference.canary.documents)), **known}
    found = {}
    for position, vector in known.items():
        cosines = evidence.batch @ vector
        bound = thresholds.SAME_REQUEST if position in evidence.alone else limit
        best = int(np.argmax(cosines))
        if best != position and cosines[position] < bound <= cosines[best]:
            found[position] = best
    return found


def dependent(evidence: Evidence) -> dict[int, float]:
    """Return the texts whose vectors depend on the batch: position -> cosine to that alone."""
    cosines = {n: float(evidence.batch[n] @ vector) for n, vector in evidence.alone.items()}
    return {n: cosine for n, cosine in cosines.items() if cosine < thresholds.SAME_REQUEST}


def truncated(evidence: Evidence) -> bool:
    """Return whether the end of a long text has no influence on its vector."""
    return evidence.tail is not None and evidence.tail >= thresholds.SAME_TAIL


def settled(evidence: Evidence, moved: Mapping[int, int]) -> dict[int, Vectors]:
    """Return the vectors of the canary documents that no other text has an influence on."""
    count = len(canary.DOCUMENTS)
    if moved:
        placed = {n: evidence.batch[place] for n, place in moved.items()}
        return {n: v for n, v in {**placed, **evidence.alone}.items() if n < count}
    if dependent(evidence):
        return {n: vector for n, vector in evidence.alone.items() if n < count}
    return dict(enumerate(evidence.batch[:count]))


def diagnose(
    evidence: Evidence,
    documents: Mapping[int, Vectors],
    reference: Reference,
    model: Model,
    limit: float,
    ask: Ask,
) -> Diagnosis:
    """Compare a backend with a reference and name the cause of a difference.

    `documents`: as `settled` returns them. `limit`: the cosine from which vectors may be used
    together. A fault that can be reproduced is named even if it stays above it.
    """
    plain = _cosines(evidence, documents, reference.canary)
    lowest = min(plain)
    same = Diagnosis(reference.name, plain[:-1], plain[-1])
    if lowest >= thresholds.SAME_WEIGHTS:
        return same
    shown = _reproduced(evidence, documents, reference, lowest) or _asked(
        documents, reference, model, ask
    )
    if shown is not None:
        cause, detail = shown
        return Diagnosis(reference.name, plain[:-1], plain[-1], cause, True, detail)
    if lowest >= limit:
        return same
    cause, detail = _inferred(evidence, documents, reference, model, limit)
    return Diagnosis(reference.name, plain[:-1], plain[-1], cause, False, detail)


def _cosines(
    evidence: Evidence, documents: Mapping[int, Vectors], expected: Canary
) -> tuple[float, ...]:
    """Return the cosines of the documents, then that of the query."""
    found = [float(vector @ expected.documents[n]) for n, vector in documents.items()]
    return (*found, float(evidence.query[0] @ expected.query[0]))


def _explains(cosine: float, plain: float) -> bool:
    """Return whether little of a difference remains once a fault is allowed for."""
    return cosine >= thresholds.REPRODUCED and 1 - cosine <= thresholds.EXPLAINED_SHARE * (
        1 - plain
    )


def _reproduced(
    evidence: Evidence, documents: Mapping[int, Vectors], reference: Reference, lowest: float
) -> tuple[Cause, str] | None:
    """Return the fault with which a model in this process makes the same vectors."""
    fits = [
        (min(_cosines(evidence, documents, variant.canary)), variant.cause, variant.how)
        for variant in reference.variants
    ]
    best = max(fits, default=None)
    if best is None or not _explains(best[0], lowest):
        return None
    return best[1], f"they are {best[2]} (cosine {best[0]:.4f})"


def _asked(
    documents: Mapping[int, Vectors], reference: Reference, model: Model, ask: Ask
) -> tuple[Cause, str] | None:
    """Return the fault that one more text shows: with an ending of its own, or as a query."""
    expected = reference.canary.documents
    worst = min(documents, key=lambda n: float(documents[n] @ expected[n]))
    plain = float(documents[worst] @ expected[worst])
    if plain >= thresholds.SAME_WEIGHTS:
        return None
    ending = ending_of(model)
    with_ending = ask("document", f"{BATCH[worst]} {ending}") if ending else None
    if with_ending is not None:
        cosine = float(with_ending @ expected[worst])
        if _explains(cosine, plain):
            return "eos", f"with {ending} behind the text they agree (cosine {cosine:.4f})"
    if model.document == model.query:
        return None
    as_query = ask("query", BATCH[worst])
    if as_query is not None:
        cosine = float(as_query @ expected[worst])
        if _explains(cosine, plain):
            return "task", (
                f"a document sent as a query agrees (cosine {cosine:.4f}): the backend "
                "exchanges the two sides"
            )
    return None


def _inferred(
    evidence: Evidence,
    documents: Mapping[int, Vectors],
    reference: Reference,
    model: Model,
    limit: float,
) -> tuple[Cause, str]:
    """Return the likeliest cause, by how far the vectors are from the reference."""
    plain = _cosines(evidence, documents, reference.canary)
    rows = np.stack([*documents.values(), evidence.query[0]])
    expected = np.stack([*(reference.canary.documents[n] for n in documents), evidence.query[0]])
    expected[-1] = reference.canary.query[0]
    cosines = rows.astype(np.float64) @ expected.T
    others = cosines[~np.eye(len(rows), dtype=bool)]
    if float(np.mean(np.diag(cosines)) - np.mean(others)) < thresholds.ALIGNED:
        return "model", "no text is closer to its own reference than to others"
    if truncated(evidence):
        return "truncation", "texts are truncated"
    if evidence.facts.prompt:
        return "prompt", f"the server puts {evidence.facts.prompt!r} in front of texts"
    wrong_documents = min(plain[:-1]) < limit and plain[-1] >= thresholds.SAME_WEIGHTS
    if wrong_documents or (min(plain[:-1]) >= thresholds.SAME_WEIGHTS and plain[-1] < limit):
        side = "documents" if wrong_documents else "queries"
        return "task", f"only {side} differ: they have another task or prompt"
    stated, known = evidence.facts.revision, reference.revision or model.revision
    if stated is not None and known not in (None, stated):
        return "revision", f"the server says {stated}, and {known} is expected"
    if min(plain) >= thresholds.COARSE or any(v.cause == "pooling" for v in reference.variants):
        return "quantisation", "the weights are rounded coarsely, or are those of another revision"
    return "pooling", "the tokens are pooled in another way, or the server adds a prompt"
