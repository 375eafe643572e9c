"""Gemini: POST /v1beta/models/{model}:batchEmbedContents (its API reference of 2026).

What is said here of its errors was seen in public reports of them: a wrong key
is a 400, and how long to wait after a 429 stands in the body alone.
"""

from ragctl.catalog import WireTraits
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json


class Gemini(RestWire):
    """The Gemini API's own protocol: one request a text, all of one model, in one batch.

    It has no field against cutting: a text beyond the context is cut without a
    word (general knowledge), so it is measured before it is sent. Nothing is
    said of tokens billed. Vectors are unit length at 3072 dimensions only; all
    are made so here.
    """

    traits = WireTraits(task="required")
    auth = ("x-goog-api-key", "")
    error_rules = ErrorRules(
        fatal_codes=frozenset(
            {"FAILED_PRECONDITION"}
        ),  # the country, or billing (general knowledge)
        text_phrases=frozenset({"token count", "exceeds the maximum number of tokens"}),
        key_codes=frozenset({"API_KEY_INVALID"}),
        quota_phrases=frozenset(
            {"perday"}
        ),  # in the quota's name; the wait it asks for is of no use
    )

    def path(self) -> str:
        return f"/models/{self.served.id}:batchEmbedContents"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        common: dict[str, Json] = {
            "model": f"models/{self.served.id}",
            "taskType": self.side(request).task,
        }
        if self.asks_dimensions:
            common["outputDimensionality"] = self.dim
        return {
            "requests": [
                common | {"content": {"parts": [{"text": text}]}} for text in request.texts
            ]
        }

    def read(self, answer: object, texts: int) -> Embeddings:
        host = self.client.host
        listed = json_object(answer, host).get("embeddings")
        if isinstance(listed, list):
            listed = [item.get("values") if isinstance(item, dict) else None for item in listed]
        return answers.from_list(listed, texts, 0, self.model, self.dim, host)
