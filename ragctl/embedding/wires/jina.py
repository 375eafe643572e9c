"""The Jina API: POST /v1/embeddings (its OpenAPI of 2026-04, and measurements of it)."""

from ragctl.catalog import Model, Provider
from ragctl.embedding import answers
from ragctl.embedding.base import Answer, Request
from ragctl.embedding.http import Api, Words
from ragctl.records import Json

WORDS = Words(
    text=frozenset({"INPUT_TOKEN_LIMIT_EXCEEDED"}),
    fatal=frozenset({"INPUT_MODEL_NOT_FOUND", "AUTHZ_INSUFFICIENT_BALANCE"}),
)


class Jina:
    """A Wire in Jina's own protocol, where each side of a model has a task."""

    def __init__(self, api: Api, model: Model, provider: Provider, dim: int) -> None:
        self._api = api
        self._model = model
        self._provider = provider
        self._dim = dim

    def embed(self, request: Request) -> Answer:
        answer = self._api.post(self.body(request))
        return answers.from_data(answer, len(request.texts), self._model, self._dim, self._api.host)

    def body(self, request: Request) -> dict[str, Json]:
        """Return the request's JSON. Each field that would change vectors is stated."""
        served = self._provider.models[self._model.name]
        side = self._model.document if request.side == "document" else self._model.query
        body: dict[str, Json] = {"model": served.id, "input": list(request.texts)}
        # Never cut in silence: a text beyond the context is refused by name.
        body["truncate"] = False
        if self._provider.encoding != "unset":
            body["embedding_type"] = self._provider.encoding
        if side.task is not None:
            body["task"] = side.task
        if self._model.matryoshka and self._provider.cuts_to(self._model.name, self._dim):
            body["dimensions"] = self._dim
        if "normalized" in served.fields:
            body["normalized"] = True
        return body | dict(self._provider.extra)

    def close(self) -> None:
        self._api.close()
