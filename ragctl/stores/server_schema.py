"""The configuration of a collection on a server: vectors, quantisation, payload indexes."""

from typing import Any

from qdrant_client import models

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
    """Return the arguments of `create_collection`.

    Vectors, payloads and indexes are on disk, quantised copies of the vectors in memory.
    """
    return {
        "vectors_config": {
            DENSE: models.VectorParams(
                size=settings.dim,
                distance=models.Distance.COSINE,
                on_disk=True,
                quantization_config=_quantization(settings.quantization),
            )
        },
        "sparse_vectors_config": {
            BM25: models.SparseVectorParams(
                modifier=models.Modifier.IDF, index=models.SparseIndexParams(on_disk=True)
            )
        },
        "on_disk_payload": True,
    }


def _quantization(name: str | None) -> Any:
    match name:
        case None:
            return None
        case "scalar":
            scalar = models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, quantile=0.99, always_ram=True
            )
            return models.ScalarQuantization(scalar=scalar)
        case "binary":
            return models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(always_ram=True)
            )
        case "binary2":
            two = models.BinaryQuantizationConfig(
                always_ram=True, encoding=models.BinaryQuantizationEncoding.TWO_BITS
            )
            return models.BinaryQuantization(binary=two)
        case _:
            bits = models.TurboQuantBitSize(name.replace("turbo", "bits"))
            turbo = models.TurboQuantQuantizationConfig(always_ram=True, bits=bits)
            return models.TurboQuantization(turbo=turbo)


def index_schema(kind: str, version: tuple[int, int]) -> Any:
    """Return the payload index for a field type, on disk if the server supports that."""
    match kind:
        case "integer":
            return models.IntegerIndexParams(
                type=models.IntegerIndexType.INTEGER, lookup=True, range=True, on_disk=True
            )
        case "float":
            return models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=True)
        case "bool":
            return models.BoolIndexParams(type=models.BoolIndexType.BOOL)  # on_disk came with 1.14
        case "datetime":
            return models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, on_disk=True)
        case _:
            return models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD,
                on_disk=True,
                prefix=True if version >= PREFIX_VERSION else None,
            )
