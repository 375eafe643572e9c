"""What a run is told: the flags of `ingest` and a pipeline file make the same object.

keys.py ── every key, once ──► values.py ──► read.py ──► Pipeline
                          └──► schema.py ──► schema.json, for editors
"""

from ragctl.pipeline.file import from_flags, read_pipeline
from ragctl.pipeline.keys import CHUNK_SIZE, COLLECTION, MODEL, OVERLAP, PRUNE_LIMIT
from ragctl.pipeline.pipeline import (
    PDF_PASSWORD,
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
    "PDF_PASSWORD",
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
