"""The payload and the vectors of a point."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from ragctl.collection.settings import FieldType
from ragctl.records import Json

Vector: TypeAlias = np.ndarray  # float32, shape (dim,)
Payload: TypeAlias = dict[str, Json]

DENSE = "dense"
BM25 = "bm25"

KEYWORDS = ("source", "version", "text_hash", "mark")
"""Payload fields with a keyword index: what the index room filters and counts by.

Few, because opening an embedded collection costs 2 to 3 ms for each in each segment.
"""

OWN: Mapping[str, FieldType] = {
    **dict.fromkeys(("source", "file", "title", "lang", "text_hash", "digest"), "keyword"),
    **dict.fromkeys(("page", "ordinal"), "integer"),
}
"""Payload fields of ragctl's own that a search filters by. On a server each has an index."""


class SparseVector(NamedTuple):
    """Indices (uint32, ascending) and their weights, of equal length."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One point. Vectors are None where absent, or where a read did not ask for them."""

    id: str
    payload: Payload
    dense: Vector | None = None
    sparse: SparseVector | None = None
