"""Texts of a batch are held against the model's context as those of ordinary requests are."""

import threading

import numpy as np

from ragctl.catalog import Backend, Model
from ragctl.embedding.backend_wire import BackendWire
from ragctl.embedding.base import EmbeddingRequest, Embeddings, text_problem
from ragctl.embedding.context_guard import ContextGuard
from ragctl.errors import DocumentError
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage


class TextGuard:
    """Decides what of a text may be sent to a backend, by the rules of ContextGuard."""

    def __init__(
        self, wire: BackendWire, model: Model, backend: Backend, usage: Usage, *, truncate: bool
    ) -> None:
        """`truncate`: texts that are too long are cut; otherwise they fail."""
        self._seen = _Seen()
        self._guard = ContextGuard(self._seen, wire, model, backend, usage, truncate=truncate)
        self._stopped = threading.Event()

    def fit(self, text: str) -> str:
        """Return the text to be sent. Raises DocumentError if there is none."""
        problem = text_problem(text)
        if problem is not None:
            raise DocumentError(f"the text {problem}")
        try:
            self._guard.call(EmbeddingRequest("document", (text,), self._stopped))
        except Refused as refusal:
            raise DocumentError(str(refusal)) from None
        return self._seen.text


class _Seen:
    """The service behind the guard: it keeps the text that would be sent."""

    text = ""

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Keep the text."""
        (self.text,) = request.texts
        return Embeddings(np.zeros((1, 1), np.float32), 0)

    def close(self) -> None:
        """Do nothing."""
