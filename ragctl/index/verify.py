"""Is a collection what its marks say, point by point?

    points ─► each alone: payload, hash, vectors ─────┐
    marks  ─► each document: all of its chunks, once ─┴► Damage ─► a repairing run

A repairing run takes the damaged documents for unfinished: it reads their files
again and embeds only texts whose vectors are missing or not trusted.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from ragctl.collection.origin import sparse_of
from ragctl.collection.payload import Point
from ragctl.collection.points import embedded_text, text_hash, version
from ragctl.collection.state import Stored, read_state
from ragctl.records import Json
from ragctl.stores.base import Collection

_UNIT = 1e-3  # how far a vector's norm may be from 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `source`: None for a point of no document.

    `kind`: missing (chunks), leftover (points of an earlier state), unmarked, payload,
    vector, or stray.
    """

    kind: str
    source: str | None
    what: str

    def to_json(self) -> dict[str, Json]:
        return {"kind": self.kind, "source": self.source, "what": self.what}


@dataclass(slots=True)
class Damage:
    """What was found in a collection.

    `documents`: sources that do not stand. By id, `rewrite`: points to be written
    again; `distrusted`: those of them whose vectors nobody may use; `strays`:
    points that belong to no document. `points`: how many were looked at.
    """

    faults: list[Fault] = field(default_factory=list)
    documents: set[str] = field(default_factory=set)
    rewrite: set[str] = field(default_factory=set)
    distrusted: set[str] = field(default_factory=set)
    strays: set[str] = field(default_factory=set)
    points: int = 0

    def add(self, kind: str, source: str | None, what: str) -> None:
        self.faults.append(Fault(kind, source, what))
        if source is not None:
            self.documents.add(source)


def inspect_collection(collection: Collection) -> Damage:
    """Read every point with its vectors. Nothing is written."""
    inspection = _Inspection(collection)
    for point in collection.scroll(vectors=True):
        inspection.look_at(point)
    return inspection.end()


class _Inspection:
    def __init__(self, collection: Collection) -> None:
        self._documents = read_state(collection).documents
        self._dim = collection.settings.dim
        # In late chunking a hash is of the whole window, which no point holds.
        self._hashed = not collection.settings.identity["late_chunking"]
        self._sparse = sparse_of(collection)
        self._ordinals: dict[str, array[int]] = {}  # by version, of the chunks met so far
        self._leftover: Counter[str] = Counter()  # by source
        self._damage = Damage()

    def look_at(self, point: Point) -> None:
        self._damage.points += 1
        payload = cast(dict[str, Any], point.payload)
        source, state = payload.get("source"), payload.get("version")
        known = self._documents.get(source) if isinstance(source, str) else None
        if known is None or not isinstance(state, str):
            self._damage.strays.add(point.id)
            self._damage.add("stray", None, f"point {point.id} belongs to no document")
            return
        if not known.digest:
            return  # unmarked: told once, at the end; what it has is good for the next run
        if state != version(known.source, known.digest):
            self._leftover[known.source] += 1
            return
        ordinals = self._ordinals.setdefault(state, array("l"))
        if isinstance(payload.get("ordinal"), int):
            ordinals.append(payload["ordinal"])
        self._check(point, payload, known.source)

    def end(self) -> Damage:
        for document in self._documents.values():
            if not document.digest:
                self._damage.add("unmarked", document.source, "no mark says that it is complete")
            else:
                self._check_whole(document)
        for source, count in sorted(self._leftover.items()):
            self._damage.add("leftover", source, f"{count} points of an earlier state of it")
        self._damage.faults.sort(key=lambda fault: (fault.source or "", fault.kind, fault.what))
        return self._damage

    def _check_whole(self, document: Stored) -> None:
        found = Counter(self._ordinals.get(version(document.source, document.digest), ()))
        wanted = max(1, document.chunks)
        missing = [ordinal for ordinal in range(wanted) if not found[ordinal]]
        if missing:
            shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
            what = f"{len(missing)} of {wanted} chunks ({shown})"
            self._damage.add("missing", document.source, what)
        elif found.total() != wanted:
            what = f"{found.total()} points for {wanted} chunks"
            self._damage.add("leftover", document.source, what)
        elif not document.whole and document.source not in self._leftover:
            self._damage.add("unmarked", document.source, "more than one mark")

    def _check(self, point: Point, payload: Mapping[str, Any], source: str) -> None:
        chunk = f"chunk {payload.get('ordinal')}"
        for kind, problem, trusted in self._problems(point, payload):
            self._damage.rewrite.add(point.id)
            if not trusted:
                self._damage.distrusted.add(point.id)
            self._damage.add(kind, source, f"{chunk}: {problem}")

    def _problems(
        self, point: Point, payload: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, bool]]:
        """What is wrong with one point by itself; and whether its dense vector may be used."""
        text, value = payload.get("text"), payload.get("text_hash")
        if not isinstance(text, str) or not isinstance(value, str):
            yield "payload", "it has no text, or no hash of it", False
            return
        if payload.get("chunks") == 0:
            return  # stands for a document without text: it has no vectors
        words = embedded_text(text, payload.get("heading") or [])
        if self._hashed and value != text_hash(words):
            yield "payload", "its text is not the one that was embedded", False
        problem = _vector_problem(point, self._dim)
        if problem is not None:
            yield "vector", problem, False
        if point.sparse is None or not point.sparse.indices:
            ((terms, _),) = self._sparse.documents([words], [str(payload.get("lang"))])
            if terms:
                yield "vector", "it has no BM25 vector", True


def _vector_problem(point: Point, dim: int) -> str | None:
    if point.dense is None:
        return "it has no dense vector"
    if point.dense.shape != (dim,):
        return f"its vector has {point.dense.size} dimensions, not {dim}"
    norm = float(np.linalg.norm(point.dense))
    if not math.isclose(norm, 1.0, abs_tol=_UNIT):
        return f"its vector has norm {norm:.4g}, not 1"
    return None
