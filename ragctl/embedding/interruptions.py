"""Counts the failures after which another model may answer at a backend's address."""

from dataclasses import replace
from http import HTTPStatus

from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService
from ragctl.hosts.errors import Transient


class InterruptionWatch:
    """A service that counts broken connections, timeouts and 5xx answers of another one.

    A server that was away may have been started with another model. Each answer says how often
    the backend had failed when its request was sent: a request that was sent before a failure,
    and was answered, was answered by the server that was there before.
    """

    def __init__(self, service: EmbeddingService) -> None:
        self._service = service
        self.count = 0

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer a request. Raises as the wrapped service does."""
        count = self.count
        try:
            return replace(self._service.call(request), interruptions=count)
        except Transient as failure:
            status = failure.status
            if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self.count += 1  # a lost update leaves a count that differs all the same
            raise

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
