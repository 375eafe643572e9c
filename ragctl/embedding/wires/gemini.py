"""Gemini: POST /v1beta/models/{model}:batchEmbedContents (its API reference of 2026).

gemini-embedding-001 has a task field; gemini-embedding-2 ignores it and expects the task in
the text (Google's page on embeddings).

Its errors are known from public reports: a wrong key is a 400, and the time to wait after
a 429 is only in the body.
"""

from ragctl.catalog import WireTraits
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.rest_wire import RestWire
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json


class Gemini(RestWire):
    """The Gemini API's own protocol: a batch of one request per text.

    It has no field to refuse truncation: a text longer than the context is truncated
    silently (common knowledge), so texts are measured before they are sent. Answers do not
    give the tokens billed. Vectors have unit length only at 3,072 dimensions; all are
    normalised here.
    """

    traits = WireTraits(task="optional")
    states_model = False
    auth = ("x-goog-api-key", "")
    error_rules = ErrorRules(
        # The country is not served, or there is no billing account (common knowledge).
        fatal_codes=frozenset({"FAILED_PRECONDITION"}),
        text_phrases=frozenset({"token count", "exceeds the maximum number of tokens"}),
        key_codes=frozenset({"API_KEY_INVALID"}),
        # Part of the quota's name; the wait that such an error suggests is too short.
        quota_phrases=frozenset({"perday"}),
    )

    def path(self) -> str:
        """Return the path of the embedding method."""
        return f"/models/{self.served.id}:batchEmbedContents"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        common: dict[str, Json] = {"model": f"models/{self.served.id}"}
        instruction = self.instruction(request)
        if instruction.task:
            common["taskType"] = instruction.task
        prompt = "" if instruction.task else instruction.prompt or ""
        if self.asks_dimensions:
            common["outputDimensionality"] = self.dim
        return {
            "requests": [
                common | {"content": {"parts": [{"text": prompt + text}]}} for text in request.texts
            ]
        }

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's answer."""
        host = self.client.host
        listed = json_object(answer, host).get("embeddings")
        if isinstance(listed, list):
            listed = [
                item.get("values", answers.ABSENT) if isinstance(item, dict) else answers.ABSENT
                for item in listed
            ]
        return answers.from_list(listed, texts, 0, self.model, self.dim, host)
