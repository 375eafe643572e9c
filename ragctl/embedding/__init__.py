"""Embedding documents and queries: `connect` a model, then `documents` or `stream`, and `query`."""

from ragctl.embedding.base import Embedder, Usage
from ragctl.embedding.connect import connect
from ragctl.embedding.retry import Patience
from ragctl.embedding.stream import DocumentStream

__all__ = ["DocumentStream", "Embedder", "Patience", "Usage", "connect"]
