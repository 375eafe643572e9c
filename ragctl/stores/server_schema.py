"""The configuration of a collection on a server: vectors, quantisation, payload indexes."""

from typing import Any

from ragctl.collection.payload import BM25, DENSE, KEYWORD_INDEXES
from ragctl.collection.settings import META_PREFIX, Settings
from ragctl.stores.lease_state import LEASE_KEY
from ragctl.stores.server_info import CollectionInfo
from ragctl.stores.server_points import given

# The first server versions with a feature.
PREFIX_VERSION = (1, 19)  # keyword indexes that answer prefix conditions
TWO_BITS_VERSION = (1, 15)  # binary quantisation in two bits
TURBO_VERSION = (1, 18)  # quantisation of rotated vectors
_DATATYPE_VERSIONS = {
    **dict.fromkeys(("float32", "float16"), (0, 0)),
    "turbo4": (1, 19),
    **dict.fromkeys(("turbo8", "turbo16"), (1, 20)),
}


def first_version_with(quantization: str | None) -> tuple[int, int]:
    """Return the first server version with this quantisation; (0, 0) if all have it."""
    if quantization == "binary2":
        return TWO_BITS_VERSION
    return TURBO_VERSION if (quantization or "").startswith("turbo") else (0, 0)


def check_version(settings: Settings, version: tuple[int, int]) -> str | None:
    """Return what this server is too old for, as the end of an error; None if for nothing."""
    datatype = settings.server.datatype or "float32"
    wanted = {
        f"quantization {settings.quantization!r}": first_version_with(settings.quantization),
        f"datatype {datatype!r}": _DATATYPE_VERSIONS[datatype],
    }
    for what, first in wanted.items():
        if version < first:
            return f"has no {what}; it needs {first[0]}.{first[1]} or newer"
    return None


def collection_config(settings: Settings) -> dict[str, Any]:
    """Return the body of the request that creates the collection.

    Vectors, payloads and indexes are on disk, quantised copies of the vectors in memory. While the
    index is deferred, the dense vector has a graph configuration of its own; see `restored_graph`.
    """
    options = settings.server
    dense: dict[str, Any] = {
        "size": settings.dim,
        "distance": "Cosine",
        "on_disk": options.vectors_on_disk is not False,
    }
    if settings.quantization is not None:
        dense["quantization_config"] = _quantization(settings.quantization)
    if options.datatype is not None:
        dense["datatype"] = options.datatype
    if options.defer_indexing is not False:
        dense["hnsw_config"] = _NO_GRAPH
    config = {
        "vectors": {DENSE: dense},
        "sparse_vectors": {BM25: {"modifier": "idf", "index": {"on_disk": True}}},
        "on_disk_payload": options.payload_on_disk is not False,
        "shard_number": options.shards,
        "sharding_method": None if options.shard_keys is None else "custom",
        "replication_factor": options.replicas,
        "write_consistency_factor": options.write_consistency,
        "hnsw_config": given(
            {
                "m": options.hnsw_m,
                "ef_construct": options.hnsw_ef_construct,
                "payload_m": options.hnsw_payload_m,
            }
        )
        or None,
    }
    return given(config)


_NO_GRAPH = {"m": 0, "payload_m": 0}
"""A graph configuration with which the server builds no HNSW graph."""


def restored_graph(info: CollectionInfo) -> dict[str, Any] | None:
    """Return the change that ends a deferral of the HNSW graph; None if it is not deferred.

    The collection's own graph configuration is the wanted one; that of the dense vector overrides
    it during the first run. A run that was killed leaves the override, and the next one ends it.
    """
    vectors = info.params.get("vectors")
    dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
    override = dense.get("hnsw_config") if isinstance(dense, dict) else None
    if not override or given(override) != _NO_GRAPH:
        return None
    wanted = info.config.get("hnsw_config") or {}
    m = wanted.get("m", DEFAULT_M)
    graph = {"m": m, "payload_m": wanted.get("payload_m") or m}
    return None if graph == _NO_GRAPH else {"vectors": {DENSE: {"hnsw_config": graph}}}


DEFAULT_M = 16
"""Links of a point in the HNSW graph, unless the server's configuration says otherwise."""


def _quantization(name: str) -> dict[str, Any]:
    match name:
        case "scalar":
            return {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
        case "binary":
            return {"binary": {"always_ram": True}}
        case "binary2":
            return {"binary": {"always_ram": True, "encoding": "two_bits"}}
        case _:
            return {"turbo": {"always_ram": True, "bits": name.replace("turbo", "bits")}}


TENANT = "tenant"
"""The kind of the index of the tenant field."""


def needed_indexes(settings: Settings) -> dict[str, str]:
    """Return the payload indexes of a collection: field type, or TENANT, by payload key.

    Strict mode may want more (`BatchLimits.unindexed`): those of FILTERABLE_FIELDS.
    """
    indexes = {**dict.fromkeys((*KEYWORD_INDEXES, LEASE_KEY), "keyword"), **settings.indexed}
    if settings.server.tenant is not None:
        indexes[f"{META_PREFIX}{settings.server.tenant}"] = TENANT
    return indexes


def index_schema(kind: str, version: tuple[int, int]) -> dict[str, Any]:
    """Return the payload index for a field type, on disk if the server supports that."""
    match kind:
        case "integer":
            return {"type": kind, "lookup": True, "range": True, "on_disk": True}
        case "float" | "datetime":
            return {"type": kind, "on_disk": True}
        case "bool":
            return {"type": kind}  # on_disk came with 1.14
        case _:
            prefix = {"prefix": True} if version >= PREFIX_VERSION else {}
            tenant = {"is_tenant": True} if kind == TENANT else {}
            return {"type": "keyword", "on_disk": True, **prefix, **tenant}
