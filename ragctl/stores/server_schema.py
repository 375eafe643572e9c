"""What a collection on a server is made of: vectors, their small copies, payload indexes."""

from typing import Any

from qdrant_client import models

from ragctl.collection.payload import BM25, DENSE
from ragctl.collection.settings import Settings

_PREFIXES = (1, 19)  # first version whose keyword indexes serve prefixes
_TWO_BITS = (1, 15)
_TURBO = (1, 18)


def needed(quantization: str | None) -> tuple[int, int]:
    """First version of a server that has it; (0, 0) for one that all have."""
    if quantization == "binary2":
        return _TWO_BITS
    return _TURBO if (quantization or "").startswith("turbo") else (0, 0)


def collection_config(settings: Settings) -> dict[str, Any]:
    """Vectors, payloads and indexes on disk; small copies of the vectors in memory."""
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
    """The payload index for a type of field, kept on disk where the server can."""
    match kind:
        case "integer":
            return models.IntegerIndexParams(
                type=models.IntegerIndexType.INTEGER, lookup=True, range=True, on_disk=True
            )
        case "float":
            return models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=True)
        case "bool":
            return models.BoolIndexParams(type=models.BoolIndexType.BOOL)  # on_disk is of 1.14
        case "datetime":
            return models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, on_disk=True)
        case _:
            return models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD,
                on_disk=True,
                prefix=True if version >= _PREFIXES else None,
            )
