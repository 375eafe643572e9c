"""The OpenAI protocol, as its API and the many servers that speak it have it.

It has no field for the side of a text: the model's prompts are put before the
texts here. What each host takes is in its row of providers.toml.
"""

from ragctl.catalog import Model, Provider
from ragctl.embedding import answers
from ragctl.embedding.base import Answer, Request
from ragctl.embedding.http import Api, Words
from ragctl.records import Json

WORDS = Words(
    text=frozenset({"context_length_exceeded", "string_above_max_length"}),
    fatal=frozenset({"insufficient_quota", "model_not_found"}),
)


class OpenAI:
    """A Wire in the OpenAI protocol."""

    def __init__(self, api: Api, model: Model, provider: Provider, dim: int) -> None:
        self._api = api
        self._model = model
        self._provider = provider
        self._dim = dim

    def embed(self, request: Request) -> Answer:
        answer = self._api.post(self.body(request))
        return answers.from_data(answer, len(request.texts), self._model, self._dim, self._api.host)

    def body(self, request: Request) -> dict[str, Json]:
        """Return the request's JSON: prompts before the texts, and only fields the host takes."""
        side = self._model.document if request.side == "document" else self._model.query
        prompt = side.prompt
        assert prompt is not None, "the catalogue serves no model without prompts on this wire"
        body: dict[str, Json] = {
            "model": self._provider.models[self._model.name].id,
            "input": [prompt + text for text in request.texts],
        }
        if self._provider.encoding != "unset":
            body["encoding_format"] = self._provider.encoding
        if self._model.matryoshka and self._provider.cuts_to(self._model.name, self._dim):
            body["dimensions"] = self._dim
        return body | dict(self._provider.extra)

    def close(self) -> None:
        self._api.close()
