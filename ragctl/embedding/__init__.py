"""Embedding documents and queries: `connect` a model, then `documents` or `stream`, and `query`."""

from ragctl.embedding.base import Embedder, Options
from ragctl.embedding.canary import Canary
from ragctl.embedding.connect import connect
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
