"""The HNSW graph of a collection whose building was deferred; see `restored_graph`."""

from collections.abc import Mapping
from typing import Any

from ragctl.records import Notify
from ragctl.stores.server_connection import Refusal, ServerConnection, collection_label
from ragctl.stores.server_http import collection_path


class DeferredGraph:
    """The HNSW graph of one generation, which the server does not build until `build`.

    `name`: the collection's, for errors. `address`: the name that requests use. `change`: the
    change of the configuration that ends the deferral; None: it has ended.
    """

    def __init__(
        self,
        connection: ServerConnection,
        name: str,
        address: str,
        change: Mapping[str, Any] | None,
    ) -> None:
        self.name = name
        self.address = address
        self._connection = connection
        self.refused = False  # the key may not change the collection
        self._change = change

    @property
    def is_deferred(self) -> bool:
        """Whether the server builds no graph yet."""
        return self._change is not None

    def build(self, notify: Notify, *, patience: float | None = None) -> None:
        """Let the server build the graph. Raises StoreError.

        `notify` is told if the key may not change the collection. `patience`: see
        ServerConnection.attempt.
        """
        change, label = self._change, collection_label(self.name)
        if change is None:
            return
        built = self._connection.attempt(
            label,
            lambda client: client.send("PATCH", collection_path(self.address), change),
            patience=patience,
        )
        if not isinstance(built, Refusal):
            self._change = None
        elif built.status in (401, 403):
            self.refused = True
            notify(
                "its HNSW graph is not built, and searches compare every vector: the key of this "
                "run may not change the collection; run once with the key that created it"
            )
        else:
            raise self._connection.error(label, built)
