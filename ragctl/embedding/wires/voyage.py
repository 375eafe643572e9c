"""Voyage: POST /v1/embeddings (its Python library 0.5 and its error messages)."""

from ragctl.catalog import WireTraits
from ragctl.embedding.base import EmbeddingRequest
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules
from ragctl.hosts.voyage import address_for_key
from ragctl.records import Json


class Voyage(RestWire):
    """Voyage's own protocol: OpenAI's answer, fields of its own. It puts the prompts itself."""

    traits = WireTraits(task="required")
    truncates = True
    # A text beyond the context, or a batch beyond the tokens of a request, which halving cures.
    error_rules = ErrorRules(
        text_phrases=frozenset({"context window", "max allowed tokens per submitted batch"}),
    )

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return Atlas's address for a key made there, else `url`."""
        return address_for_key(url, key)

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        body: dict[str, Json] = {
            "model": self.served.id,
            "input": list(request.texts),
            "input_type": self.side(request).task,
            # The host's own default is true: it would cut in silence.
            "truncation": self.options.truncate,
        }
        if self.asks_dimensions:
            body["output_dimension"] = self.dim
        if self.backend.encoding == "base64":  # a list of numbers has no name here
            body["encoding_format"] = "base64"
        return body
