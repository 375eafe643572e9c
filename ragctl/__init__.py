"""Index documents into Qdrant, keep the index in sync, and search it.

from ragctl import open_collection

hits = open_collection("docs").search("how long is hourly data kept?")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragctl.errors import RagctlError
    from ragctl.records import Hit
    from ragctl.search.aio import AsyncSearcher, open_collection_async
    from ragctl.search.foreign_options import ForeignOptions
    from ragctl.search.library import Searcher, open_collection

__version__ = "0.1.0"

__all__ = [
    "AsyncSearcher",
    "ForeignOptions",
    "Hit",
    "RagctlError",
    "Searcher",
    "open_collection",
    "open_collection_async",
]

_MODULES = {
    "AsyncSearcher": "ragctl.search.aio",
    "ForeignOptions": "ragctl.search.foreign_options",
    "Hit": "ragctl.records",
    "RagctlError": "ragctl.errors",
    "Searcher": "ragctl.search.library",
    "open_collection": "ragctl.search.library",
    "open_collection_async": "ragctl.search.aio",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package is fast."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'ragctl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)
