"""The OpenAI protocol: POST /embeddings, as spoken by its API and many other servers."""

from ragctl.embedding.base import EmbeddingRequest
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.responses import ErrorRules
from ragctl.records import Json


class OpenAI(RestWire):
    """The OpenAI protocol. It has no task field, so prompts go in front of the texts.

    Which optional fields a host accepts is in its row of backends.toml.
    """

    error_rules = ErrorRules(
        text_codes=frozenset({"context_length_exceeded", "string_above_max_length"}),
        fatal_codes=frozenset({"insufficient_quota", "model_not_found"}),
        text_phrases=frozenset({"maximum context length", "is too large to process"}),
    )

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {"model": self.served.id, "input": [*self.with_prompt(request)]}
        if self.backend.encoding != "unset":
            body["encoding_format"] = self.backend.encoding
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body
