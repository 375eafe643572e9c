"""The catalogue: models, backends and rerankers as tables of facts. No network.

A model is a table in models.toml, a backend a table in backends.toml, a reranker a table
in rerankers.toml. A user's own rows, in files of the same names in the configuration
folder or in a pipeline file, override them. All are read strictly: an unknown key, a
wrong type or an unknown name is a UsageError that names the file, the table, the key,
and the nearest correct name.
"""

from ragctl.catalog.backend_config import BackendConfig
from ragctl.catalog.backend_table import (
    Backend,
    Onnx,
    Rates,
    RequestLimits,
    Runtime,
    ServedModel,
    load_backends,
)
from ragctl.catalog.batch_table import BATCH_APIS, BatchApi
from ragctl.catalog.catalog import Catalog, Layer, check_rows, merge_layers
from ragctl.catalog.loading import config_folder, package_catalog, rerankers, user_catalog
from ragctl.catalog.model_table import (
    RETRIEVAL,
    Distance,
    Instruction,
    Instructions,
    Library,
    Model,
    load_models,
)
from ragctl.catalog.reranker_table import RerankerRow, reranker
from ragctl.catalog.strict import ConfigSource, nearest
from ragctl.catalog.wires import BUILTIN, KnownWires, WireTraits

__all__ = [
    "BATCH_APIS",
    "BUILTIN",
    "RETRIEVAL",
    "Backend",
    "BackendConfig",
    "BatchApi",
    "Catalog",
    "ConfigSource",
    "Distance",
    "Instruction",
    "Instructions",
    "KnownWires",
    "Layer",
    "Library",
    "Model",
    "Onnx",
    "Rates",
    "RequestLimits",
    "RerankerRow",
    "Runtime",
    "ServedModel",
    "WireTraits",
    "check_rows",
    "config_folder",
    "load_backends",
    "load_models",
    "merge_layers",
    "nearest",
    "package_catalog",
    "reranker",
    "rerankers",
    "user_catalog",
]
