"""Base of the wires over HTTP: one POST of JSON per request."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Self
from urllib.parse import urlsplit

from ragctl.catalog import Backend, Instruction, Model, ServedModel, WireTraits
from ragctl.catalog.backend_table import Encoding
from ragctl.embedding import answers
from ragctl.embedding.backend_wire import BackendWire, Connection
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.encoding import EncodingChoice
from ragctl.embedding.served_model import ModelNames, check_name
from ragctl.hosts.addresses import warn_of_plain_http
from ragctl.hosts.http import HostClient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules
from ragctl.records import Json


class RestWire(BackendWire):
    """A wire to one HTTP API. A subclass gives the `body`, and overrides what else differs.

    That is usually `traits` (has the API a task field?), `error_rules`, `path` and `parse`.
    """

    traits: ClassVar[WireTraits] = WireTraits()
    error_rules: ClassVar[ErrorRules] = ErrorRules()
    """How the API's error responses are classified."""
    has_encodings: ClassVar[bool] = False
    """Whether the API can be asked for base64 (`encoded`)."""
    states_model: ClassVar[bool] = True
    """Whether the API names its model somewhere. One that does not picks it by the request."""
    auth: ClassVar[tuple[str, str]] = ("Authorization", "Bearer ")
    """Name of the header with the API key, and the prefix of the key in it."""

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        self.client = client
        self.model = model
        self.backend = backend
        self.dim = dim
        self.options = options
        self.names: ModelNames | None = None
        self.encoding = EncodingChoice(backend.encoding)
        self.own_server = urlsplit(backend.base_url or "").scheme == "http"
        self.named = False  # the server stated a name of the model
        self._answered_name: str | None = None  # the last one that was compared

    @classmethod
    def connect(cls, connection: Connection) -> Self:
        """Return a wire with an HTTP client. Warns if the API key would go over plain HTTP."""
        backend, key = connection.backend, connection.key
        assert backend.base_url is not None, "the catalogue has an address for every host"
        url = cls.address(backend.base_url, key)
        warn_of_plain_http(url, key)
        client = HostClient(
            url,
            key,
            error_rules=cls.error_rules,
            usage=connection.usage,
            patience=connection.patience,
            connections=backend.concurrency,
            auth=cls.auth,
            key_variable=backend.keys[0] if backend.keys else None,
        )
        wire = cls(client, connection.model, backend, connection.dim, connection.options)
        wire.names = connection.names
        wire.encoding = connection.encoding or wire.encoding
        return wire

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return the base URL for requests with `key`; by default the backend's own, `url`."""
        return url

    @abstractmethod
    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON. Every field that affects the vectors is set explicitly.

        A wire with a task field sends `instruction(request).task`; one without sends
        `with_prompt(request)` as the texts.
        """

    def path(self) -> str:
        """Return the path of the embedding method, relative to the base URL."""
        return "/embeddings"

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's JSON answer to `texts` texts. Raises BackendError.

        The name of the model in the answer must be one of the model's.
        """
        if isinstance(answer, dict):
            self.check_name(answer.get("model"))
        return answers.from_data(answer, texts, self.model, self.dim, self.client.host)

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors: one POST, one answer."""
        if not self.has_encodings:
            return self._send(request, "unset")[0]
        return self.encoding.ask(request.side, lambda encoding: self._send(request, encoding))

    def _send(self, request: EmbeddingRequest, encoding: Encoding) -> tuple[Embeddings, object]:
        """Return the vectors, and the JSON that they are from."""
        body = self.encoded(self.body(request), encoding) | dict(self.backend.extra)
        answer, headers = self.client.exchange(self.path(), body)
        found = self.parse(answer, len(request.texts))
        if not found.tokens:
            found = replace(found, tokens=self.billed_tokens(headers))
        return found, answer

    def encoded(self, body: dict[str, Json], encoding: Encoding) -> dict[str, Json]:
        """Return a request's JSON that asks for vectors in an encoding, if the API has several."""
        return body

    def billed_tokens(self, headers: Mapping[str, str]) -> int:
        """Return the tokens billed by the headers of an answer that does not say; 0: unknown."""
        return 0

    def check_name(self, name: object) -> None:
        """Raise BackendError if a server says that it runs another model."""
        if not isinstance(name, str) or not name or self.names is None:
            return
        if name != self._answered_name:
            self.named |= check_name(self.names, name, self.client.host, self.served.id)
            self._answered_name = name

    @property
    def unnamed(self) -> bool:
        """Whether a server that has answered did not state which model it runs."""
        return not self.named and (self.states_model or self.own_server)

    def close(self) -> None:
        """Close the HTTP connections."""
        self.client.close()

    def warm(self) -> None:
        """Open a connection in the background."""
        self.client.warm()

    @property
    def served(self) -> ServedModel:
        """The model as this backend serves it."""
        return self.backend.models[self.model.name]

    @property
    def asks_dimensions(self) -> bool:
        """Whether the host is asked to cut its vectors; otherwise they are cut here.

        No host applies the layer norm that some models need before the cut.
        """
        return (
            self.model.matryoshka
            and not self.model.layer_norm
            and self.backend.cuts_to(self.model.name, self.dim)
        )

    def instruction(self, request: EmbeddingRequest) -> Instruction:
        """Return the model's instruction for the side of the request's texts."""
        return self.model.document if request.side == "document" else self.model.query

    def with_prompt(self, request: EmbeddingRequest) -> list[str]:
        """Return the texts, each with the prompt of its side in front."""
        prompt = self.instruction(request).prompt
        assert prompt is not None, "the catalogue serves no model without prompts on this wire"
        return [prompt + text for text in request.texts]
