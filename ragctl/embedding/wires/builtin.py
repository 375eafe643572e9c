"""The built-in lexical model, in this process."""

from ragctl.catalog import WireTraits
from ragctl.embedding import answers
from ragctl.embedding.backend_wire import BackendWire, Connection
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.lexical import builtin


class Builtin(BackendWire):
    """A wire to `ragctl.lexical.builtin`, which has no instructions and bills no tokens."""

    traits = WireTraits(in_process=True)

    @classmethod
    def connect(cls, connection: Connection) -> "Builtin":
        """Return a wire to the built-in model."""
        return cls(connection.dim)

    def __init__(self, dim: int) -> None:
        self._dim = dim

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors of the request."""
        rows = builtin.embed(request.texts, self._dim)
        vectors = answers.to_unit_vectors(
            rows, self._dim, native=self._dim, cut=False, host="builtin"
        )
        return Embeddings(vectors, tokens=0)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
