"""The table [server]: how a Qdrant server stores a collection."""

from dataclasses import dataclass, fields

from ragctl.collection.server_options import DATATYPES, ServerOptions
from ragctl.pipeline.keys import check_bounds, key

_SERVER_DEFAULT = "the collection's, else the server's"


@dataclass(frozen=True, slots=True)
class Server:
    """Options of a collection on a Qdrant server. None: the collection's, or the default."""

    shards: int | None = key(
        "shards",
        "integer",
        "parts that the points are distributed over",
        default_text=_SERVER_DEFAULT,
        options=("--shards",),
        metavar="N",
        minimum=1,
    )
    replicas: int | None = key(
        "replicas",
        "integer",
        "nodes that hold a copy of each shard",
        default_text=_SERVER_DEFAULT,
        options=("--replicas",),
        metavar="N",
        minimum=1,
    )
    write_consistency: int | None = key(
        "write_consistency",
        "integer",
        "replicas that must confirm a write",
        default_text=_SERVER_DEFAULT,
        options=("--write-consistency",),
        metavar="N",
        minimum=1,
    )
    tenant: str | None = key(
        "tenant",
        "string",
        "metadata field that says whose document it is; the points of a tenant are stored together",
        default_text="the collection's, else none",
        literal=True,
    )
    shard_keys: tuple[str, ...] | None = key(
        "shard_keys",
        "strings",
        "tenants with a shard of their own; all other documents share the shard `other`",
        default_text="the collection's, else none",
    )
    vectors_on_disk: bool | None = key(
        "vectors_on_disk",
        "boolean",
        "read dense vectors from disk instead of keeping them in memory",
        default_text="the collection's, else true",
    )
    payload_on_disk: bool | None = key(
        "payload_on_disk",
        "boolean",
        "read payloads from disk instead of keeping them in memory",
        default_text="the collection's, else true",
    )
    hnsw_m: int | None = key(
        "hnsw_m",
        "integer",
        "links of a point in the HNSW graph; 0: no graph over all points",
        default_text=_SERVER_DEFAULT,
        minimum=0,
        maximum=10_000,
    )
    hnsw_ef_construct: int | None = key(
        "hnsw_ef_construct",
        "integer",
        "candidates compared while the HNSW graph is built",
        default_text=_SERVER_DEFAULT,
        minimum=4,
        maximum=10_000,
    )
    hnsw_payload_m: int | None = key(
        "hnsw_payload_m",
        "integer",
        "links of a point in the HNSW graph of its tenant",
        default_text="the collection's, else hnsw_m",
        minimum=0,
        maximum=10_000,
    )
    datatype: str | None = key(
        "datatype",
        "string",
        "type in which the server stores vector components; smaller types round them",
        default_text="the collection's, else float32",
        choices=DATATYPES,
    )
    defer_indexing: bool | None = key(
        "defer_indexing",
        "boolean",
        "build the HNSW graph when the run that created the collection has ended",
        default_text="true",
    )

    def __post_init__(self) -> None:
        """Check the bounds. Raises UsageError."""
        check_bounds(self)

    def options(self) -> ServerOptions:
        """Return the options as they are stored with a collection."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.shard_keys is not None:
            values["shard_keys"] = tuple(sorted(self.shard_keys))
        return ServerOptions(**values)
