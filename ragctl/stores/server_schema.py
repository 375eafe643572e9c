"""The configuration of a collection on a server: vectors, quantisation, payload indexes."""

from typing import Any

from ragctl.collection.payload import BM25, DENSE
from ragctl.collection.settings import Settings

# The first server versions with a feature.
PREFIX_VERSION = (1, 19)  # keyword indexes that answer prefix conditions
TWO_BITS_VERSION = (1, 15)  # binary quantisation in two bits
TURBO_VERSION = (1, 18)  # quantisation of rotated vectors


def first_version_with(quantization: str | None) -> tuple[int, int]:
    """Return the first server version with this quantisation; (0, 0) if all have it."""
    if quantization == "binary2":
        return TWO_BITS_VERSION
    return TURBO_VERSION if (quantization or "").startswith("turbo") else (0, 0)


def collection_config(settings: Settings) -> dict[str, Any]:
    """Return the body of the request that creates the collection.

    Vectors, payloads and indexes are on disk, quantised copies of the vectors in memory.
    """
    dense = {"size": settings.dim, "distance": "Cosine", "on_disk": True}
    if settings.quantization is not None:
        dense["quantization_config"] = _quantization(settings.quantization)
    return {
        "vectors": {DENSE: dense},
        "sparse_vectors": {BM25: {"modifier": "idf", "index": {"on_disk": True}}},
        "on_disk_payload": True,
    }


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
            return {"type": "keyword", "on_disk": True, **prefix}
