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

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ragctl.collection.conditions import Where
from ragctl.collection.notes import Notes
from ragctl.collection.payload import IndexedKey, Payload, PayloadKey, Point, SparseVector, Vector
from ragctl.collection.settings import Settings
from ragctl.records import Json, Notify, ignore


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
        accept: tells from its payload whether a point may be a hit; None: any may. The points
            that it refuses take no place in a ranking, as if they were not stored.
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
    accept: Callable[[Payload], bool] | None = None


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


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a collection: a complete set of points with settings of its own.

    `current`: the collection's name leads to it. `settings`: None if they cannot be read, and
    then `error` says why.
    """

    number: int
    current: bool
    settings: Settings | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A run that holds the right to write a collection.

    `who`: its process, and its machine if that may be another one. `since`: when it took the
    lock, in seconds since 1970; None: unknown.
    """

    who: str
    since: float | None = None


@dataclass(slots=True)
class Salvage:
    """What can still be read of a damaged collection.

    Attributes:
        settings: those of the damaged generation, or of their copy; None if both are lost.
        points: every point that can be read, with its vectors, in no particular order. Points
            whose payload or vectors are damaged may be among them, and points with another
            id than their own, where ids are lost.
        lost: a line for each part that could not be read; complete once `points` has ended.
    """

    settings: Settings | None
    points: Iterator[Point]
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shard:
    """One replica of a shard. `node`: id of its node. `state`: "active" or "dead", for example."""

    number: int
    node: int
    state: str


@dataclass(frozen=True, slots=True)
class ServerState:
    """How a server serves a collection.

    Attributes:
        optimizer: "green": all is indexed; "yellow": being optimised; "grey": optimisations wait
            for the next write; "red": they failed.
        optimizer_error: why they failed.
        indexed_vectors: vectors in an HNSW graph, as the server counts them (approximately).
        graph_deferred: no HNSW graph is built until a run has ended.
        shards: the replicas of all shards; None: the key may not read the cluster's state.
    """

    optimizer: str
    optimizer_error: str | None
    indexed_vectors: int
    graph_deferred: bool
    shards: tuple[Shard, ...] | None

    def to_json(self) -> dict[str, Json]:
        """Return the state as a JSON object."""
        shards: list[Json] = [
            {"shard": each.number, "node": each.node, "state": each.state}
            for each in self.shards or ()
        ]
        return {
            "optimizer": self.optimizer,
            "optimizer_error": self.optimizer_error,
            "indexed_vectors": self.indexed_vectors,
            "graph_deferred": self.graph_deferred,
            "replicas": None if self.shards is None else shards,
        }


class Collection(Protocol):
    """One generation of a collection made by ragctl.

    `name` is the collection's name. The generation stays the same for the object's whole life,
    whatever the name leads to later; `settings.generation` is its number.
    """

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

    def notes(self) -> Notes:
        """Return the notes as they are stored now."""

    def note(self, notes: Notes) -> None:
        """Set these keys of the notes, and keep the others. The right to write points is enough."""

    def declare(self, fields: Mapping[str, str]) -> None:
        """Declare types (FIELD_TYPES) of the user's fields and make the missing indexes.

        A new type replaces the declared one; other declared fields stay.
        """

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """Hold the right to write, which one run has at a time.

        For the current generation it is that of the collection's name, for another one that of
        the generation alone (see Store.lock).

        While another run holds it, wait up to `patience` seconds (math.inf: without limit),
        report that to `waiting` in one line, once, and finally raise Locked. A run that died
        does not hold it; finding that out may take longer than `patience`. A run that lost
        the right because it was suspended for too long gets Locked from its next write.
        """

    def server_state(self) -> ServerState | None:
        """Return how a server serves the collection; None for an embedded one."""

    @property
    def unfinished(self) -> bool:
        """Whether an earlier run left something to `finish` even if this one writes nothing."""

    def finish(self, *, notify: Notify = ignore) -> None:
        """End a run: make its writes durable, and compact or index the collection if that pays.

        `notify` is told in a line what could not be done; the collection works without it.
        """

    def close(self) -> None:
        """Release what is held. A closed collection must not be used again."""


class RunStore(Protocol):
    """The operations of a store that a run needs; see Store."""

    @property
    def location(self) -> str:
        """A folder, or a server's URL."""

    def open(self, name: str, *, generation: int | None = None) -> Collection | None:
        """See Store.open."""

    def generations(self, name: str) -> list[Generation]:
        """See Store.generations."""

    def create(self, name: str, settings: Settings) -> Collection:
        """See Store.create."""

    def lock(
        self, name: str, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """See Store.lock."""

    def close(self) -> None:
        """See Store.close."""


class Store(Protocol):
    """A place that holds collections. `location`: a folder, or a server's URL."""

    location: str

    def names(self) -> list[str]:
        """Return the names of ragctl's collections, sorted; other collections are left out."""

    def open(self, name: str, *, generation: int | None = None) -> Collection | None:
        """Return the collection, or None if there is none of that name.

        `generation`: open this one, current or not; None: the current one. Raises StoreError
        if ragctl did not make it, UnreadableCollection if its settings are damaged or of
        another format.
        """

    def create(self, name: str, settings: Settings) -> Collection:
        """Make a collection with its indexes. Raises StoreError if the name is taken."""

    def create_generation(self, name: str, settings: Settings) -> Collection:
        """Make the next generation of a collection; the name does not lead to it yet.

        Its number is one above the highest that exists. The current generation may be damaged.
        Raises StoreError if the store cannot keep generations of this collection, and says what
        is missing.
        """

    def generations(self, name: str) -> list[Generation]:
        """Return the generations of a collection in order of number; [] if there is none.

        A collection without a readable pointer to its current generation has generations, but
        none of them is current.
        """

    def switch(self, name: str, generation: int) -> None:
        """Make another generation the current one, in one atomic step.

        A reader that opens the name gets either the old or the new one. The caller holds the
        lock of the name. Raises StoreError if there is no such generation.
        """

    def drop_generation(self, name: str, generation: int) -> None:
        """Delete one generation, readable or not; do nothing if it does not exist.

        Raises StoreError for the current one.
        """

    def salvage(
        self, name: str, *, generation: int | None = None, otherwise: Settings | None = None
    ) -> Salvage | None:
        """Return what can be read of a damaged collection; None if nothing exists of that name.

        `generation`: None: the current one, or, without a readable pointer, the newest. Reads
        past damage, part by part, and writes nothing to the collection. `otherwise`: read the
        points with these settings if its own are lost; without, a store may find no points.
        """

    def drop(self, name: str) -> None:
        """Delete the collection with all its generations, readable or not.

        Does nothing if it does not exist. Raises StoreError if ragctl did not make it.
        """

    def lock(
        self,
        name: str,
        *,
        generation: int | None = None,
        patience: float = 0.0,
        waiting: Notify = ignore,
    ) -> AbstractContextManager[None]:
        """Hold the right to write a collection that need not exist yet; see Collection.lock.

        `generation`: hold the right to fill or to delete this generation only, which is not
        current; runs on the collection go on. None: the right to write the collection, and to
        switch it.
        """

    def lock_holder(self, name: str, *, generation: int | None = None) -> LockHolder | None:
        """Return the run that holds a lock, None if none does; `generation` as in `lock`.

        A run on another machine that died shows until its lease has ended. Nothing is written.
        """

    def close(self) -> None:
        """Release connections."""
