"""Canaries: fixed texts that show whether two backends make the same vectors.

A collection keeps their vectors from when it was made. Whoever is to write into
it, or to embed its queries, must come back with nearly the same.
"""

import base64
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

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

THRESHOLD = 0.99
"""Least cosine at which vectors of two backends may meet. Quantised weights of the same
model stay above it; another model, another prompt or another cut are far below."""


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
        """Return the least cosine between these vectors and the given ones of the same texts."""
        own = self.documents if side == "document" else self.query
        if own.shape != vectors.shape:
            return 0.0
        return float(np.min(np.sum(own.astype(np.float64) * vectors, axis=1)))

    def to_json(self) -> CanaryRecord:
        """As a collection keeps it: base64 of little-endian float16, enough for a comparison."""
        return {
            "documents": [_written(row) for row in self.documents],
            "query": _written(self.query[0]),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "Canary":
        """Read what `to_json` wrote. Raises ValueError that says what is wrong with it."""
        listed, query = value.get("documents"), value.get("query")
        if not isinstance(listed, list) or len(listed) != len(DOCUMENTS) or query is None:
            raise ValueError(f"it must have {len(DOCUMENTS)} documents and a query")
        rows = [_read(row) for row in (*listed, query)]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("its vectors differ in length")
        return cls(np.stack(rows[:-1]), rows[-1][None, :])


def canary_texts(side: Side) -> tuple[str, ...]:
    return DOCUMENTS if side == "document" else (QUERY,)


def embed_canary(wire: EmbeddingService, side: Side, stopped: threading.Event) -> Embeddings:
    """Return a backend's answer to the canary texts of one side. Raises BackendError."""
    try:
        return wire.call(EmbeddingRequest(side, canary_texts(side), stopped))
    except Refused as refusal:
        raise BackendError(f"the canary texts are {refusal}") from refusal


def make_canary(wire: EmbeddingService, stopped: threading.Event) -> Canary:
    """Return the canary by which the vectors of this wire are known again."""
    documents = embed_canary(wire, "document", stopped).vectors
    return Canary(documents, embed_canary(wire, "query", stopped).vectors)


def _written(row: Vectors) -> str:
    return base64.b64encode(row.astype("<f2").tobytes()).decode("ascii")


def _read(text: object) -> Vectors:
    if not isinstance(text, str):
        raise ValueError("a vector is no text")
    try:
        row = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float64)
    except ValueError as error:
        raise ValueError(f"a vector is not base64 of float16 ({error})") from None
    norm = np.linalg.norm(row)
    if not (np.isfinite(norm) and norm > 0):
        raise ValueError("a vector has no finite length")
    unit: Vectors = (row / norm).astype(np.float32)
    return unit
