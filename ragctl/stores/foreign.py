"""Collections on a Qdrant server that other programs wrote, such as LangChain or LlamaIndex.

They are read only. A point becomes a document of one chunk (foreign_layout.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Condition,
    HasId,
    NoneOf,
    Where,
)
from ragctl.collection.notes import Notes
from ragctl.collection.payload import IndexedKey, Payload, PayloadKey, Point, Vector
from ragctl.collection.settings import FIELD_TYPES, META_PREFIX, Settings
from ragctl.errors import StoreError, UsageError
from ragctl.lexical.bm25 import Bm25Config
from ragctl.records import Identity, Notify, ignore
from ragctl.stores.base import Batch, Query, Scored, ServerState
from ragctl.stores.conditions import prepare
from ragctl.stores.foreign_layout import Layout, Record, read_record
from ragctl.stores.searching import VectorName, answer
from ragctl.stores.server_connection import ServerConnection, collection_label
from ragctl.stores.server_http import collection_path
from ragctl.stores.server_info import CollectionInfo
from ragctl.stores.server_points import filter_of, given, server_id, sparse_vector
from ragctl.stores.server_searches import dense_search_params

UNNAMED = ""
"""Name of the vector of a collection without named vectors."""

PAGE_POINTS = 1000
"""Points read at a time; with vectors a tenth."""

DEFAULT_EF = 256
DISTANCES = frozenset({"Euclid", "Manhattan"})
"""Measures of which the smaller value is the better one."""


class ForeignCollection:
    """A collection of another program, as one of ragctl that can only be read.

    Hits have the keys of ragctl's payload: each is a document of one chunk. The scores are the
    server's; those of a distance are negated, so that the best hit has the greatest.
    Raises UsageError if the layout does not fit the collection.
    """

    own: Where = ()
    is_shared = False

    def __init__(
        self, connection: ServerConnection, name: str, info: CollectionInfo, layout: Layout
    ) -> None:
        self.name = name
        self.layout = layout
        self._connection = connection
        place = f"{collection_label(name)} at {connection.url}"
        vectors = info.params.get("vectors") or {}
        dense = {UNNAMED: vectors} if "size" in vectors else dict(vectors)
        self._vector = _chosen_vector(layout.vector, dense, place)
        params = dense[self._vector]
        if params.get("multivector_config"):
            raise UsageError(
                f"{place}: {_shown(self._vector)} holds several vectors for each point; "
                "name another with --vector"
            )
        sparse = info.params.get("sparse_vectors") or {}
        if layout.sparse is not None and layout.sparse not in sparse:
            known = ", ".join(sorted(sparse)) or "none"
            raise UsageError(f"{place} has no sparse vector {layout.sparse!r}; it has: {known}")
        self.distance = str(params["distance"])
        self._reversed = self.distance in DISTANCES
        quantized = params.get("quantization_config") or info.config.get("quantization_config")
        strict = info.strict_mode if info.strict_mode.get("enabled") else {}
        self.max_hits = int(strict.get("max_query_limit") or 2**31)
        self._width = int(strict.get("search_max_hnsw_ef") or 2**31)
        self._indexed_only = strict.get("unindexed_filtering_retrieve") is False
        self._types = {
            path: str(index["data_type"])
            for path, index in info.payload_schema.items()
            if index["data_type"] in FIELD_TYPES
        }
        self.settings = Settings(
            identity=Identity(
                model=layout.model, dimension=int(params["size"]), distance=self.distance.lower()
            ),
            sparse=Bm25Config(languages=(layout.language,)),
            fields=self._declared(),
            quantization="scalar" if quantized else None,
        )

    def query(self, query: Query) -> list[Scored]:
        """See Collection.query."""
        where = prepare(self._translated(query.where), self._types, indexed_only=self._indexed_only)
        return answer(replace(query, where=where), self)

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        """Return the best hits by each of the vectors."""
        width = min(query.ef or max(DEFAULT_EF, limit), self._width)
        quantized = self.settings.quantization is not None
        params = dense_search_params(query, width=width, quantized=quantized)
        searches = []
        for name in names:
            is_dense = name == "dense"
            using = self._vector if is_dense else self.layout.sparse
            search = {
                "query": _query_vector(query, name),
                "using": using or None,
                "limit": limit,
                "with_payload": payload,
                "filter": filter_of(query.where),
                "params": params if is_dense else None,
            }
            searches.append(given(search))
        answers = self._post("points/query/batch", {"searches": searches})
        return [
            [self._scored(hit, name, payload=payload) for hit in found["points"]]
            for name, found in zip(names, answers, strict=True)
        ]

    def _scored(self, hit: Mapping[str, Any], name: VectorName, *, payload: bool) -> Scored:
        score = -hit["score"] if self._reversed and name == "dense" else hit["score"]
        point_id = str(hit["id"])
        return Scored(point_id, score, self._payload(point_id, hit["payload"]) if payload else {})

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""
        points = []
        for record in self._retrieved(ids, vectors):
            point_id, payload = str(record["id"]), record.get("payload") or {}
            points.append(Point(point_id, self._payload(point_id, payload), self._dense(record)))
        return points

    def records(self, ids: Sequence[str] | None = None) -> Iterator[Record]:
        """Yield the points that have a text, with their vectors; all, or those with these ids."""
        found = self._scrolled(vectors=True) if ids is None else self._retrieved(ids, True)
        for record in found:
            point_id, payload = str(record["id"]), record.get("payload") or {}
            read = read_record(point_id, payload, self.layout, self._dense(record))
            if read is not None:
                yield read

    def sources(self) -> dict[str, list[str]]:
        """Return the ids of the points of each document, in order of id: one reading of all."""
        found: dict[str, list[str]] = {}
        for record in self._scrolled(vectors=False):
            point_id = str(record["id"])
            read = read_record(point_id, record.get("payload") or {}, self.layout)
            if read is not None:
                found.setdefault(read.source, []).append(point_id)
        return found

    def count(self, where: Where = ()) -> int:
        """See Collection.count."""
        condition = filter_of(self._translated(where))
        return int(self._post("points/count", given({"filter": condition, "exact": True}))["count"])

    def scroll(
        self,
        where: Where = (),
        *,
        fields: Sequence[PayloadKey] | None = None,
        vectors: bool = False,
    ) -> Iterator[Point]:
        """See Collection.scroll: every point that has a text, with whole payloads."""
        for record in self._scrolled(vectors=vectors, where=self._translated(where)):
            point_id = str(record["id"])
            payload = self._payload(point_id, record.get("payload") or {})
            if payload:
                yield Point(point_id, payload, self._dense(record))

    def facet(self, key: IndexedKey, *, of_all: bool = False) -> dict[str, int]:
        """Return {}: ragctl's own keys are not stored."""
        return {}

    def notes(self) -> Notes:
        """Return {}: there are none."""
        return {}

    def close(self) -> None:
        """Do nothing: the connection belongs to the store."""

    def apply(self, batch: Batch) -> None:
        """Raise StoreError: only its own program writes."""
        self._refuse()

    def note(self, notes: Notes) -> None:
        """Raise StoreError: only its own program writes."""
        self._refuse()

    def declare(self, fields: Mapping[str, str]) -> None:
        """Raise StoreError: only its own program writes."""
        self._refuse()

    def lock(
        self, *, patience: float = 0.0, waiting: Notify = ignore
    ) -> AbstractContextManager[None]:
        """Raise StoreError: only its own program writes."""
        self._refuse()

    def server_state(self) -> ServerState | None:
        """Return None: its own program looks after it."""
        return None

    @property
    def unfinished(self) -> bool:
        """See Collection.unfinished."""
        return False

    def finish(self, *, notify: Notify = ignore) -> None:
        """Raise StoreError: only its own program writes."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(foreign_message(self.name, self._connection.url))

    def _payload(self, point_id: str, stored: Mapping[str, Any]) -> Payload:
        """Return a payload with ragctl's keys; {} for a point without text, which is no hit."""
        record = read_record(point_id, stored, self.layout)
        if record is None:
            return {}
        return {
            "source": record.source,
            "file": record.source,
            "source_name": "",
            "stamp": "",
            "digest": "",
            "version": "",
            "ordinal": 0,
            "chunks": 1,
            "text": record.text,
            "text_hash": "",
            "start": 0,
            "end": len(record.text),
            "page": None,
            "line": None,
            "heading": [],
            "tokens": 0,
            "title": record.title,
            "lang": self.layout.language,
            "mtime_ns": 0,
            "size": 0,
            "recipe": "",
            "parts": 1,
            "meta": record.metadata,
        }

    def _dense(self, record: Mapping[str, Any]) -> Vector | None:
        stored = record.get("vector")
        vector = stored.get(self._vector) if isinstance(stored, dict) else stored
        return np.asarray(vector, dtype=np.float32) if vector else None

    def _declared(self) -> dict[str, str]:
        """Return the types of the user's fields that have an index, by name."""
        prefix = f"{self.layout.metadata_path}." if self.layout.metadata_path else ""
        return {
            path.removeprefix(prefix): kind
            for path, kind in self._types.items()
            if path.startswith(prefix)
        }

    def _translated(self, where: Where) -> Where:
        """Return conditions on ragctl's keys as conditions on the stored ones."""
        return tuple(map(self._translate, where))

    def _translate(self, condition: Condition) -> Condition:
        if isinstance(condition, AnyOf | AllOf | NoneOf):
            return replace(condition, of=self._translated(condition.of))
        if isinstance(condition, HasId):
            return condition
        return replace(condition, key=self._path(condition.key))

    def _path(self, key: str) -> str:
        named = {"source": self.layout.source_path, "title": self.layout.title}
        if (path := named.get(key)) is not None:
            return path
        name = key.removeprefix(META_PREFIX)
        return f"{self.layout.metadata_path}.{name}" if self.layout.metadata_path else name

    def _retrieved(self, ids: Sequence[str], vectors: bool) -> Iterator[Mapping[str, Any]]:
        page = PAGE_POINTS // 10 if vectors else PAGE_POINTS
        for first in range(0, len(ids), page):
            chosen = [*map(server_id, ids[first : first + page])]
            body = {"ids": chosen, "with_payload": True, "with_vector": self._wanted(vectors)}
            yield from self._post("points", body)

    def _scrolled(self, *, vectors: bool, where: Where = ()) -> Iterator[Mapping[str, Any]]:
        offset = None
        while True:
            body = {
                "filter": filter_of(where),
                "limit": min(PAGE_POINTS // 10 if vectors else PAGE_POINTS, self.max_hits),
                "offset": offset,
                "with_payload": True,
                "with_vector": self._wanted(vectors),
            }
            found = self._post("points/scroll", given(body))
            yield from found["points"]
            offset = found.get("next_page_offset")
            if offset is None:
                return

    def _wanted(self, vectors: bool) -> bool | list[str]:
        return [self._vector] if vectors and self._vector else vectors

    def _post(self, path: str, body: object) -> Any:
        url = collection_path(self.name, *path.split("/"))
        return self._connection.call(
            collection_label(self.name), lambda client: client.send("POST", url, body)
        )


def foreign_message(name: str, url: str) -> str:
    """Return the refusal to write to a collection of another program."""
    return (
        f"{collection_label(name)} at {url} was not made by ragctl; choose another name. "
        f"`ragctl search -c {name} --model MODEL --text-field FIELD` searches it as it is, and "
        f"`ragctl copy {url}#{name} NEW --model MODEL` makes a collection of ragctl from it"
    )


def _chosen_vector(asked: str | None, dense: Mapping[str, Any], place: str) -> str:
    known = ", ".join(map(_shown, sorted(dense))) or "none"
    if asked is not None:
        if asked not in dense:
            raise UsageError(f"{place} has no dense vector {asked!r}; it has: {known}")
        return asked
    if UNNAMED in dense:
        return UNNAMED
    if len(dense) != 1:
        raise UsageError(f"{place}: choose a dense vector with --vector; it has: {known}")
    return next(iter(dense))


def _shown(name: str) -> str:
    return repr(name) if name else "the unnamed one"


def _query_vector(query: Query, name: VectorName) -> Any:
    if name == "dense":
        assert query.dense is not None, "a dense search has a dense vector"
        return np.ascontiguousarray(query.dense, dtype=np.float32)
    assert query.sparse is not None, "a sparse search has a sparse vector"
    return sparse_vector(query.sparse)
