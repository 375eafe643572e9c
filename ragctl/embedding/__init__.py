"""Embedding documents and queries: `connect` a model, then `documents` or `stream`, and `query`."""

from ragctl.embedding.base import Embedder, Options
from ragctl.embedding.canary import Canary
from ragctl.embedding.connect import connect
from ragctl.embedding.retry import Patience
from ragctl.embedding.stream import DocumentStream
from ragctl.embedding.usage import Bill, Usage

__all__ = [
    "Bill",
    "Canary",
    "DocumentStream",
    "Embedder",
    "Options",
    "Patience",
    "Usage",
    "connect",
]
