"""What the wires over HTTP share: one POST of JSON, one answer."""

from abc import ABC, abstractmethod
from typing import ClassVar

from ragctl.catalog import Model, Provider, Served, Side
from ragctl.embedding import answers
from ragctl.embedding.base import Answer, Request
from ragctl.embedding.http import Api, Words
from ragctl.records import Json


class RestWire(ABC):
    """A Wire to one API. A protocol states its `body`, and `read` where its answer differs."""

    words: ClassVar[Words]

    def __init__(self, api: Api, model: Model, provider: Provider, dim: int) -> None:
        self.api = api
        self.model = model
        self.provider = provider
        self.dim = dim

    @abstractmethod
    def body(self, request: Request) -> dict[str, Json]:
        """Return the request's JSON. Each field that would change vectors is stated."""

    def read(self, answer: dict[str, object], texts: int) -> Answer:
        return answers.from_data(answer, texts, self.model, self.dim, self.api.host)

    def embed(self, request: Request) -> Answer:
        answer = self.api.post(self.body(request) | dict(self.provider.extra))
        return self.read(answer, len(request.texts))

    def close(self) -> None:
        self.api.close()

    @property
    def served(self) -> Served:
        return self.provider.models[self.model.name]

    @property
    def asks_dimensions(self) -> bool:
        """Whether the host is asked to cut its vectors; else they are cut here."""
        return self.model.matryoshka and self.provider.cuts_to(self.model.name, self.dim)

    def side(self, request: Request) -> Side:
        return self.model.document if request.side == "document" else self.model.query
