"""The contract of every vector store, and the values that cross it.

A store holds collections; a collection holds points. A point has an id (a UUID as text), a
payload, and up to two vectors: `dense` (float32, the collection's dimension, cosine) and
`bm25` (sparse; the engine applies IDF). A point without a vector is not found by searches
with that vector.

Obligations of an implementation (tests/store_contract.py checks each):

- Every write is idempotent, and visible to the next read when it returns.
- `upsert` replaces the whole point. `overwrite` replaces the whole payload, keeps the
  vectors, and raises StoreError if the point does not exist. `merge` sets the given keys
  and keeps the others.
- `apply` writes the parts of a `Batch` in the order of its fields. A batch that was cut off
  anywhere may be applied again from its start.
- A read during another process's run returns what is stored at that moment.
- Every error of the engine or of the connection is raised as StoreError, in one line.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ragctl.collection.conditions import Where
from ragctl.collection.notes import Notes
from ragctl.collection.payload import IndexedKey, Payload, PayloadKey, Point, SparseVector, Vector
from ragctl.collection.settings import Settings
from ragctl.records import Notify, ignore


@dataclass(frozen=True, slots=True)
class Scored:
    """A point that a query returned, with its score."""

    id: str
    score: float
    payload: Payload


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the dense and the sparse ranking become one.

    Attributes:
        kind: "rrf" (weighted reciprocal rank fusion): the score of a point is the sum over
            both rankings of 1 / ((rank + 1) / weight + k - 1), with ranks from 0, as Qdrant
            computes it. "dbsf" (distribution-based score fusion): the sum of both scores,
            each normalised by the distribution of its ranking; it uses no weights and no k.
        k: constant of RRF; larger values flatten the ranking. Qdrant's own default is 2.
        dense: weight of the dense ranking in RRF.
        sparse: weight of the sparse ranking in RRF.
        prefetch: candidates that each ranking contributes. For a page beyond them it is
            multiplied by 10 until the page fits, so pages of one such step belong to one
            ranking.
    """

    kind: Literal["rrf", "dbsf"] = "rrf"
    k: int = 2
    dense: float = 1.0
    sparse: float = 1.0
    prefetch: int = 100


@dataclass(frozen=True, slots=True)
class Rescore:
    """How a quantised collection is searched.

    Attributes:
        rescore: score the candidates again with the whole vectors.
        oversampling: candidates per requested hit, when they are rescored.
    """

    rescore: bool = True
    oversampling: float = 2.0

    @classmethod
    def from_options(cls, rescore: bool | None, oversampling: float | None) -> "Rescore | None":
        """Return the options with defaults for those that are None; None if both are."""
        if rescore is None and oversampling is None:
            return None
        default = cls()
        return cls(
            default.rescore if rescore is None else rescore,
            default.oversampling if oversampling is None else oversampling,
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A search. With both vectors their rankings are fused; with one that ranking is the answer.

    Attributes:
        limit: most hits to return.
        dense: the query's dense vector, shape (dim,).
        sparse: the query's BM25 vector.
        where: conditions that every hit meets.
        fusion: how the rankings of both vectors are fused.
        offset: hits to skip.
        exact: compare with every vector, without the approximate index and quantisation.
        ef: candidates kept while walking the HNSW graph; None: the store's default.
        diversity: weight of maximal marginal relevance by the dense vectors, among the first
            `fusion.prefetch` hits: from 0 (scores alone) to 1 (dissimilarity alone). None:
            order by score.
        min_score: lowest score of a hit; only for a query with one vector.
        rescore: how a quantised collection is searched; None: as Rescore().
    """

    limit: int
    dense: Vector | None = None
    sparse: SparseVector | None = None
    where: Where = ()
    fusion: Fusion = Fusion()
    offset: int = 0
    exact: bool = False
    ef: int | None = None
    diversity: float | None = None
    min_score: float | None = None
    rescore: Rescore | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Writes that belong together, applied in the order of these fields.

    Attributes:
        upserts: new points that are not the first of their document.
        overwrites: (id, payload) of kept points that are not the first of their document.
        marks: first points, which complete their documents.
        mark_overwrites: (id, payload) of kept first points.
        merges: (filter, values) to set on every point that matches.
        deletes: ids of points to delete.
    """

    upserts: list[Point] = field(default_factory=list)
    overwrites: list[tuple[str, Payload]] = field(default_factory=list)
    marks: list[Point] = field(default_factory=list)
    mark_overwrites: list[tuple[str, Payload]] = field(default_factory=list)
    merges: list[tuple[Where, Payload]] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)


class Collection(Protocol):
    """One collection made by ragctl."""

    name: str
    settings: Settings

    def apply(self, batch: Batch) -> None:
        """Write the batch, its parts in order."""

    def scroll(
        self,
        where: Where = (),
        *,
        fields: Sequence[PayloadKey] | None = None,
        vectors: bool = False,
    ) -> Iterator[Point]:
        """Yield every point that matches, in no particular order, reading page by page.

        `fields`: payload keys to read; None reads all.
        """

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """Return the points with these ids that exist, in no particular order."""

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """Return the exact number of points for each value of a keyword field.

        `of_all`: every point has one value of this field, and there are many values. An
        exact facet of Qdrant runs a search for each value: with 100,000 values that takes
        40 times as long as reading the counts of the index. The index may still count
        deleted points, so its counts are used only if their sum is the number of points.
        """

    def count(self, where: Where = ()) -> int:
        """Return the exact number of points that match."""

    def query(self, query: Query) -> list[Scored]:
        """Return the hits, best first; equal scores in order of id."""

    def note(self, notes: Notes) -> None:
        """Set these keys of the notes in the settings, and keep the others."""

    def declare(self, fields: Mapping[str, str]) -> None:
        """Declare types (FIELD_TYPES) of the user's fields and make the missing indexes.

        A new type replaces the declared one; other declared fields stay.
        """

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """Hold the right to write, which one run has at a time.

        While another run holds it, wait up to `patience` seconds (math.inf: without limit),
        report that to `waiting` in one line, once, and finally raise Locked. A run that died
        does not hold it; finding that out may take longer than `patience`. A run that lost
        the right because it was suspended for too long gets Locked from its next write.
        """

    def finish(self) -> None:
        """End a run: make its writes durable, and compact the collection if that pays."""

    def close(self) -> None:
        """Release what is held. A closed collection must not be used again."""


class Store(Protocol):
    """A place that holds collections. `location`: a folder, or a server's URL."""

    location: str

    def names(self) -> list[str]:
        """Return the names of ragctl's collections, sorted; other collections are left out."""

    def open(self, name: str) -> Collection | None:
        """Return the collection, or None if there is none of that name.

        Raises StoreError if ragctl did not make it, UnreadableCollection if its settings
        are damaged or of another format.
        """

    def create(self, name: str, settings: Settings) -> Collection:
        """Make a collection with its indexes. Raises StoreError if the name is taken."""

    def drop(self, name: str) -> None:
        """Delete the collection, readable or not; do nothing if it does not exist.

        Raises StoreError if ragctl did not make it.
        """

    def lock(
        self, name: str, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """Hold the right to write a collection that need not exist yet; see Collection.lock."""

    def close(self) -> None:
        """Release connections."""
