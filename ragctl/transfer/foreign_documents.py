"""The points of another program as documents of ragctl, to be synced into a collection.

A document is all points with one source, its chunks in the order of their positions, else of
their ids. Texts and vectors are kept; the rest of a payload is computed as for a file.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ragctl import chunking
from ragctl.collection.conditions import Match, Where
from ragctl.collection.notes import Notes
from ragctl.collection.payload import IndexedKey, PayloadKey, Point, SparseVector, Vector
from ragctl.collection.points import digest, namespace, point_ids, version
from ragctl.collection.settings import Settings
from ragctl.collection.text import text_hash
from ragctl.index.prepare import language_of
from ragctl.index.prepared import FileStat, PreparedChunk, PreparedDocument, payloads
from ragctl.stores.foreign import ForeignCollection
from ragctl.stores.foreign_layout import Record
from ragctl.transfer.documents import GROUP_POINTS

RECIPE = digest(b"points of another program", b"1")
"""The recipe of the documents. Its number changes with the rules of this module."""

BETWEEN = "\n\n"
"""Assumed between two chunks of a document, whose whole text is not known."""

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class _Document:
    ids: tuple[str, ...]  # of their points, in order
    digest: str
    size: int  # bytes of all texts


class ForeignDocuments:
    """The read side of a collection of ragctl, over one of another program.

    `settings`: of the collection that the documents are for. `address`: of theirs. `counted`:
    the points of theirs; `without_vector`: ids of those that have a text and no usable vector.
    `unit`: whether all vectors are of unit length. The three are of the last reading.
    """

    def __init__(self, theirs: ForeignCollection, settings: Settings, address: str) -> None:
        self.name = theirs.name
        self.settings = settings
        self.address = address
        self.counted = 0
        self.without_vector: list[str] = []
        self.unit = True
        self._theirs = theirs
        self._documents: dict[str, _Document] = {}
        self._last: dict[str, Point] = {}
        self._is_fresh = False

    @property
    def sources(self) -> list[str]:
        """The names of all documents, as of the last reading."""
        return list(self._documents)

    @property
    def without_text(self) -> int:
        """Number of points without a text, which belong to no document."""
        with_text = sum(len(each.ids) for each in self._documents.values())
        return max(0, self.counted - with_text - len(self.without_vector))

    def read(self) -> None:
        """Read every point. The next `facet` uses what was read."""
        self.counted = self._theirs.count()
        self.without_vector, self.unit = [], True
        found: dict[str, list[tuple[tuple[object, ...], str, str, int]]] = {}
        for record in self._theirs.records():
            if record.dense is None or not _is_usable(record):
                self.without_vector.append(record.id)
                continue
            self.unit = self.unit and abs(_norm(record.dense) - 1) <= UNIT_TOLERANCE
            size = len(record.text.encode())
            found.setdefault(record.source, []).append(
                (_order(record), record.id, _content(record), size)
            )
        self._documents = {}
        for source, rows in found.items():
            rows.sort()
            self._documents[source] = _Document(
                tuple(row[1] for row in rows),
                _digest(row[2] for row in rows),
                sum(row[3] for row in rows),
            )
        self._is_fresh = True

    def sample(self, sources: Sequence[str], number: int) -> list[Record]:
        """Return about `number` points of these documents, spread evenly, with their vectors."""
        ids = [each for source in sources for each in self._documents[source].ids]
        chosen = ids[:: max(1, len(ids) // number)][:number]
        return [record for record in self._theirs.records(chosen) if _is_usable(record)]

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """Return the points of each version, after a new reading; all marks count as one value."""
        if key == "mark":
            return {"": len(self._documents)}
        if not self._is_fresh:
            self.read()
        self._is_fresh = False
        return {
            version(source, each.digest): len(each.ids) for source, each in self._documents.items()
        }

    def scroll(
        self,
        where: Where = (),
        *,
        fields: Sequence[PayloadKey] | None = None,
        vectors: bool = False,
    ) -> Iterator[Point]:
        """Yield the points of sources, read now; for other keys what the marks say, without ids."""
        sources = self.sources
        for condition in where:
            if isinstance(condition, Match) and condition.key == "source":
                sources = [str(name) for name in condition.values if name in self._documents]
                yield from self._points(sources)
                return
        for source in sources:
            each = self._documents[source]
            stat = FileStat(source, self.address, each.size, 0)
            document = PreparedDocument(source, each.digest, None, "", {}, (), ())
            (payload,) = payloads(document, stat, recipe=RECIPE, parts=1)
            yield Point("", {**payload, "chunks": len(each.ids)})

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """Return those of the points that `scroll` has just read."""
        return [self._last[each] for each in ids if each in self._last]

    def notes(self) -> Notes:
        """Return {}: there are none."""
        return {}

    def close(self) -> None:
        """Do nothing: the connection belongs to the store."""

    def _points(self, sources: Sequence[str]) -> Iterator[Point]:
        self._last = {}
        ids = [each for source in sources for each in self._documents[source].ids]
        found: dict[str, list[Record]] = {}
        for first in range(0, len(ids), GROUP_POINTS):
            for record in self._theirs.records(ids[first : first + GROUP_POINTS]):
                found.setdefault(record.source, []).append(record)
        for source in sources:
            for point in self._converted(source, found.get(source, [])):
                self._last[point.id] = point
                yield point

    def _converted(self, source: str, records: Sequence[Record]) -> Iterator[Point]:
        """Yield the points of a document. They differ from its version if it has changed since."""
        usable = [*filter(_is_usable, records)]
        if not usable:
            return
        usable.sort(key=_order)
        texts = [record.text for record in usable]
        language = language_of(BETWEEN.join(texts), self.settings.sparse.languages)
        title = next((record.title for record in usable if record.title), None)
        document = PreparedDocument(
            source=source,
            digest=_digest(map(_content, usable)),
            title=title,
            lang=language,
            meta={},
            warnings=(),
            chunks=tuple(_chunks(texts)),
        )
        size = sum(len(text.encode()) for text in texts)
        rows = payloads(document, FileStat(source, self.address, size, 0), recipe=RECIPE, parts=1)
        ids = point_ids(
            namespace(self.settings.namespace), source, [row["text_hash"] for row in rows]
        )
        terms = self.settings.document_bm25().documents(texts, [language] * len(texts))
        for point_id, row, record, weights in zip(ids, rows, usable, terms, strict=True):
            assert record.dense is not None
            row["meta"] = record.metadata
            yield Point(point_id, row, _unit(record.dense), _as_stored(*weights))


def _chunks(texts: Sequence[str]) -> Iterator[PreparedChunk]:
    start = 0
    for text in texts:
        end = start + len(text)
        tokens = chunking.count(text)
        yield PreparedChunk(start, end, text, text_hash(text), None, None, (), tokens)
        start = end + len(BETWEEN)


def _order(record: Record) -> tuple[object, ...]:
    """Return what the chunks of a document are sorted by."""
    number = int(record.id) if record.id.isdecimal() else -1
    return (*record.position, number, record.id)


def _content(record: Record) -> str:
    """Return the hash of everything that is copied of a point."""
    fields = json.dumps([record.text, record.title, record.metadata], sort_keys=True)
    assert record.dense is not None
    return digest(fields.encode(), record.dense.astype("<f4").tobytes())


def _digest(contents: Iterable[str]) -> str:
    return digest(RECIPE.encode(), *(each.encode() for each in contents))


def _as_stored(indices: Sequence[int], values: Sequence[float]) -> SparseVector:
    """Return a BM25 vector as every store returns it: ascending, with float32 weights."""
    weights = np.asarray(values, dtype=np.float32).tolist()
    pairs = sorted(zip(indices, weights, strict=True))
    return SparseVector([index for index, _ in pairs], [weight for _, weight in pairs])


def _norm(vector: Vector) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


def _is_usable(record: Record) -> bool:
    return record.dense is not None and 0 < _norm(record.dense) < np.inf


def _unit(vector: Vector) -> Vector:
    unit: Vector = (vector.astype(np.float64) / _norm(vector)).astype(np.float32)
    return unit
