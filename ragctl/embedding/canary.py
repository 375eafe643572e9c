"""Canaries: fixed texts that show whether two backends make the same vectors.

A collection stores their vectors when it is made. A backend must closely reproduce them
before it may write to the collection or embed queries for it.
"""

import base64
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side, Vectors
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused
from ragctl.records import Json

DOCUMENTS = (
    "Canary birds were once taken into coal mines, because they noticed bad air before people did.",
    "Срок хранения договоров составляет пять лет, после чего они передаются в архив.",
    "向量数据库按照向量之间的距离查找最相近的文本。",
)
QUERY = "Wie lange müssen Rechnungen aufbewahrt werden?"

CANARY_THRESHOLD = 0.99
"""The cosine from which two backends' vectors of a canary text count as equal.

Quantised weights of the same model stay above it; another model, prompt or truncation is far
below.
"""

MEMBER_MARGIN = 0.5
"""Share of the distance between the canary texts that another member of a family must keep."""


class CanaryRecord(TypedDict):
    """A canary as a collection stores it: base64 of little-endian float16 vectors."""

    documents: list[str]
    query: str


@dataclass(frozen=True)
class Canary:
    """Unit vectors of the canary texts: `documents` of shape (3, dim), `query` (1, dim)."""

    documents: Vectors
    query: Vectors

    def agreement(self, side: Side, vectors: Vectors) -> float:
        """Return the lowest cosine between this canary's vectors and those of a backend.

        `vectors` are those of the texts of `side`. Returns 0 if the shapes differ.
        """
        own = self.documents if side == "document" else self.query
        if own.shape != vectors.shape:
            return 0.0
        return float(np.min(np.sum(own.astype(np.float64) * vectors, axis=1)))

    def is_distinct(self, side: Side, vectors: Vectors) -> bool:
        """Return whether another model's vectors lie where this canary's are, text by text.

        `vectors` are those of the texts of `side`. Each must be closer to the vector of its own
        text than to that of any other one, by at least half of the distance that this canary's
        own vector keeps. This needs no known cosine, and holds in a space of any shape.
        """
        stored = np.vstack((self.documents, self.query)).astype(np.float64)
        if vectors.shape[1:] != stored.shape[1:]:
            return False
        first = 0 if side == "document" else len(self.documents)
        positions = range(first, first + len(vectors))
        return all(
            _margin(stored, vector, position)
            >= MEMBER_MARGIN * _margin(stored, stored[position], position)
            for position, vector in zip(positions, vectors, strict=True)
        )

    def to_json(self) -> CanaryRecord:
        """Return what a collection stores: float16 is exact enough for a comparison."""
        return {
            "documents": [_encode(row) for row in self.documents],
            "query": _encode(self.query[0]),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "Canary":
        """Read what `to_json` returned. Raises ValueError if it is damaged."""
        documents, query = value.get("documents"), value.get("query")
        if not isinstance(documents, list) or len(documents) != len(DOCUMENTS) or query is None:
            raise ValueError(f"it must have {len(DOCUMENTS)} documents and a query")
        rows = [_decode(text) for text in (*documents, query)]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("its vectors differ in length")
        return cls(np.stack(rows[:-1]), rows[-1][None, :])


def canary_texts(side: Side) -> tuple[str, ...]:
    """Return the canary texts of one side."""
    return DOCUMENTS if side == "document" else (QUERY,)


def embed_canary(service: EmbeddingService, side: Side, stopped: threading.Event) -> Embeddings:
    """Return a backend's answer to the canary texts of one side. Raises BackendError.

    They are sent one by one to a backend that does not take them together.
    """
    request = EmbeddingRequest(side, canary_texts(side), stopped)
    try:
        try:
            return service.call(request).complete()
        except Refused:
            if len(request.texts) == 1:
                raise
        parts = range(len(request.texts))
        return answers.joined(
            [service.call(request.part(start, start + 1)).complete() for start in parts]
        )
    except Refused as refusal:
        raise BackendError(f"the canary texts are {refusal}") from refusal


def make_canary(service: EmbeddingService, stopped: threading.Event) -> Canary:
    """Return the canary of a backend, for a new collection. Raises BackendError."""
    documents = embed_canary(service, "document", stopped).vectors
    return Canary(documents, embed_canary(service, "query", stopped).vectors)


def _margin(stored: NDArray[np.float64], vector: Vectors, position: int) -> float:
    """Return by how much the cosine to the row at `position` exceeds those to all others."""
    cosines = stored @ vector
    return float(cosines[position] - np.max(np.delete(cosines, position)))


def _encode(row: Vectors) -> str:
    """Return a vector as base64 of little-endian float16."""
    return base64.b64encode(row.astype("<f2").tobytes()).decode("ascii")


def _decode(text: object) -> Vectors:
    """Return the unit vector that `_encode` encoded. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("a vector is not a string")
    try:
        row = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float64)
    except ValueError as error:
        raise ValueError(f"a vector is not base64 of float16 ({error})") from None
    norm = np.linalg.norm(row)
    if not (np.isfinite(norm) and norm > 0):
        raise ValueError("a vector has no finite length")
    unit: Vectors = (row / norm).astype(np.float32)
    return unit
