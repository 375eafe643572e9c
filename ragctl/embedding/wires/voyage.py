"""Voyage: POST /v1/embeddings (its Python library 0.5 and its error messages)."""

from ragctl.catalog import WireTraits
from ragctl.catalog.backend_table import Encoding
from ragctl.embedding.base import EmbeddingRequest
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules
from ragctl.hosts.voyage import address_for_key
from ragctl.records import Json


class Voyage(RestWire):
    """Voyage's own protocol: answers as OpenAI's, own request fields; the host adds prompts."""

    traits = WireTraits(task="required")
    truncates = True
    has_encodings = True
    # A text is longer than the context, or a batch is over the token limit; both end in halving.
    error_rules = ErrorRules(
        text_phrases=frozenset({"context window", "max allowed tokens per submitted batch"}),
    )

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return Atlas's address for a key made there, else `url`."""
        return address_for_key(url, key)

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {
            "model": self.served.id,
            "input": list(request.texts),
            "input_type": self.instruction(request).task,
            # The host's default is true, which truncates silently.
            "truncation": self.options.truncate,
        }
        if self.asks_dimensions:
            body["output_dimension"] = self.dim
        return body

    def encoded(self, body: dict[str, Json], encoding: Encoding) -> dict[str, Json]:
        """Return the request's JSON; lists of numbers are the default and have no name."""
        return {**body, "encoding_format": "base64"} if encoding == "base64" else body
