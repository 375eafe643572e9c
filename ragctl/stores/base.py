"""The contract that every vector store fulfils, and the values that cross it.

A store holds collections; a collection holds points. A point has an id (UUID
text), a payload, and up to two vectors: `dense` (float32, the collection's
dimension, Cosine) and `bm25` (sparse, IDF applied by the engine). A point may
have no vectors at all: no search returns it then.

Obligations of an implementation (tests/store_contract.py checks each):
- Overwriting a point that does not exist raises StoreError.
- Every write is idempotent, and visible to the next read when it returns.
- `upsert` replaces the whole point; `overwrite` replaces the whole payload and
  keeps the vectors (of a point that exists); `merge` sets the given keys and
  keeps the others.
- `apply` does the parts of a `Batch` in the order of its fields. A batch cut
  off anywhere may be applied again from its start.
- A read during another process's run answers from what is stored by then.
- What the engine or the wire raises comes out as StoreError, one line.
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
    """A point that a query returned, best first, with the engine's score."""

    id: str
    score: float
    payload: Payload


@dataclass(frozen=True, slots=True)
class Fusion:
    """How two sides become one ranking.

    "rrf": weighted reciprocal ranks, as the engine computes them: over the sides, the
    sum of 1 / ((rank + 1) / weight + k - 1), ranks from 0. "dbsf": scores of each side
    normalised by their distribution, and added; it has no weights and no k.
    `prefetch`: how many candidates each side gives to the fusion; ten times as many where
    the page lies beyond them, and so on, so that the pages between two such steps are
    of one ranking.
    """

    kind: Literal["rrf", "dbsf"] = "rrf"
    k: int = 2  # the engine's own default
    dense: float = 1.0
    sparse: float = 1.0
    prefetch: int = 100


@dataclass(frozen=True, slots=True)
class Rescore:
    """Search over quantised vectors, said explicitly: `oversampling` times as many candidates
    are scored again with the whole vectors, or (`rescore` false) none is.
    """

    rescore: bool = True
    oversampling: float = 2.0

    @classmethod
    def said(cls, rescore: bool | None, oversampling: float | None) -> "Rescore | None":
        """What is said, the rest as usual; None where nothing is."""
        if rescore is None and oversampling is None:
            return None
        usual = cls()
        return cls(
            usual.rescore if rescore is None else rescore,
            usual.oversampling if oversampling is None else oversampling,
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A search. Both vectors: fused by `fusion`. One: that side alone.

    `exact`: without an approximate index, and from the whole vectors. `ef`: candidates
    kept while walking an index. `diversity`: 0 to 1, how much a hit's likeness to those
    before it counts against it (maximal marginal relevance, by the dense vectors, over
    the first `fusion.prefetch` hits); 1 looks for variety alone; None: hits by score.
    `min_score`: of one side alone, the least score of a hit. `rescore`: where the
    collection is quantised; None: as Rescore() says.
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
    """Writes that belong together, done in the order of these fields."""

    upserts: list[Point] = field(default_factory=list)
    overwrites: list[tuple[str, Payload]] = field(default_factory=list)
    marks: list[Point] = field(default_factory=list)
    mark_overwrites: list[tuple[str, Payload]] = field(default_factory=list)
    merges: list[tuple[Where, Payload]] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)


class Collection(Protocol):
    """One collection, made by ragctl or adopted."""

    name: str
    settings: Settings

    def apply(self, batch: Batch) -> None:
        """Write `batch`, its parts in order."""

    def scroll(
        self,
        where: Where = (),
        *,
        fields: Sequence[PayloadKey] | None = None,
        vectors: bool = False,
    ) -> Iterator[Point]:
        """Every point that matches, in no promised order, read page by page.

        `fields`: payload fields to read; None reads all.
        """

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """Those of the points that exist."""

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """Exact number of points for each value of a keyword field.

        `of_all`: every point has one value of it, and there are many values. An exact
        facet of Qdrant's searches for each: of 100,000 values that takes 40 times as
        long as reading the index's own counts, which may still hold points that are
        gone. So those are taken where they are as many as there are points.
        """

    def count(self, where: Where = ()) -> int:
        """Exact number of points that match."""

    def query(self, query: Query) -> list[Scored]:
        """Best first; equal scores in order of id."""

    def note(self, notes: Notes) -> None:
        """Set these keys of the settings' notes, and keep the others."""

    def declare(self, fields: Mapping[str, str]) -> None:
        """Add types (FIELD_TYPES) of fields under `meta`, and make the indexes that are missing.

        A field that has another type so far gets this one.
        """

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """The right to write, for one run at a time.

        While another run has it, waits `patience` seconds (math.inf: for ever), says so
        to `waiting` in one line, once, and raises Locked in the end. A run that died
        does not have it; to find that out may take longer than `patience`. A run that
        lost the right, as it stood still for long, gets Locked from its next write.
        """

    def finish(self) -> None:
        """End of a run: make durable, and compact where it pays."""

    def close(self) -> None:
        """Release what is held. A closed collection is not used again."""


class Store(Protocol):
    """A place that holds collections."""

    location: str

    def names(self) -> list[str]:
        """Collections here, sorted; those that ragctl did not make are left out."""

    def open(self, name: str) -> Collection | None:
        """The collection, or None when there is none of that name.

        Raises StoreError for one that ragctl did not make.
        """

    def create(self, name: str, settings: Settings) -> Collection:
        """Make it, with its indexes. Raises StoreError if the name is taken."""

    def drop(self, name: str) -> None:
        """Remove it and all it holds. Nothing happens if it does not exist."""

    def lock(
        self, name: str, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """As Collection.lock, also before the collection exists."""

    def close(self) -> None:
        """Release connections."""
