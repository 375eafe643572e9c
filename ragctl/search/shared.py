"""An open collection that several threads search while it may be replaced by another."""

import threading
from collections.abc import Callable

from ragctl.embedding import Embedder
from ragctl.stores.base import Collection


class SharedCollection:
    """A collection and its embedder, closed once it is retired and has no users."""

    def __init__(self, collection: Collection, connect: Callable[[Collection], Embedder]) -> None:
        self.collection = collection
        self.users = 0
        self._connect = connect
        self._embedder: Embedder | None = None
        self._lock = threading.Lock()
        self._retired = False

    def embedder(self) -> Embedder:
        """Return the embedder, connected at the first call."""
        with self._lock:
            if self._embedder is None:
                self._embedder = self._connect(self.collection)
            return self._embedder

    def is_same(self, other: Collection) -> bool:
        """Return whether `other` is still this collection: not recreated, same settings."""
        own, new = self.collection.settings, other.settings
        return own.creation_id == new.creation_id and own == new

    def retire(self) -> None:
        """Close the collection as soon as it has no users."""
        with self._lock:
            self._retired = True
            idle = self.users == 0
        if idle:
            self._close()

    def release(self) -> None:
        """Remove one user."""
        with self._lock:
            self.users -= 1
            last = self.users == 0 and self._retired
        if last:
            self._close()

    def _close(self) -> None:
        self.collection.close()
        if self._embedder is not None:
            self._embedder.close()
