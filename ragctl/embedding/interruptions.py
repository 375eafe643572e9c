"""Counts the failures after which another model may answer at a backend's address."""

from http import HTTPStatus

from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService
from ragctl.hosts.errors import Transient


class InterruptionWatch:
    """A service that counts broken connections, timeouts and 5xx answers of another one.

    A server that was away may have been started with another model.
    """

    def __init__(self, service: EmbeddingService) -> None:
        self._service = service
        self.count = 0

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer a request. Raises as the wrapped service does."""
        try:
            return self._service.call(request)
        except Transient as failure:
            status = failure.status
            if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self.count += 1  # a lost update leaves a count that differs all the same
            raise

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
