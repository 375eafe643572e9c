"""A collection that searches use while it may be replaced by another."""

import threading
from collections.abc import Callable
from dataclasses import replace

from ragctl.embedding import Embedder
from ragctl.stores.base import Collection


class Opened:
    """A collection and its model, closed when it is retired and nobody uses it."""

    def __init__(self, collection: Collection, connect: Callable[[Collection], Embedder]) -> None:
        self.collection = collection
        self.users = 0
        self._connect = connect
        self._embedder: Embedder | None = None
        self._lock = threading.Lock()
        self._retired = False

    def embedder(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                self._embedder = self._connect(self.collection)
            return self._embedder

    def is_same(self, other: Collection) -> bool:
        """Whether that is this collection still, as far as questions are concerned."""
        own, new = self.collection.settings, other.settings
        return own.made == new.made and replace(own, notes={}) == replace(new, notes={})

    def retire(self) -> None:
        with self._lock:
            self._retired = True
            idle = self.users == 0
        if idle:
            self._close()

    def release(self) -> None:
        with self._lock:
            self.users -= 1
            last = self.users == 0 and self._retired
        if last:
            self._close()

    def _close(self) -> None:
        self.collection.close()
        if self._embedder is not None:
            self._embedder.close()
