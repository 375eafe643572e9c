"""Elasticsearch's inference API: POST /_inference/text_embedding/<endpoint>.

From its specification (stack 9.x). The shapes of errors and of the key's header are
common knowledge rather than part of it.
"""

from urllib.parse import quote

from ragctl.catalog import Backend, Model, WireTraits
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.rest_wire import RestWire
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.http import HostClient
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json

SECONDS = 60
"""How long the cluster waits for the service behind it; by itself, 30."""

_SIDES = {"document": "ingest", "query": "search"}
_RETRIEVAL = (None, "retrieval.passage", "retrieval.query", "search_document", "search_query")
_OTHERS = {
    "classification": "classification",
    "clustering": "clustering",
    "separation": "clustering",
}
"""The tasks of models, by the names of their own APIs -> input_type."""


class Elastic(RestWire):
    """An inference endpoint, whose name is the model's id in the backend's row.

    Its dimensions were decided when it was made: none are asked here, and whole
    vectors are cut here. It answers neither indexes nor a bill.
    """

    error_rules = ErrorRules()
    traits = WireTraits(task="optional")
    auth = ("Authorization", "ApiKey ")

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        """Raises UsageError for a task that has no input_type."""
        super().__init__(client, model, backend, dim, options)
        for side in (model.document, model.query):
            if side.task not in (*_RETRIEVAL, *_OTHERS):
                raise UsageError(
                    f"backend {backend.name} cannot ask {model.name} for {side.task}: it knows "
                    "retrieval, classification and clustering"
                )

    def path(self) -> str:
        endpoint = quote(self.served.id, safe="")
        return f"/_inference/text_embedding/{endpoint}?timeout={SECONDS}s"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        task = self.side(request).task
        kind = _OTHERS.get(task or "", _SIDES[request.side])
        return {"input": list(request.texts), "input_type": kind}

    def call(self, request: EmbeddingRequest) -> Embeddings:
        try:
            return super().call(request)
        except (Transient, Refused):
            raise
        except BackendError as error:
            if "endpoint not found" not in str(error).lower():
                raise
            raise BackendError(
                f"{self.client.host} has no inference endpoint {self.served.id}; make it with PUT "
                f"_inference/text_embedding/{self.served.id}, or give yours as the model's id in "
                "a row of your own"
            ) from error

    def read(self, answer: object, texts: int) -> Embeddings:
        found = json_object(answer, self.client.host)
        for form in ("text_embedding_bytes", "text_embedding_bits"):
            if form in found:
                raise BackendError(
                    f"{self.client.host} answers {form}: the inference endpoint {self.served.id} "
                    "must be made with float vectors"
                )
        items = found.get("text_embedding")
        rows = (
            [item.get("embedding") if isinstance(item, dict) else None for item in items]
            if isinstance(items, list)
            else None
        )
        return answers.from_list(rows, texts, 0, self.model, self.dim, self.client.host)
