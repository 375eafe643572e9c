"""The reads of one collection on a Qdrant server, as requests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from ragctl.collection.conditions import Has, Prefix, Where
from ragctl.collection.notes import Notes
from ragctl.collection.payload import FILTERABLE_FIELDS, KEYWORD_INDEXES, Point
from ragctl.collection.settings import Settings
from ragctl.collection.shard_keys import ShardKeys
from ragctl.errors import GenerationDropped, StoreError
from ragctl.records import Json
from ragctl.stores.base import Query, Scored, ServerState
from ragctl.stores.conditions import prepare, split
from ragctl.stores.searching import answer
from ragctl.stores.server_connection import Refusal, ServerConnection, collection_label
from ragctl.stores.server_creation import NOTES_KEY
from ragctl.stores.server_http import QdrantHttp, collection_path
from ragctl.stores.server_info import CollectionInfo, read_shards
from ragctl.stores.server_limits import BatchLimits
from ragctl.stores.server_points import HIDDEN, filter_of, given, read_hits, read_points, server_id
from ragctl.stores.server_schema import PREFIX_VERSION, restored_graph
from ragctl.stores.server_searches import Search
from ragctl.stores.server_writes import shard_choice

T = TypeVar("T")

PAGE_POINTS = 1000
"""Points read at a time; with vectors a tenth."""

FIRST_FACET_VALUES = 10_000
"""Values asked for at first; the server allocates memory for all that are asked for."""

NO_INDEX = "No appropriate index for faceting"
"""Words of a refusal of a facet."""

NOT_FOUND = 404


class ServerReader:
    """Reads one generation of a collection on a server.

    A read whose conditions fix the tenant reaches only the shards of that tenant.

    Args:
        connection: the store's connection.
        name: the collection's name, for errors.
        address: the name that requests use.
        settings: the generation's settings.
        info: what the server says about it.
        verify: called after each answer that was read; raises GenerationDropped if `address` is
            an alias that leads to another generation now. None: it cannot.
    """

    def __init__(
        self,
        connection: ServerConnection,
        name: str,
        address: str,
        settings: Settings,
        info: CollectionInfo,
        *,
        verify: Callable[[], None] | None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._address = address
        self._connection = connection
        self._verify = verify
        self.limits = BatchLimits.of(info)
        self._shards = ShardKeys.of_options(settings.server)

    def scroll(
        self, where: Where = (), *, fields: Sequence[str] | None = None, vectors: bool = False
    ) -> Iterator[Point]:
        """See Collection.scroll."""
        parts = list(split(self._prepared(where), self.limits.values))
        if len(parts) == 1:
            yield from self._scroll(parts[0], fields, vectors)
            return
        seen: set[str] = set()  # a field may hold values of two parts
        for part in parts:
            for point in self._scroll(part, fields, vectors):
                if point.id not in seen:
                    seen.add(point.id)
                    yield point

    def _scroll(
        self, prepared: Where, fields: Sequence[str] | None, vectors: bool
    ) -> Iterator[Point]:
        chosen = {"filter": filter_of(prepared, HIDDEN), **self._shards_of(prepared)}
        offset: Any = None
        while True:
            points, offset = self._page(chosen, offset, fields, vectors)
            yield from points
            if offset is None:
                return

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        """See Collection.retrieve."""
        return self.retrieve_from(ids, {}, vectors=vectors)

    def retrieve_from(
        self, ids: Sequence[str], shards: Mapping[str, Any], *, vectors: bool
    ) -> list[Point]:
        """Return the points of some shards; see `retrieve`."""
        page = PAGE_POINTS // 10 if vectors else PAGE_POINTS
        visible = [server_id(point_id) for point_id in ids if point_id != HIDDEN]
        found: list[Point] = []
        for first in range(0, len(visible), page):
            body = {"ids": visible[first : first + page], "with_payload": True, **shards}
            found += self._post(("points",), {**body, "with_vector": vectors}, read_points)
        return found

    def facet(self, key: str, *, of_all: bool = False) -> dict[str, int]:
        """See Collection.facet."""
        if not self.limits.exact:
            return self._counted_by_scroll(key)
        counts = self._facet(key, exact=not of_all)
        if of_all and counts is not None:
            total = sum(counts.values())
            if total != self.count() and total != self.count((Has(key),)):
                counts = self._facet(key, exact=True)
        return self._counted_by_scroll(key) if counts is None else counts

    def count(self, where: Where = ()) -> int:
        """See Collection.count."""
        if not self.limits.exact:
            return sum(1 for _ in self.scroll(where, fields=()))
        prepared = self._prepared(where)
        body = {"filter": filter_of(prepared, HIDDEN), "exact": True, **self._shards_of(prepared)}
        return self._post(("points", "count"), body, lambda found: int(found["count"]))

    def query(self, query: Query) -> list[Scored]:
        """See Collection.query."""
        if query.exact and not self.limits.exact:
            raise StoreError(
                f"{collection_label(self.name)} at {self._connection.url}: strict mode of the "
                "collection forbids exact searches (search_allow_exact); search without --exact"
            )
        where = self._prepared(query.where)
        return answer(replace(query, where=where), Search(self, self._shards_of(where)))

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        return self._connection.version

    def search(self, searches: Sequence[Mapping[str, Any]]) -> list[list[Scored]]:
        """Return the answers to searches, in as few requests as the server allows."""
        size = self.limits.searches
        answers: list[list[Scored]] = []
        for first in range(0, len(searches), size):
            answers += self._post(
                ("points", "query", "batch"),
                {"searches": searches[first : first + size]},
                lambda answers: [read_hits(found["points"]) for found in answers],
            )
        return answers

    def _shards_of(self, where: Where) -> dict[str, Any]:
        """Return the choice of the shards that can hold points with these conditions."""
        keys = None if self._shards is None else self._shards.reached(where)
        return shard_choice(keys[0] if keys is not None and len(keys) == 1 else keys)

    def _prepared(self, where: Where) -> Where:
        """Return `where` in a form that this server answers."""
        has_prefixes = self._connection.version >= PREFIX_VERSION
        return prepare(
            where,
            {**FILTERABLE_FIELDS, **self.settings.indexed},
            None if has_prefixes else self._values_with_prefix,
            indexed_only=not self.limits.unindexed,
        )

    def _values_with_prefix(self, prefix: Prefix) -> list[str]:
        key = prefix.key
        indexed = key in KEYWORD_INDEXES or self.settings.indexed.get(key) == "keyword"
        counts = self.facet(key) if indexed else self._counted_by_scroll(key)
        return [value for value in counts if value.startswith(prefix.text)]

    def server_state(self) -> ServerState:
        """See Collection.server_state."""
        url = self._path()
        info = self._read(lambda client: client.send("GET", url, read=CollectionInfo.read))
        shards = self._connection.attempt(
            collection_label(self.name),
            lambda client: client.send("GET", self._path("cluster"), read=read_shards),
        )
        return ServerState(
            optimizer=info.status,
            optimizer_error=info.optimizer_error,
            indexed_vectors=info.indexed_vectors,
            graph_deferred=restored_graph(info) is not None,
            shards=None if isinstance(shards, Refusal) else shards,
        )

    def notes(self) -> Notes:
        """See Collection.notes."""
        body = {"ids": [HIDDEN], "with_payload": [NOTES_KEY]}
        found = self._post(("points",), body, read_points)
        stored = cast(Mapping[str, Any], found[0].payload).get(NOTES_KEY) if found else None
        return cast(Notes, stored or {})

    def agreed(self, ids: Sequence[str], replicas: int) -> set[str]:
        """Return which of these points so many replicas hold with the same payload."""
        found = set[str]()
        for first in range(0, len(ids), PAGE_POINTS):
            page = [*map(server_id, ids[first : first + PAGE_POINTS])]
            body = {"ids": page, "with_payload": True}
            points = self._post(("points",), body, read_points, consistency=str(replicas))
            found |= {point.id for point in points}
        return found

    def _read(self, request: Callable[[QdrantHttp], T]) -> T:
        outcome = self._connection.attempt(collection_label(self.name), request)
        if isinstance(outcome, Refusal):
            raise self._refused(outcome, "the right to read this collection")
        if self._verify is not None:
            self._verify()
        return outcome

    def _refused(self, refusal: Refusal, need: str) -> StoreError:
        label = collection_label(self.name)
        if refusal.status == NOT_FOUND and "doesn't exist" in refusal.reason:
            return GenerationDropped(
                f"{label} at {self._connection.url}: it was deleted or replaced after it was "
                "opened; run again"
            )
        return self._connection.error(label, refusal, need=need)

    def _path(self, *parts: str) -> str:
        return collection_path(self._address, *parts)

    def _post(
        self,
        parts: Sequence[str],
        body: object,
        read: Callable[[Any], T],
        *,
        consistency: str | None = None,
    ) -> T:
        url = self._path(*parts)

        def request(client: QdrantHttp) -> T:
            if consistency is None:
                return client.send("POST", url, body, read=read)
            return client.send("POST", url, body, read=read, consistency=consistency)

        return self._read(request)

    def _page(
        self,
        chosen: Mapping[str, Any],
        offset: Any,
        fields: Sequence[str] | None,
        vectors: bool,
    ) -> tuple[list[Point], Any]:
        body = {
            **chosen,
            "limit": min(PAGE_POINTS // 10 if vectors else PAGE_POINTS, self.limits.query),
            "offset": offset,
            "with_payload": fields is None or (list(fields) or False),
            "with_vector": vectors,
        }
        return self._post(
            ("points", "scroll"),
            given(body),
            lambda found: (read_points(found["points"]), found.get("next_page_offset")),
        )

    def _facet(self, key: str, *, exact: bool) -> dict[str, int] | None:
        """Return None if there are more values than the server returns, or no index yet."""
        # The hidden point has none of the indexed fields.
        limit = min(FIRST_FACET_VALUES, self.limits.query)
        while True:
            counts = self._facet_page({"key": key, "limit": limit, "exact": exact})
            if counts is None or len(counts) < limit:
                return counts
            if limit == self.limits.query:
                return None
            limit = min(limit * 10, self.limits.query)

    def _facet_page(self, body: Mapping[str, Any]) -> dict[str, int] | None:
        def read(found: Any) -> dict[str, int]:
            return {str(hit["value"]): int(hit["count"]) for hit in found["hits"]}

        try:
            return self._post(("facet",), body, read)
        except StoreError as error:
            if NO_INDEX in str(error):  # another run is making the collection
                return None
            raise

    def _counted_by_scroll(self, key: str) -> dict[str, int]:
        """Return a facet by reading every point: without an index, or beyond a limit."""
        counts: dict[str, int] = {}
        for point in self.scroll(fields=[key]):
            value = cast(Json, point.payload)
            for name in key.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            values = value if isinstance(value, list) else [value]
            for text in {text for text in values if isinstance(text, str)}:
                counts[text] = counts.get(text, 0) + 1
        return counts
