"""Cohere: POST /v2/embed (its Python library 7.3 and its error reference)."""

from ragctl.catalog import WireTraits
from ragctl.catalog.backend_table import Encoding
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json


class Cohere(RestWire):
    """Cohere's own protocol, in which the task is the required field `input_type`.

    Vectors are keyed by their encoding and have no index: they are in the order of the
    texts. Errors have a message but no code.
    """

    traits = WireTraits(task="required")
    states_model = False
    truncates = True
    has_encodings = True
    # "too many tokens" begins the published messages about length; the message of embed itself is
    # not published. That of a trial key's monthly quota is common knowledge.
    error_rules = ErrorRules(
        text_phrases=frozenset({"too many tokens", "too long"}),
        quota_phrases=frozenset({"calls / month"}),
    )

    def path(self) -> str:
        """Return the path of the embedding method."""
        return "/embed"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {
            "model": self.served.id,
            "texts": list(request.texts),
            "input_type": self.instruction(request).task,
            # The host's default is END, which truncates silently.
            "truncate": "END" if self.options.truncate else "NONE",
        }
        if self.asks_dimensions:
            body["output_dimension"] = self.dim
        return body

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's answer."""
        host = self.client.host
        found = json_object(answer, host)
        kinds = found.get("embeddings")
        kinds = kinds if isinstance(kinds, dict) else {}
        listed = kinds.get("base64", kinds.get("float"))
        return answers.from_list(listed, texts, _billed_tokens(found), self.model, self.dim, host)

    def encoded(self, body: dict[str, Json], encoding: Encoding) -> dict[str, Json]:
        """Return the request's JSON with an encoding, which the host requires."""
        return {**body, "embedding_types": ["base64" if encoding == "base64" else "float"]}


def _billed_tokens(answer: dict[str, object]) -> int:
    """Return the input tokens billed; 0 if the answer does not say."""
    meta = answer.get("meta")
    units = meta.get("billed_units") if isinstance(meta, dict) else None
    tokens = units.get("input_tokens") if isinstance(units, dict) else None
    return int(tokens) if isinstance(tokens, int | float) and tokens > 0 else 0
