"""Elasticsearch's inference API: POST /_inference/text_embedding/<endpoint>.

GET /_inference lists the endpoints: the stack itself creates some, whose names begin with a dot.

From its specification (stack 9.x), which leaves out the format of errors and of the key's
header; those are common knowledge.
"""

import threading
from functools import cached_property
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

NAMED_BY_MAKER = ("elastic", "jinaai")
"""Services whose `model_id` is the name that the model's maker gave it."""

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

    If that is the model's own name, the endpoint that the stack has created for the model is used
    instead, if there is one: it has the same name with a dot in front.

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
        self._resolving = threading.Lock()
        for instruction in (model.document, model.query):
            if instruction.task not in (*_RETRIEVAL_TASKS, *_INPUT_TYPES):
                raise UsageError(
                    f"backend {backend.name} cannot ask {model.name} for {instruction.task}: "
                    "it knows retrieval, classification and clustering"
                )

    def path(self) -> str:
        """Return the path of the embedding method."""
        endpoint = quote(self.endpoint, safe="")
        return f"/_inference/text_embedding/{endpoint}?timeout={TIMEOUT_SECONDS}s"

    @cached_property
    def endpoint(self) -> str:
        """The name of the inference endpoint to use. Lists the cluster's, the first time.

        Raises Transient if the cluster does not answer, and BackendError if the endpoint is known
        to run another model. A key that may not list endpoints gets the name in the row.
        """
        listed = self._listed()
        own = f".{self.served.id}"
        name = own if self.served.id == self.model.name and own in listed else self.served.id
        runs = listed.get(name)
        if runs is not None and self.names is not None and self.names.matches(runs) is False:
            raise BackendError(
                f"{self.client.host}: the inference endpoint {name} runs {runs}, not "
                f"{self.model.name}; give the id of another endpoint in a row of your own"
            )
        self.named = runs is not None
        return name

    def _listed(self) -> dict[str, str | None]:
        """Return the text embedding endpoints: id -> its model, if its maker's name is given."""
        try:
            answer = json_object(self.client.get("/_inference"), self.client.host)
        except Transient:
            raise
        except BackendError:
            return {}  # it may not be allowed; a wrong key is reported by the request that follows
        endpoints = answer.get("endpoints")
        found: dict[str, str | None] = {}
        for each in endpoints if isinstance(endpoints, list) else []:
            if not isinstance(each, dict) or each.get("task_type") != "text_embedding":
                continue
            name, settings = each.get("inference_id"), each.get("service_settings")
            model = settings.get("model_id") if isinstance(settings, dict) else None
            named = isinstance(model, str) and each.get("service") in NAMED_BY_MAKER
            if isinstance(name, str):
                found[name] = str(model) if named else None
        return found

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        task = self.instruction(request).task
        input_type = _INPUT_TYPES.get(task or "", _RETRIEVAL_INPUT_TYPES[request.side])
        return {"input": list(request.texts), "input_type": input_type}

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors. If the endpoint is missing, the error says how to create it."""
        with self._resolving:  # one request lists the endpoints; the others wait
            name = self.endpoint
        try:
            return super().call(request)
        except (Transient, Refused):
            raise
        except BackendError as error:
            if "endpoint not found" not in str(error).lower():
                raise
            raise BackendError(
                f"{self.client.host} has no inference endpoint {name}; create it with "
                f"PUT _inference/text_embedding/{name}, or give the id of yours in a row "
                "of your own"
            ) from error

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's answer."""
        found = json_object(answer, self.client.host)
        for field in ("text_embedding_bytes", "text_embedding_bits"):
            if field in found:
                raise BackendError(
                    f"{self.client.host} answers {field}: the inference endpoint {self.endpoint} "
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
