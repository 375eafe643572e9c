"""The part of Qdrant's REST API that ragctl uses, on top of the client's local mode.

Stricter than a server in one way: unknown fields are refused, where a server ignores them,
so that a misspelled field is noticed. Where local mode differs from a server, this follows
the server; the error texts and checks are taken from the server's source code.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import models
from qdrant_client.local.payload_filters import check_match, check_range
from qdrant_client.local.qdrant_local import QdrantLocal

from tests.servers import qdrant_fast
from tests.servers.qdrant_config import Config, change_vectors, check_vector, stored_vector
from tests.servers.qdrant_fast import value_by_key
from tests.servers.qdrant_limits import Limits, Problem
from tests.servers.qdrant_rights import Access
from tests.servers.qdrant_shards import Shards

qdrant_fast.install()

Json: TypeAlias = Any
Answer: TypeAlias = Json  # the value of "result"

_INDEXES = (
    models.KeywordIndexParams,
    models.IntegerIndexParams,
    models.FloatIndexParams,
    models.BoolIndexParams,
    models.DatetimeIndexParams,
)
_KINDS = ("keyword", "integer", "float", "bool", "datetime")
COLLECTION = "/collections/{name}"
_WRITE = frozenset({"wait", "ordering", "timeout"})
_READ = frozenset({"consistency", "timeout"})
_FACET_HELP = (
    "Please create one to facet on this field. Check "
    "https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload "
    "schemas support Match conditions"
)


@dataclass
class Engine:
    """The state of one server. Calls must not overlap."""

    version: tuple[int, int]
    limits: Limits = field(default_factory=Limits)
    points_upserted: int = 0
    largest_upsert: int = 0
    searches: list[models.SearchParams] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)  # names of collections, by alias
    access: Access = field(default_factory=Access)  # of the request that is answered

    def __post_init__(self) -> None:
        self._local = QdrantLocal(":memory:")
        self.shards = Shards(self._local)
        self._indexes: dict[str, dict[str, Json]] = {}
        self.configs: dict[str, Config] = {}
        self._deleted_payloads: dict[str, list[Json]] = {}  # by collection

    @property
    def strict_mode(self) -> dict[str, Json]:
        """The settings of strict mode, of every collection."""
        return self.limits.settings

    @strict_mode.setter
    def strict_mode(self, settings: dict[str, Json]) -> None:
        self.limits.settings = settings

    def route(self, method: str, path: str) -> "tuple[Route, dict[str, str]] | None":
        for route in ROUTES:
            found = route.pattern.fullmatch(path)
            if route.method == method and found and self.version >= route.since:
                return route, found.groupdict()
        return None

    def answer(
        self, route: "Route", names: Mapping[str, str], query: Mapping[str, str], body: bytes
    ) -> Answer:
        """Carry out one request. Raises Problem."""
        if unknown := set(query) - route.query:
            raise Problem(400, f"unknown query parameter: {sorted(unknown)}")
        request = _parse_body(route.body, body)
        if "name" in names and route.needs_collection:
            names = {**names, "name": self.aliases.get(names["name"], names["name"])}
            self._require_collection(names["name"])
        if route.query == _READ:
            self.limits.spend("read", 1)
        try:
            return route.call(self, names, query, request)
        except ValueError as error:  # the only error that local mode raises
            raise Problem(400, f"Wrong input: {error}") from error

    def _require_collection(self, name: str) -> None:
        if name not in self._local.collections:
            raise Problem(404, f"Not found: Collection `{name}` doesn't exist!")

    # Collections and aliases

    def list_collections(self, *_: Any) -> Answer:
        """List collections; aliases are not among them."""
        return {"collections": [{"name": name} for name in filter(self.access.sees, self.names)]}

    @property
    def names(self) -> list[str]:
        """The names of all collections."""
        return sorted(self.configs)

    def exists(self, names: Mapping[str, str], *_: Any) -> Answer:
        """Return whether a collection exists, also by its alias."""
        return {"exists": names["name"] in self._local.collections}

    def list_aliases(self, *_: Any) -> Answer:
        """List the aliases of which the key may use both the alias and the collection."""
        seen = filter(self.access.sees, self.names)
        return {"aliases": [each for name in seen for each in self._aliases_of(name)]}

    def collection_aliases(self, names: Mapping[str, str], *_: Any) -> Answer:
        """List aliases of a collection; an alias, or a missing collection, has none."""
        return {"aliases": self._aliases_of(names["name"])}

    def _aliases_of(self, name: str) -> list[Json]:
        return [
            {"alias_name": alias, "collection_name": name}
            for alias, target in sorted(self.aliases.items())
            if target == name and self.access.sees(alias)
        ]

    def change_aliases(self, _: Any, __: Any, request: models.ChangeAliasesOperation) -> Answer:
        """Carry out the changes in order; those before a failing one stay done."""
        for action in request.actions:
            if isinstance(action, models.CreateAliasOperation):
                alias, target = action.create_alias.alias_name, action.create_alias.collection_name
                self._require_collection(target)
                if alias in self._local.collections:
                    raise Problem(409, f"Wrong input: Collection `{alias}` already exists!")
                self.aliases[alias] = target
            elif isinstance(action, models.DeleteAliasOperation):
                self.aliases.pop(action.delete_alias.alias_name, None)
            else:
                renamed = action.rename_alias
                if renamed.old_alias_name not in self.aliases:
                    missing = f"Not found: Alias {renamed.old_alias_name} does not exists!"
                    raise Problem(404, missing)
                self.aliases[renamed.new_alias_name] = self.aliases.pop(renamed.old_alias_name)
        return True

    def collection(self, names: Mapping[str, str], *_: Any) -> Answer:
        name = names["name"]
        info = self._local.get_collection(name).model_dump(mode="json", exclude_none=True)
        info["payload_schema"] = {
            key: {"data_type": params["type"], "params": params, "points": self._holding(name, key)}
            for key, params in self._indexes[name].items()
        }
        info["points_count"] = self.count_of(name)
        self.configs[name].add_to(info["config"])
        if self.strict_mode:
            info["config"]["strict_mode_config"] = self.strict_mode
        return info

    def _holding(self, name: str, key: str) -> int:
        """Return how many points have a value in a field, as its index counts them."""
        text = self._indexes[name][key]["type"] == "keyword"
        held = [self._local.collections[part] for part in self.shards.parts(name)]
        live = [
            row
            for each in held
            for row, gone in zip(each.payload, each.deleted, strict=False)
            if not gone
        ]
        values = (value_by_key(row, key) or [] for row in live)
        return sum(any(isinstance(v, str) or not text for v in found) for found in values)

    def count_of(self, name: str, parts: list[str] | None = None, condition: Any = None) -> int:
        """Count the points of a collection that match, in all its shards or in some."""
        chosen = self.shards.parts(name) if parts is None else parts
        return sum(self._local.count(part, condition).count for part in chosen)

    def create(self, names: Mapping[str, str], _: Any, request: models.CreateCollection) -> Answer:
        name = names["name"]
        if name in self._local.collections:
            raise Problem(409, f"Wrong input: Collection `{name}` already exists!")
        if name in self.aliases:
            raise Problem(
                400,
                f"Wrong input: Can't create collection with name {name}. "
                "Alias with the same name already exists",
            )
        vectors: Any = request.vectors
        for vector in vectors.values() if isinstance(vectors, dict) else [vectors]:
            check_vector(vector, self.version)
        self._local.create_collection(
            name,
            vectors_config=request.vectors,
            sparse_vectors_config=request.sparse_vectors,
            # A server ignores fields of later versions silently.
            metadata=request.metadata if self.version >= (1, 16) else None,
        )
        self._allow_large(name)
        self._indexes[name] = {}
        self.configs[name] = Config.of(request)
        if request.sharding_method == models.ShardingMethod.CUSTOM:
            self.shards.keys[name] = []
        return True

    def _allow_large(self, local_name: str) -> None:
        """Let local mode keep large collections without a warning."""
        self._local.collections[local_name].LARGE_DATA_THRESHOLD = 10**12

    def create_shard_key(
        self, names: Mapping[str, str], _: Any, request: models.CreateShardingKey
    ) -> Answer:
        return self.shards.add(names["name"], str(request.shard_key), self._allow_large)

    def update(self, names: Mapping[str, str], _: Any, request: models.UpdateCollection) -> Answer:
        name = names["name"]
        change_vectors(self._local.collections[name].config.vectors, request.vectors or {})
        if request.metadata is None or self.version < (1, 16):  # unknown before, ignored silently
            return True
        return self._local.update_collection(name, metadata=request.metadata)

    def delete_collection(self, names: Mapping[str, str], *_: Any) -> Answer:
        """Delete a collection with its aliases; the name of an alias deletes nothing."""
        if names["name"] not in self._local.collections:
            return False
        self.aliases = {a: name for a, name in self.aliases.items() if name != names["name"]}
        self._indexes.pop(names["name"], None)
        self.configs.pop(names["name"], None)
        self._deleted_payloads.pop(names["name"], None)
        self.shards.drop(names["name"])
        return self._local.delete_collection(names["name"])

    def create_index(
        self, names: Mapping[str, str], query: Mapping[str, str], request: models.CreateFieldIndex
    ) -> Answer:
        schema: Any = request.field_schema
        if isinstance(schema, models.PayloadSchemaType):  # a type alone, without parameters
            index = dict(zip(_KINDS, _INDEXES, strict=True)).get(schema.value)
            schema = index and index(type=schema.value)
        if not isinstance(schema, _INDEXES):
            raise Problem(400, "this index type is not supported by the test server")
        params = schema.model_dump(mode="json", exclude_none=True)
        if self.version < (1, 19):  # unknown to this version, ignored silently
            params.pop("prefix", None)
        indexes = self._indexes[names["name"]]
        if request.field_name not in indexes:
            self.limits.check_indexes(len(indexes))
        indexes[request.field_name] = params
        return _updated(query)

    # Writes

    def batch(
        self, names: Mapping[str, str], query: Mapping[str, str], request: models.UpdateOperations
    ) -> Answer:
        # In order, as a server does: operations before a failing one stay done.
        return [self._update(names["name"], query, operation) for operation in request.operations]

    def upsert(
        self,
        names: Mapping[str, str],
        query: Mapping[str, str],
        request: models.PointsList,
    ) -> Answer:
        return self._update(names["name"], query, models.UpsertOperation(upsert=request))

    def _update(self, name: str, query: Mapping[str, str], operation: Any) -> Answer:
        self.limits.spend("write", self._cost(name, operation))
        if isinstance(operation, models.UpsertOperation):
            if not isinstance(operation.upsert, models.PointsList):
                raise Problem(400, "only lists of points are supported by the test server")
            self._check_points(name, operation.upsert.points)
            # A server ignores fields of later versions silently.
            if self.version < (1, 16):
                operation.upsert.update_filter = None
            if self.version < (1, 17):
                operation.upsert.update_mode = None
            if operation.upsert.update_filter is not None:
                self._check_filter(
                    name, operation.upsert.update_filter, "unindexed_filtering_update"
                )
        written = getattr(operation, "set_payload", getattr(operation, "overwrite_payload", None))
        if written is not None and (written.points is None) == (written.filter is None):
            raise Problem(422, "Validation error in JSON body: either points or filter")
        if written is not None and written.filter is not None:
            self._check_filter(name, written.filter, "unindexed_filtering_update")
        (body,) = vars(operation).values()
        for part in self.shards.to_write(name, body.shard_key):
            self._write(name, part, operation)
        return _updated(query)

    def _write(self, name: str, part: str, operation: Any) -> None:
        """Carry out an operation of a collection on the points of one shard."""
        if isinstance(operation, models.DeleteOperation):
            self._deleted_payloads.setdefault(name, []).extend(
                self._deleted(part, operation.delete)
            )
        try:
            self._local.batch_update_points(part, [operation])
        except KeyError as error:  # existing points are written, as on a server
            raise Problem(404, f"Not found: No point with id {error.args[0]} found") from error
        if isinstance(operation, models.UpsertOperation) and operation.upsert.update_filter is None:
            self._store_vectors(part, operation.upsert.points)  # type: ignore[union-attr]

    def _store_vectors(self, name: str, points: list[models.PointStruct]) -> None:
        held = self._local.collections[name]
        named: Any = held.config.vectors
        for point in points:
            for vector, sent in (point.vector if isinstance(point.vector, dict) else {}).items():
                if vector in held.vectors and isinstance(named, dict):
                    point_id = point.id if isinstance(point.id, int) else str(point.id)
                    row = held.vectors[vector][held.ids[point_id]]
                    row[:] = stored_vector(sent, row, named[vector])

    def _cost(self, name: str, operation: Any) -> int:
        """Return how many points a write touches, at least 1."""
        if self.limits.get("write_rate_limit") is None:
            return 0
        if isinstance(operation, models.UpsertOperation):
            return len(operation.upsert.points)  # type: ignore[union-attr]
        (body,) = operation.model_dump(exclude_none=True).values()
        if body.get("points") is not None:
            return len(body["points"])
        return max(1, self.count_of(name, condition=models.Filter(**body["filter"])))

    def _deleted(self, name: str, selector: Any) -> list[Json]:
        if isinstance(selector, models.PointIdsList):
            records = self._local.retrieve(name, selector.points)
        else:
            records = self._local.scroll(name, selector.filter, limit=10**9)[0]
        return [record.payload for record in records]

    def _check_points(self, name: str, points: list[models.PointStruct]) -> None:
        self.limits.check("upsert_max_batchsize", len(points))
        self.limits.check_room(self._local.collections[name])
        for point in points:
            unnamed = isinstance(point.vector, list)
            vectors: Any = {"": point.vector} if unnamed else point.vector or {}
            for vector, value in vectors.items():
                self._check_vector(name, vector, value)
        self.points_upserted += len(points)
        self.largest_upsert = max(self.largest_upsert, len(points))

    def _check_vector(self, name: str, vector: str, value: Any) -> None:
        params = self._local.collections[name].config
        single = isinstance(params.vectors, models.VectorParams)
        dense: Any = {"": params.vectors} if single else params.vectors or {}
        if isinstance(value, models.SparseVector):
            known = vector in (params.sparse_vectors or {})
            if len(value.indices) != len(value.values) or len(set(value.indices)) != len(
                value.indices
            ):
                raise Problem(422, "Validation error in JSON body: sparse indices and values")
        else:
            known = vector in dense
            if known and len(value) != dense[vector].size:
                raise Problem(
                    400,
                    "Wrong input: Vector dimension error: "
                    f"expected dim: {dense[vector].size}, got {len(value)}",
                )
        if not known:
            raise Problem(400, f"Wrong input: Not existing vector name error: {vector}")

    # Reads

    def retrieve(self, names: Mapping[str, str], _: Any, request: models.PointRequest) -> Answer:
        name = names["name"]
        found = self._local.retrieve(
            self.shards.view(name, request.shard_key),
            request.ids,
            with_payload=True if request.with_payload is None else request.with_payload,
            with_vectors=request.with_vector or False,
        )
        return [self._dump(name, record, request.shard_key) for record in found]

    def _dump(self, name: str, record: BaseModel, selector: Any) -> Json:
        dumped = record.model_dump(mode="json")
        return {**dumped, "shard_key": self.shards.key_of(name, dumped["id"], selector)}

    def scroll(self, names: Mapping[str, str], _: Any, request: models.ScrollRequest) -> Answer:
        self._check_filter(names["name"], request.filter)
        self.limits.check("max_query_limit", _positive(request.limit))
        request.filter = self._apply_indexes(names["name"], request.filter)
        name = names["name"]
        records, following = self._local.scroll(
            self.shards.view(name, request.shard_key),
            scroll_filter=request.filter,
            limit=_positive(request.limit),
            offset=request.offset,
            with_payload=True if request.with_payload is None else request.with_payload,
            with_vectors=request.with_vector or False,
        )
        points = [self._dump(name, record, request.shard_key) for record in records]
        return {"points": points, "next_page_offset": following}

    def count(self, names: Mapping[str, str], _: Any, request: models.CountRequest) -> Answer:
        self.limits.check_exact(request.exact is not False)
        self._check_filter(names["name"], request.filter)
        request.filter = self._apply_indexes(names["name"], request.filter)
        parts = self.shards.to_read(names["name"], request.shard_key)
        return {"count": self.count_of(names["name"], parts, request.filter)}

    def facet(self, names: Mapping[str, str], _: Any, request: models.FacetRequest) -> Answer:
        """Count the values here, because local mode rewrites values that look like a UUID.

        An inexact facet also counts deleted points, as an index may.
        """
        limit = _positive(request.limit)
        self.limits.check("max_query_limit", limit)
        self.limits.check_exact(request.exact)
        name = names["name"]
        if self._indexes[name].get(request.key, {}).get("type") != "keyword":
            raise Problem(
                400,
                f"Wrong input: No appropriate index for faceting: `{request.key}`. {_FACET_HELP}",
            )
        counts: Counter[str] = Counter()
        payloads: list[Json] = [
            record.payload
            for part in self.shards.to_read(name, request.shard_key)
            for record in self._local.scroll(part, request.filter, limit=10**9)[0]
        ]
        for held in payloads + ([] if request.exact else self._deleted_payloads.get(name, [])):
            for part in request.key.split("."):
                held = held.get(part) if isinstance(held, dict) else None
            values = held if isinstance(held, list) else [held]
            counts.update({value for value in values if isinstance(value, str)})
        best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return {"hits": [{"value": value, "count": count} for value, count in best]}

    def query(self, names: Mapping[str, str], _: Any, request: models.QueryRequest) -> Answer:
        return self._search(names["name"], request)

    def query_batch(
        self, names: Mapping[str, str], _: Any, request: models.QueryRequestBatch
    ) -> Answer:
        self.limits.check("search_max_batchsize", len(request.searches))
        return [self._search(names["name"], search) for search in request.searches]

    def _search(self, name: str, request: models.QueryRequest) -> Answer:
        prefetch: Any = request.prefetch or []
        prefetches: list[models.Prefetch] = prefetch if isinstance(prefetch, list) else [prefetch]
        self._check_search(name, request)
        request.filter = self._apply_indexes(name, request.filter)
        for search in prefetches:
            self._check_search(name, search)
            search.query = _nearest(search.query)
            search.filter = self._apply_indexes(name, search.filter)
        if isinstance(request.query, models.RrfQuery):
            if self.version < (1, 16):
                raise Problem(400, "Format error in JSON body: no variant of QueryInterface")
            if self.version < (1, 17):
                request.query.rrf.weights = None  # unknown to this version, ignored silently
        found = self._local.query_points(
            self.shards.view(name, request.shard_key),
            query=_nearest(request.query),
            prefetch=prefetches,
            query_filter=request.filter,
            using=request.using,
            score_threshold=request.score_threshold,
            limit=_positive(request.limit),
            offset=request.offset or 0,
            with_payload=request.with_payload or False,
            with_vectors=request.with_vector or False,
        )
        return {"points": [self._dump(name, point, request.shard_key) for point in found.points]}

    def _check_search(self, name: str, search: models.Prefetch | models.QueryRequest) -> None:
        self._check_filter(name, search.filter)
        self.limits.check("max_query_limit", _positive(search.limit))
        params = search.params or models.SearchParams()
        if params.hnsw_ef is not None:
            self.limits.check("search_max_hnsw_ef", params.hnsw_ef)
        self.limits.check_exact(params.exact)
        if params.quantization is not None and params.quantization.oversampling is not None:
            if params.quantization.oversampling < 1.0:
                raise Problem(422, "Validation error in JSON body: oversampling must be at least 1")
            self.limits.check("search_max_oversampling", params.quantization.oversampling)
        self.searches.append(params)
        vector: Any = search.query
        vector = vector.nearest if isinstance(vector, models.NearestQuery) else vector
        if isinstance(vector, list | models.SparseVector):
            self._check_vector(name, search.using or "", vector)

    # Limits

    def _check_filter(
        self, name: str, condition: Any, rule: str = "unindexed_filtering_retrieve"
    ) -> None:
        for part in _parts(condition):
            if isinstance(part.match, models.MatchPrefix) and self.version < (1, 19):
                raise Problem(400, "Format error in JSON body: no variant of Match")
        self.limits.check_filter(condition)
        if self.limits.get(rule) is not False:
            return
        for key, kinds in _indexes_for(condition):
            index = self._indexes[name].get(key, {})
            kind = "prefix" if kinds == ("prefix",) and index.get("prefix") else index.get("type")
            if kind not in kinds:
                raise Problem(
                    400,
                    f'Bad request: Index required but not found for "{key}" of one of the '
                    f"following types: [{', '.join(kinds)}]. Help: Create an index for this key or "
                    "use a different filter.",
                )

    def _apply_indexes(self, name: str, condition: Any) -> Any:
        """Replace conditions that an index answers from its own content, not from the payload.

        An integer index holds whole numbers only, 2.0 included. A datetime range over numbers, or
        a number range over datetimes, compares microseconds on a server; it is refused here.
        """
        for part in _parts(condition):
            kind = self._indexes[name].get(part.key, {}).get("type")
            times = isinstance(part.range, models.DatetimeRange)
            ordered = part.range is not None and kind in ("integer", "float", "datetime")
            if ordered and times != (kind == "datetime"):
                raise Problem(500, f"a range of {'datetimes' if times else 'numbers'} over {kind}")
            if kind == "integer" and (part.range is not None or _is_of_integers(part.match)):
                ids = [
                    record.id
                    for each in self.shards.parts(name)
                    for record in self._local.scroll(each, limit=10**9)[0]
                    if _holds_whole(record.payload, part)
                ]
                self._replace(condition, part, models.HasIdCondition(has_id=ids))
        return condition

    def _replace(self, condition: Any, old: models.FieldCondition, new: Any) -> None:
        """Replace one condition of a filter by another."""
        if not isinstance(condition, models.Filter):
            return
        for clause in (condition.must, condition.should, condition.must_not):
            for position, part in enumerate(clause or ()):
                if part is old:
                    clause[position] = new  # type: ignore[index]
                self._replace(part, old, new)


@dataclass(frozen=True)
class Route:
    """One REST call: its path, its parameters and the function that answers it."""

    method: str
    path: str
    call: Callable[..., Answer]
    body: Any = None
    query: frozenset[str] = frozenset()
    needs_collection: bool = True
    since: tuple[int, int] = (1, 0)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.path.replace("{name}", "(?P<name>[^/]+)"))


ROUTES = (
    Route("GET", "/", lambda *_: None),
    Route("GET", "/collections", Engine.list_collections),
    Route("GET", f"{COLLECTION}/exists", Engine.exists, needs_collection=False),
    Route("GET", "/aliases", Engine.list_aliases),
    Route("GET", f"{COLLECTION}/aliases", Engine.collection_aliases, needs_collection=False),
    Route(
        "POST",
        "/collections/aliases",
        Engine.change_aliases,
        models.ChangeAliasesOperation,
        frozenset({"timeout"}),
    ),
    Route("GET", COLLECTION, Engine.collection),
    Route(
        "PUT",
        COLLECTION,
        Engine.create,
        models.CreateCollection,
        frozenset({"timeout"}),
        needs_collection=False,
    ),
    Route(
        "DELETE",
        COLLECTION,
        Engine.delete_collection,
        query=frozenset({"timeout"}),
        needs_collection=False,
    ),
    Route("PATCH", COLLECTION, Engine.update, models.UpdateCollection, frozenset({"timeout"})),
    Route("GET", f"{COLLECTION}/cluster", lambda *_: None),
    Route(
        "PUT",
        f"{COLLECTION}/shards",
        Engine.create_shard_key,
        models.CreateShardingKey,
        frozenset({"timeout"}),
    ),
    Route("PUT", f"{COLLECTION}/index", Engine.create_index, models.CreateFieldIndex, _WRITE),
    Route("POST", f"{COLLECTION}/points/batch", Engine.batch, models.UpdateOperations, _WRITE),
    Route("PUT", f"{COLLECTION}/points", Engine.upsert, models.PointsList, _WRITE),
    Route("POST", f"{COLLECTION}/points", Engine.retrieve, models.PointRequest, _READ),
    Route("POST", f"{COLLECTION}/points/scroll", Engine.scroll, models.ScrollRequest, _READ),
    Route("POST", f"{COLLECTION}/points/count", Engine.count, models.CountRequest, _READ),
    Route("POST", f"{COLLECTION}/facet", Engine.facet, models.FacetRequest, _READ, since=(1, 12)),
    Route("POST", f"{COLLECTION}/points/query", Engine.query, models.QueryRequest, _READ),
    Route(
        "POST",
        f"{COLLECTION}/points/query/batch",
        Engine.query_batch,
        models.QueryRequestBatch,
        _READ,
    ),
)


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _parse_body(model: Any, body: bytes) -> Any:
    if model is None:
        if body:
            raise Problem(400, "this call has no body")
        return None
    try:
        return _adapter(model).validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        raise Problem(400, f"Format error in JSON body: {location}: {first['msg']}") from error


def _updated(query: Mapping[str, str]) -> Answer:
    done = query.get("wait") == "true"
    return {"operation_id": 0, "status": "completed" if done else "acknowledged"}


def _positive(limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise Problem(422, f"Validation error in JSON body: [limit: value {limit} invalid]")
    return 10 if limit is None else limit


def _nearest(query: Any) -> Any:
    """Wrap a bare vector as a nearest-neighbour query."""
    bare = isinstance(query, list | models.SparseVector)
    return models.NearestQuery(nearest=query) if bare else query


def _parts(condition: Any) -> list[models.FieldCondition]:
    """Return the conditions on payload fields in a filter, nested ones included."""
    if isinstance(condition, models.FieldCondition):
        return [condition]
    if not isinstance(condition, models.Filter):
        return []
    clauses = (condition.must, condition.should, condition.must_not)
    listed = [clause if isinstance(clause, list) else [clause] for clause in clauses]
    return [found for clause in listed for part in clause for found in _parts(part)]


def _is_of_integers(match: Any) -> bool:
    values = match.any if isinstance(match, models.MatchAny) else [getattr(match, "value", None)]
    return bool(values) and all(type(value) is int for value in values)


def _holds_whole(payload: Json, condition: models.FieldCondition) -> bool:
    """Return whether an integer value of the field meets the condition."""
    for value in value_by_key(payload or {}, condition.key) or []:
        if type(value) is float and value.is_integer() and abs(value) < 2**63:
            value = int(value)
        if type(value) is not int:
            continue
        if isinstance(condition.range, models.Range):
            if check_range(condition.range, value):
                return True
        elif condition.match is not None and check_match(condition.match, value):
            return True
    return False


def _indexes_for(condition: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the payload fields of a filter, each with the index types that can answer it."""
    if isinstance(condition, models.FieldCondition):
        yield condition.key, _kinds(condition)
    elif isinstance(condition, models.IsEmptyCondition):
        yield condition.is_empty.key, _KINDS
    elif isinstance(condition, models.Filter):
        for clause in (condition.must, condition.should, condition.must_not):
            for part in clause if isinstance(clause, list) else [clause]:
                yield from _indexes_for(part)


def _kinds(condition: models.FieldCondition) -> tuple[str, ...]:
    if isinstance(condition.range, models.DatetimeRange):
        return ("datetime",)
    if condition.range is not None:
        return ("float", "integer")
    if isinstance(condition.match, models.MatchPrefix):
        return ("prefix",)
    if _is_of_integers(condition.match):
        return ("integer",)
    return ("bool",) if isinstance(getattr(condition.match, "value", None), bool) else ("keyword",)
