"""Embedding documents and queries: `connect` a model, then `documents` or `stream`, and `query`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragctl.embedding.assemble import connect
    from ragctl.embedding.base import Options
    from ragctl.embedding.canary import Canary
    from ragctl.embedding.embedder import Embedder
    from ragctl.embedding.stream import DocumentStream
    from ragctl.hosts.retry import Patience
    from ragctl.hosts.usage import Usage, UsageTotals

__all__ = [
    "Canary",
    "DocumentStream",
    "Embedder",
    "Options",
    "Patience",
    "Usage",
    "UsageTotals",
    "connect",
]

_MODULES = {
    "Canary": "ragctl.embedding.canary",
    "DocumentStream": "ragctl.embedding.stream",
    "Embedder": "ragctl.embedding.embedder",
    "Options": "ragctl.embedding.base",
    "Patience": "ragctl.hosts.retry",
    "Usage": "ragctl.hosts.usage",
    "UsageTotals": "ragctl.hosts.usage",
    "connect": "ragctl.embedding.assemble",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the catalogue needs only the list of wires."""
    if name not in __all__:
        raise AttributeError(f"module 'ragctl.embedding' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
