"""The settings of a run: flags of `ingest` and a pipeline file make the same Pipeline.

sections.py, pipeline.py ── every key, a dataclass field ──► read.py ──► Pipeline
                                                        ├──► cli/flags.py, the flags of commands
                                                        └──► schema.py ──► schema.json, for editors
"""

from typing import TYPE_CHECKING, Any

from ragctl.pipeline.pipeline import (
    DEFAULT_CHUNK_SIZE,
    DEFAULT_COLLECTION,
    DEFAULT_OVERLAP,
    DEFAULT_PRUNE_LIMIT,
    Pipeline,
)
from ragctl.pipeline.sections import DEFAULT_MODEL, Budget, Embedding, Parsing, Reporting, Source
from ragctl.pipeline.variables import default_store, with_env_file

if TYPE_CHECKING:
    from ragctl.pipeline.file import from_flags, read_pipeline

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "DEFAULT_COLLECTION",
    "DEFAULT_MODEL",
    "DEFAULT_OVERLAP",
    "DEFAULT_PRUNE_LIMIT",
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
    """Import the readers on first use: the help of a command needs the declarations only."""
    if name not in ("from_flags", "read_pipeline"):
        raise AttributeError(f"module 'ragctl.pipeline' has no attribute {name!r}")
    from ragctl.pipeline import file

    return getattr(file, name)
