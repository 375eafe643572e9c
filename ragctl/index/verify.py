"""Check a collection point by point against its marks.

    points ─► each point:    payload, hash, vectors ─┐
    marks  ─► each document: every chunk, once ──────┴► Damage ─► a repairing run

A repairing run treats the damaged documents as incomplete: it reads their files again,
and embeds only texts whose vectors are missing or not trusted.
"""

import math
import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ragctl.collection.conditions import Where, own_matches
from ragctl.collection.ownership import faulty_keys, is_own
from ragctl.collection.payload import Payload, Point, Vector
from ragctl.collection.points import version
from ragctl.collection.state import State, StoredDocument, read_state
from ragctl.collection.text import embedded_text, text_hash
from ragctl.progress import Progress
from ragctl.records import Json
from ragctl.stores.base import Collection
from ragctl.text import counted

NORM_TOLERANCE = 1e-3
"""Allowed deviation of a stored vector's norm from 1."""

MAX_SHOWN_ORDINALS = 5
SAMPLE_CHUNKS = 12
"""Another model's vectors among a quarter of all are missed with a probability of 3 %."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `source`: its document; None for a point of no document.

    `kind`: missing (chunks), leftover (points of an earlier version), unmarked, payload,
    vector, model (another model made the vector), or stray (a point of another program, or
    one whose payload is lost). `what` describes it.
    """

    kind: str
    source: str | None
    what: str

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object of this fault."""
        return {"kind": self.kind, "source": self.source, "what": self.what}


@dataclass(frozen=True, slots=True)
class SampledChunk:
    """A sound chunk: the text that was embedded, and its dense vector of shape (dim,)."""

    source: str
    ordinal: int
    text: str
    vector: Vector


@dataclass(slots=True)
class Damage:
    """The faults of a collection, and what a repair has to rewrite.

    `documents`: sources of damaged documents. `rewrite`: ids of points to be written
    again; `distrusted`: those of them whose vectors must not be reused; `strays`: ids of
    points that belong to no document. `points`: number of points checked. `sample`: a few
    chunks without faults, chosen at random, if vectors were read.
    """

    faults: list[Fault] = field(default_factory=list)
    documents: set[str] = field(default_factory=set)
    rewrite: set[str] = field(default_factory=set)
    distrusted: set[str] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    points: int = 0
    sample: list[SampledChunk] = field(default_factory=list)

    def add(self, kind: str, source: str | None, what: str) -> None:
        """Add a fault, and its document to the damaged ones."""
        self.faults.append(Fault(kind, source, what))
        if source is not None:
            self.documents.add(source)


def inspect_collection(
    collection: Collection,
    state: State | None = None,
    *,
    sources: Sequence[str] | None = None,
    vectors: bool = True,
    progress: Progress | None = None,
) -> Damage:
    """Read every point and return what is wrong. Writes nothing.

    `state`: of the collection, if it is known. `sources`: only the points of these documents.
    `vectors`: read and check the vectors too. `progress` advances with each point.
    """
    inspection = _Inspection(collection, state or read_state(collection), sources, vectors)
    wheres: Iterable[Where] = [()] if sources is None else own_matches("source", sources)
    for where in wheres:
        for point in (progress or Progress()).each(collection.scroll(where, vectors=vectors)):
            inspection.check(point)
    return inspection.finish()


class _Inspection:
    def __init__(
        self, collection: Collection, state: State, sources: Sequence[str] | None, vectors: bool
    ) -> None:
        self._documents = (
            state.documents
            if sources is None
            else {source: state.documents[source] for source in sources}
        )
        self._vectors = vectors
        self._dim = collection.settings.dim
        # In late chunking the text hash covers the window, which is not stored with a point.
        self._hashes_text = not collection.settings.identity.late_chunking
        self._sparse = collection.settings.document_bm25()
        self._ordinals: dict[str, array[int]] = {}  # of the chunks seen so far, by version
        self._leftover: Counter[str] = Counter()  # by source
        self._damage = Damage()
        self._dice = random.Random()  # noqa: S311 - a sample
        self._sound = 0  # chunks without faults

    def check(self, point: Point) -> None:
        self._damage.points += 1
        payload = point.payload
        source, stored_version = payload.get("source"), payload.get("version")
        known = self._documents.get(source) if isinstance(source, str) else None
        if known is None or not is_own(payload):
            self._damage.strays.add(point.id)
            what = f"point {point.id} belongs to no document: another program wrote or changed it"
            self._damage.add("stray", None, what)
            return
        if not known.digest:
            return  # unmarked: reported once in `finish`; the next run can reuse its points
        if stored_version != version(known.source, known.digest):
            self._leftover[known.source] += 1
            return
        ordinals = self._ordinals.setdefault(stored_version, array("l"))
        ordinal = payload.get("ordinal")
        if isinstance(ordinal, int) and abs(ordinal) < 2**31:
            ordinals.append(ordinal)
        self._check_point(point, payload, known.source)

    def finish(self) -> Damage:
        for document in self._documents.values():
            if not document.digest:
                self._damage.add("unmarked", document.source, "no mark says that it is complete")
            else:
                self._check_document(document)
        for source, count in sorted(self._leftover.items()):
            self._damage.add("leftover", source, f"{counted(count, 'point')} of an earlier version")
        self._damage.faults.sort(key=lambda fault: (fault.source or "", fault.kind, fault.what))
        return self._damage

    def _check_document(self, document: StoredDocument) -> None:
        stored = Counter(self._ordinals.get(version(document.source, document.digest), ()))
        expected = max(1, document.chunks)
        # A damaged payload may claim any number of chunks.
        missing = expected - sum(0 <= ordinal < expected for ordinal in stored)
        if missing:
            absent = (ordinal for ordinal in range(expected) if ordinal not in stored)
            shown = ", ".join(map(str, islice(absent, MAX_SHOWN_ORDINALS)))
            if missing > MAX_SHOWN_ORDINALS:
                shown += " …"
            what = f"{missing} of {counted(expected, 'chunk')} ({shown})"
            self._damage.add("missing", document.source, what)
        elif stored.total() != expected:
            what = f"{counted(stored.total(), 'point')} for {counted(expected, 'chunk')}"
            self._damage.add("leftover", document.source, what)
        elif not document.complete and document.source not in self._leftover:
            self._damage.add("unmarked", document.source, "more than one mark")

    def _check_point(self, point: Point, payload: Payload, source: str) -> None:
        chunk = f"chunk {payload.get('ordinal')}"
        problems = list(self._problems(point, payload))
        if not problems and point.dense is not None and payload["chunks"]:
            self._offer(payload, point.dense)
        for kind, problem, trusted in problems:
            self._damage.rewrite.add(point.id)
            if not trusted:
                self._damage.distrusted.add(point.id)
            self._damage.add(kind, source, f"{chunk}: {problem}")

    def _offer(self, payload: Payload, vector: Vector) -> None:
        """Take a sound chunk into the sample, each with the same probability."""
        self._sound += 1
        sample = self._damage.sample
        place = len(sample) if len(sample) < SAMPLE_CHUNKS else self._dice.randrange(self._sound)
        if place < SAMPLE_CHUNKS:
            text = embedded_text(payload["text"], payload["heading"])
            chunk = SampledChunk(payload["source"], payload["ordinal"], text, vector)
            sample[place : place + 1] = [chunk]

    def _problems(self, point: Point, payload: Payload) -> Iterator[tuple[str, str, bool]]:
        """Yield the faults of a single point: kind, description, whether its vector is trusted."""
        if faulty := faulty_keys(payload):
            yield "payload", f"damaged keys: {', '.join(faulty)}", False
            return
        if payload["chunks"] == 0:
            return  # the point of a document without text has no vectors
        words = embedded_text(payload["text"], payload["heading"])
        if self._hashes_text and payload["text_hash"] != text_hash(words):
            yield "payload", "its text is not the text that was embedded", False
        if not self._vectors:
            return
        problem = vector_problem(point, self._dim)
        if problem is not None:
            yield "vector", problem, False
        if point.sparse is None or not point.sparse.indices:
            ((terms, _),) = self._sparse.documents([words], [payload["lang"]])
            if terms:
                yield "vector", "it has no BM25 vector", True


def vector_problem(point: Point, dim: int) -> str | None:
    """Return what is wrong with the dense vector of a point, or None."""
    if point.dense is None:
        return "it has no dense vector"
    if point.dense.shape != (dim,):
        return f"its vector has {counted(point.dense.size, 'dimension')}, not {dim}"
    norm = float(np.linalg.norm(point.dense.astype(np.float64)))
    if not math.isclose(norm, 1.0, abs_tol=NORM_TOLERANCE):
        return f"its vector has norm {norm:.4g}, not 1"
    return None
