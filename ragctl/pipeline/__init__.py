"""What a run is told: the flags of `ingest` and a pipeline file make the same object.

keys.py ── every key, once ──► values.py ──► read.py ──► Pipeline
                          └──► schema.py ──► schema.json, for editors
"""

from typing import TYPE_CHECKING, Any

from ragctl.pipeline.keys import CHUNK_SIZE, COLLECTION, MODEL, OVERLAP, PRUNE_LIMIT

if TYPE_CHECKING:
    from ragctl.pipeline.file import from_flags, read_pipeline
    from ragctl.pipeline.pipeline import (
        Budget,
        Embedding,
        Parsing,
        Pipeline,
        Reporting,
        Source,
        default_store,
        with_env_file,
    )

__all__ = [
    "CHUNK_SIZE",
    "COLLECTION",
    "MODEL",
    "OVERLAP",
    "PRUNE_LIMIT",
    "Budget",
    "Embedding",
    "Parsing",
    "Pipeline",
    "Reporting",
    "Source",
    "default_store",
    "from_flags",
    "read_pipeline",
    "with_env_file",
]


def __getattr__(name: str) -> Any:
    """Import what is not a key when it is first used: the help of a command needs keys alone."""
    if name not in __all__:
        raise AttributeError(f"module 'ragctl.pipeline' has no attribute {name!r}")
    from importlib import import_module

    place = "file" if name in ("from_flags", "read_pipeline") else "pipeline"
    return getattr(import_module(f"ragctl.pipeline.{place}"), name)
