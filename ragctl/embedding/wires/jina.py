"""The Jina API: POST /v1/embeddings (its OpenAPI of 2026-04, and measurements of it)."""

from ragctl.catalog import WireTraits
from ragctl.catalog.backend_table import Encoding
from ragctl.embedding.base import EmbeddingRequest
from ragctl.embedding.encoding import with_encoding
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.responses import ErrorRules
from ragctl.records import Json


class Jina(RestWire):
    """Jina's own protocol, in which each side of a model has a task."""

    traits = WireTraits(task="optional")
    truncates = True
    has_encodings = True
    error_rules = ErrorRules(
        text_codes=frozenset({"INPUT_TOKEN_LIMIT_EXCEEDED"}),
        fatal_codes=frozenset({"INPUT_MODEL_NOT_FOUND", "AUTHZ_INSUFFICIENT_BALANCE"}),
    )

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {"model": self.served.id, "input": list(request.texts)}
        # Without truncation the host names and refuses a text that is too long.
        body["truncate"] = self.options.truncate
        task = self.instruction(request).task
        if task is not None:
            body["task"] = task
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        if "normalized" in self.served.fields:
            body["normalized"] = True
        if request.together:
            body["late_chunking"] = True
        return body

    def encoded(self, body: dict[str, Json], encoding: Encoding) -> dict[str, Json]:
        """Return the request's JSON with an encoding."""
        return with_encoding(body, "embedding_type", encoding)
