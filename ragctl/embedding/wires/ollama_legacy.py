"""Ollama's older API: POST /api/embeddings (from its source, v0.33)."""

from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.wires.ollama import Ollama
from ragctl.errors import Interrupted
from ragctl.hosts.responses import json_object
from ragctl.records import Json


class OllamaLegacy(Ollama):
    """POST /api/embeddings: one text per request, no truncation field, vectors not normalised."""

    truncates = False

    def path(self) -> str:
        """Return the path of the embedding method."""
        return "/api/embeddings"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        (text,) = self.with_prompt(request)
        return {"model": self.served.id, "prompt": text}

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors, one request per text."""
        rows: list[object] = []
        for start in range(len(request.texts)):
            if request.stopped.is_set():
                raise Interrupted("stopped between two texts")
            answer = self._one(request.part(start, start + 1))
            rows.append(json_object(answer, self.client.host).get("embedding", answers.ABSENT))
        return self.parse({"embeddings": rows}, len(rows))

    def _one(self, request: EmbeddingRequest) -> object:
        return self.with_context(request, lambda: self.post(self.body(request)))
