"""How a Qdrant server distributes and stores a collection; fixed at creation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from ragctl.records import Json

Datatype = Literal["float32", "float16", "turbo4", "turbo8", "turbo16"]
DATATYPES: tuple[Datatype, ...] = ("float32", "float16", "turbo4", "turbo8", "turbo16")
"""Types in which a server stores the components of dense vectors, in 32, 16, 4, 8 and 16 bits."""

FALLBACK_KEY = "other"
"""Shard key of the documents of no listed tenant, and of the hidden point."""

BITS_PER_COMPONENT: Mapping[str, int] = {
    "float32": 32,
    "float16": 16,
    "turbo4": 4,
    "turbo8": 8,
    "turbo16": 16,
}


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of a collection on a Qdrant server. None: the server's own default.

    Attributes:
        shards: parts that the points are distributed over (`shard_number`).
        replicas: nodes that hold a copy of each shard (`replication_factor`).
        write_consistency: replicas that must confirm a write (`write_consistency_factor`).
        tenant: name of the user's field that says whose document it is. It is indexed as a tenant
            field: the points of one tenant are stored together.
        shard_keys: tenants with a shard of their own, in order of name (see ShardKeys); `shards`
            is then the number of shards of each key. None: no shard keys.
        vectors_on_disk: read dense vectors from disk. None: true.
        payload_on_disk: read payloads from disk. None: true.
        hnsw_m: links of a point in the HNSW graph; 0 for no graph over all points.
        hnsw_ef_construct: candidates compared while the graph is built.
        hnsw_payload_m: links in the graph of each tenant.
        datatype: one of DATATYPES; the stored vectors are rounded to it. None: float32.
        defer_indexing: build no HNSW graph before the first run has ended.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    tenant: str | None = None
    shard_keys: tuple[str, ...] | None = None
    vectors_on_disk: bool | None = None
    payload_on_disk: bool | None = None
    hnsw_m: int | None = None
    hnsw_ef_construct: int | None = None
    hnsw_payload_m: int | None = None
    datatype: str | None = None
    defer_indexing: bool | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the options that are set."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ServerOptions":
        """Return the options that `to_json` wrote. Raises TypeError for other values."""
        options = cls(**stored)
        keys = options.shard_keys
        if isinstance(keys, list) and all(isinstance(key, str) for key in keys):
            options = replace(options, shard_keys=tuple(keys))
        for each in fields(cls):
            value = getattr(options, each.name)
            if value is not None and type(value) not in _TYPES[each.name]:
                raise TypeError(f"the server option {each.name} is {value!r}")
        return options

    @property
    def copies(self) -> int:
        """Copies of every point in the cluster."""
        return self.replicas or 1


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("shards", "replicas", "write_consistency"), (int,)),
    **dict.fromkeys(("hnsw_m", "hnsw_ef_construct", "hnsw_payload_m"), (int,)),
    **dict.fromkeys(("tenant", "datatype"), (str,)),
    **dict.fromkeys(("shard_keys",), (tuple,)),
    **dict.fromkeys(("vectors_on_disk", "payload_on_disk"), (bool,)),
    **dict.fromkeys(("defer_indexing",), (bool,)),
}
