"""Confirms a refusal: tells a refused text from a host that refuses any request."""

import threading
from dataclasses import replace

from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused

PLAIN_TEXT = "text"


class RefusalCheck:
    """A service that blames a text only after the backend has accepted a plain one.

    Without this check a wrong parameter, or a host that refuses everything from some moment
    on, would be reported as a failure of every document. A batch, which will be halved, is
    checked only until the first success of its kind; a single text is checked every time.
    """

    def __init__(self, service: EmbeddingService) -> None:
        self._service = service
        self._accepted: set[tuple[Side, bool]] = set()
        self._lock = threading.Lock()

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer a request. Raises Refused if the texts are the reason, else BackendError."""
        kind = (request.side, request.together)
        try:
            answer = self._service.call(request)
        except Refused as refusal:
            single = len(request.texts) == 1
            if not refusal.certain and (single or kind not in self._accepted):
                with self._lock:
                    self._try_plain_text(request, refusal)
                self._accepted.add(kind)
            raise
        self._accepted.add(kind)
        return answer

    def _try_plain_text(self, request: EmbeddingRequest, refusal: Refused) -> None:
        """Raise BackendError if a plain text is refused too: the texts are not the reason."""
        try:
            self._service.call(replace(request, texts=(PLAIN_TEXT,), tokens=1))
        except Refused:
            raise BackendError(f"{refusal} (a plain one-word text is refused too)") from refusal

    def close(self) -> None:
        """Close the wrapped service."""
        self._service.close()
