"""The part of a collection's configuration that local mode does not keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from pydantic import BaseModel
from qdrant_client import models

from tests.servers.qdrant_limits import Problem

Json: TypeAlias = Any

_DEFAULT_GRAPH: Mapping[str, Json] = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10_000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
_DATATYPES = {"turbo4": (1, 19), "turbo8": (1, 20), "turbo16": (1, 20)}
"""First versions of the datatypes that not all servers have."""


@dataclass
class Config:
    """Parameters of one collection, as `GET /collections/NAME` shows them."""

    params: dict[str, Json]
    graph: dict[str, Json]

    @classmethod
    def of(cls, request: models.CreateCollection) -> "Config":
        params: dict[str, Json] = {
            "shard_number": request.shard_number or 1,
            "replication_factor": request.replication_factor or 1,
            "write_consistency_factor": request.write_consistency_factor or 1,
            "on_disk_payload": request.on_disk_payload is not False,
        }
        if request.sharding_method is not None:
            params["sharding_method"] = request.sharding_method.value
        return cls(params, {**_DEFAULT_GRAPH, **_given(request.hnsw_config)})

    def add_to(self, config: dict[str, Json]) -> None:
        config["params"] |= self.params
        config["hnsw_config"] = self.graph


def check_vector(vector: models.VectorParams | None, version: tuple[int, int]) -> None:
    """Refuse what a server of this version does not know, or ignore it as that server does."""
    if vector is None:
        return
    quantization = vector.quantization_config
    if isinstance(quantization, models.TurboQuantization) and version < (1, 18):
        raise Problem(400, "Format error in JSON body: no variant of QuantizationConfig")
    if isinstance(quantization, models.BinaryQuantization) and version < (1, 15):
        quantization.binary.encoding = None  # unknown to this version, ignored silently
    if vector.datatype is not None and version < _DATATYPES.get(vector.datatype.value, (0, 0)):
        raise Problem(
            400,
            f"Format error in JSON body: unknown variant `{vector.datatype.value}`, expected one "
            "of `float32`, `uint8`, `float16`",
        )


def change_vectors(held: Any, changes: Mapping[str, models.VectorParamsDiff]) -> None:
    """Merge changes into the graph configurations of named vectors."""
    for name, diff in changes.items():
        if name not in held:
            raise Problem(400, f"Wrong input: Not existing vector name error: {name}")
        graph = {**_given(held[name].hnsw_config), **_given(diff.hnsw_config)}
        held[name].hnsw_config = models.HnswConfigDiff(**graph)


def stored_vector(sent: Any, normalized: Any, params: models.VectorParams) -> Any:
    """Return a vector as a server stores it, given the one that local mode stores.

    A server leaves a vector alone whose length is 1 up to rounding, and then rounds to the type.
    """
    vector = np.asarray(sent, dtype=np.float32)
    cosine = params.distance == models.Distance.COSINE
    if cosine and abs(float(np.sum(vector * vector)) - 1) > 1e-6:
        vector = normalized
    datatype = None if params.datatype is None else params.datatype.value
    if datatype == "float16":
        return vector.astype(np.float16).astype(np.float32)
    if datatype == "turbo4":  # 16 values for each number of the rotated vector
        rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((len(vector),) * 2))[0]
        rotated = rotation @ vector
        step = 2 * float(np.abs(rotated).max()) / 15
        return (rotation.T @ ((np.round(rotated / step - 0.5) + 0.5) * step)).astype(np.float32)
    return vector


def _given(model: BaseModel | None) -> dict[str, Json]:
    return {} if model is None else model.model_dump(mode="json", exclude_none=True)
