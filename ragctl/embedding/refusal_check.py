"""Telling a text that a host refuses from a request that it never accepts."""

import threading
from dataclasses import replace

from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused

_PLAIN = "text"


class RefusalCheck:
    """A Wire that blames no text before a plain word, sent right after, has passed.

    Without it a wrong parameter, or a host that refuses everything from some
    moment on, would be reported as every document's own fault. Batches that will
    be halved prove it only the first time; a text alone proves it every time.
    """

    def __init__(self, wire: EmbeddingService) -> None:
        self._wire = wire
        self._passed: set[tuple[Side, bool]] = set()
        self._lock = threading.Lock()

    def call(self, request: EmbeddingRequest) -> Embeddings:
        kind = (request.side, request.together)
        try:
            answer = self._wire.call(request)
        except Refused as refusal:
            blamed = len(request.texts) == 1
            if not refusal.certain and (blamed or kind not in self._passed):
                with self._lock:
                    self._prove(request, refusal)
                self._passed.add(kind)
            raise
        self._passed.add(kind)
        return answer

    def _prove(self, request: EmbeddingRequest, refusal: Refused) -> None:
        """Raise BackendError if not even a plain word passes: then it is not the texts."""
        try:
            self._wire.call(replace(request, texts=(_PLAIN,), tokens=1))
        except Refused:
            raise BackendError(f"{refusal} (a plain one-word text is refused too)") from refusal

    def close(self) -> None:
        self._wire.close()
