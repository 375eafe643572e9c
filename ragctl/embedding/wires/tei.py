"""Text Embeddings Inference: GET /info, then POST /embed (its source, v1.9).

Its /v1/embeddings is spoken by the openai wire, and says less: it cannot be told to
refuse long texts.
"""

import threading
from dataclasses import dataclass

from ragctl.catalog import Backend, Instructions, Model
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.rest_wire import RestWire
from ragctl.errors import BackendError, Interrupted, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.http import HostClient
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json

_POOLING = {"mean": "mean", "cls": "cls", "last": "last_token"}
"""The server's names for how the vectors of tokens become one."""


@dataclass(frozen=True, slots=True)
class _Server:
    """What a server says of itself: texts a request, and tokens a text, at most."""

    texts: int
    longest: int | None


class Tei(RestWire):
    """POST /embed.

    Before the first request the server is asked what it runs: another model, or
    none that embeds, is refused by name. `truncate` is always sent, for a server
    may cut by default. Prompts go before the texts, or by their name in the model's
    own configuration where the backend's row has prompts = "name".
    """

    error_rules = ErrorRules(
        text_phrases=frozenset({"must have less than", "`inputs` cannot be empty"})
    )
    truncates = True

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        """Raises UsageError where prompts go by name and the name is not known."""
        super().__init__(client, model, backend, dim, options)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        # "query" and "document" name the two sides of retrieval, not those of other tasks.
        other = Instructions(model.document, model.query) in model.tasks.values()
        if backend.prompts == "name" and other:
            for side in (model.document, model.query):
                if side.prompt and not side.library.prompt_name:
                    raise UsageError(
                        f"backend {backend.name} sends prompts by name, and the row of "
                        f"{model.name} has no prompt_name for this task"
                    )

    def path(self) -> str:
        return "/embed"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        body: dict[str, Json] = {"normalize": True, "truncate": self.options.truncate}
        if self.backend.prompts == "name":
            body["inputs"] = list(request.texts)
            name = self._prompt_name(request)
            if name is not None:
                body["prompt_name"] = name
        else:
            body["inputs"] = [*self.prompted(request)]
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body

    def call(self, request: EmbeddingRequest) -> Embeddings:
        server = self._known()
        parts = []
        for start in range(0, len(request.texts), server.texts):
            if request.stopped.is_set():
                raise Interrupted("stopped between two requests")
            end = min(start + server.texts, len(request.texts))
            parts.append(self._embed(request.part(start, end), server))
        return answers.joined(parts)

    def read(self, answer: object, texts: int) -> Embeddings:
        return answers.from_list(answer, texts, 0, self.model, self.dim, self.client.host)

    def _embed(self, request: EmbeddingRequest, server: _Server) -> Embeddings:
        try:
            return super().call(request)
        except Refused as refusal:
            said = str(refusal)
            if "default-prompt-name" in said:
                # It is the prompt's name that is refused, never the text.
                raise BackendError(f'{said}; give prompts = "text" in the row') from refusal
            context = self.model.context
            if "tokens. Given" in said and server.longest and context and server.longest < context:
                hint = (
                    f"this server takes {server.longest:,} tokens a text, the model {context:,}: "
                    "see --max-batch-tokens"
                )
                raise Refused(f"{said} ({hint})", refusal.certain) from refusal
            raise

    def _prompt_name(self, request: EmbeddingRequest) -> str | None:
        side = self.side(request)
        if side.library.prompt_name is not None:
            return side.library.prompt_name
        # Without a prompt there may be no name for it either.
        return request.side if side.prompt else None

    def _known(self) -> _Server:
        """Return what the server says of itself, asked once. Raises as HostClient.get does."""
        with self._lock:
            if self._server is None:
                found = json_object(self.client.get("/info"), self.client.host)
                kind = self._kind(found)
                self._check_name(found)
                self._check_pooling(kind)
                # Each text takes a place of its own: more texts than places would be a 429.
                texts = [
                    _number(found.get("max_client_batch_size")),
                    _number(found.get("max_concurrent_requests")),
                    self.backend.limits.texts,
                ]
                self._server = _Server(
                    min(size for size in texts if size is not None),
                    _number(found.get("max_input_length")),
                )
            return self._server

    def _kind(self, found: dict[str, object]) -> object:
        """Return what the server says of its embedding model."""
        kind = found.get("model_type")
        if not isinstance(kind, dict) or "embedding" not in kind:
            names = ", ".join(map(str, kind)) if isinstance(kind, dict) else str(kind)
            raise BackendError(
                f"{self.client.host} runs {found.get('model_id')}, which is of type {names}: no "
                "embedding model"
            )
        return kind["embedding"]

    def _check_pooling(self, kind: object) -> None:
        pooling = kind.get("pooling") if isinstance(kind, dict) else None
        wanted = _POOLING.get(self.model.pooling)
        if pooling is not None and wanted is not None and pooling != wanted:
            raise BackendError(
                f"{self.client.host} pools by {pooling}, and {self.model.name} was trained with "
                f"{wanted}: start it with --pooling {wanted.replace('_', '-')}"
            )

    def _check_name(self, found: dict[str, object]) -> None:
        """Refuse a server whose names for its model all say that it is another one.

        A name of the hub, owner/model, can be compared; a folder cannot.
        """
        wanted = self.served.id.rpartition("/")[2].lower()
        names = [str(found[key]) for key in ("model_id", "served_model_name") if found.get(key)]
        for name in names:
            if name.rpartition("/")[2].lower() == wanted:
                return
        if names and all(_of_hub(name) for name in names):
            raise BackendError(
                f"{self.client.host} runs {names[0]}, not {self.served.id}; if it is the same "
                f"model, start it with --served-model-name {self.served.id}"
            )


def _of_hub(name: str) -> bool:
    owner, slash, model = name.partition("/")
    return bool(slash and model) and "/" not in model and owner not in ("", ".", "..", "~")


def _number(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None
