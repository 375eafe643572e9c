"""Elasticsearch's inference API: POST /_inference/text_embedding/<endpoint>.

From its specification (stack 9.x), which leaves out the format of errors and of the key's
header; those are common knowledge.
"""

from urllib.parse import quote

from ragctl.catalog import Backend, Model, WireTraits
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.rest_wire import RestWire
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.http import HostClient
from ragctl.hosts.responses import json_object
from ragctl.records import Json

TIMEOUT_SECONDS = 60
"""How long the cluster waits for its inference service. Its own default is 30."""

_RETRIEVAL_INPUT_TYPES = {"document": "ingest", "query": "search"}
_RETRIEVAL_TASKS = (None, "retrieval.passage", "retrieval.query", "search_document", "search_query")
_INPUT_TYPES = {
    "classification": "classification",
    "clustering": "clustering",
    "separation": "clustering",
}
"""Task in a model's own API -> Elasticsearch's input_type, for tasks other than retrieval."""


class Elastic(RestWire):
    """An inference endpoint, whose name is the model's id in the backend's row.

    The endpoint's dimensions were fixed when it was created, so none are requested; whole
    vectors are cut here. Answers have no indexes and no token count.
    """

    traits = WireTraits(task="optional")
    auth = ("Authorization", "ApiKey ")

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        """Raise UsageError for a task that has no input_type."""
        super().__init__(client, model, backend, dim, options)
        for instruction in (model.document, model.query):
            if instruction.task not in (*_RETRIEVAL_TASKS, *_INPUT_TYPES):
                raise UsageError(
                    f"backend {backend.name} cannot ask {model.name} for {instruction.task}: "
                    "it knows retrieval, classification and clustering"
                )

    def path(self) -> str:
        """Return the path of the embedding method."""
        endpoint = quote(self.served.id, safe="")
        return f"/_inference/text_embedding/{endpoint}?timeout={TIMEOUT_SECONDS}s"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        task = self.instruction(request).task
        input_type = _INPUT_TYPES.get(task or "", _RETRIEVAL_INPUT_TYPES[request.side])
        return {"input": list(request.texts), "input_type": input_type}

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors. If the endpoint is missing, the error says how to create it."""
        try:
            return super().call(request)
        except (Transient, Refused):
            raise
        except BackendError as error:
            if "endpoint not found" not in str(error).lower():
                raise
            raise BackendError(
                f"{self.client.host} has no inference endpoint {self.served.id}; create it with "
                f"PUT _inference/text_embedding/{self.served.id}, or give the id of yours in a row "
                "of your own"
            ) from error

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's answer."""
        found = json_object(answer, self.client.host)
        for field in ("text_embedding_bytes", "text_embedding_bits"):
            if field in found:
                raise BackendError(
                    f"{self.client.host} answers {field}: the inference endpoint {self.served.id} "
                    "must be created with float vectors"
                )
        items = found.get("text_embedding")
        rows = (
            [
                item.get("embedding", answers.ABSENT) if isinstance(item, dict) else answers.ABSENT
                for item in items
            ]
            if isinstance(items, list)
            else None
        )
        return answers.from_list(rows, texts, 0, self.model, self.dim, self.client.host)
