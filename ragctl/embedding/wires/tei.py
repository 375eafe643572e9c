"""Text Embeddings Inference: GET /info, then POST /embed (its source, v1.9).

The openai wire can use its /v1/embeddings, but that cannot be told to refuse long texts. Texts
that may be too long are counted by the server first: it embeds a whole batch before it refuses one
text of it.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragctl.catalog import Backend, Instructions, Model
from ragctl.embedding import answers
from ragctl.embedding.backend_wire import TextLimits
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.faults import FaultyBackend
from ragctl.embedding.rest_wire import RestWire
from ragctl.embedding.server_tokens import ServerTokens, positive
from ragctl.errors import BackendError, Interrupted, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.http import HostClient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json
from ragctl.text import counted

_POOLING_NAMES = {"mean": "mean", "cls": "cls", "last": "last_token"}
"""Pooling in models.toml -> the server's name for it."""


@dataclass(frozen=True, slots=True)
class _ServerLimits:
    """Limits that a server reports: texts per request, and tokens per text (None: unknown)."""

    texts: int
    tokens: int | None


class Tei(RestWire):
    """POST /embed.

    Before the first request the server is asked which model it runs; another model, or one
    that does not embed, is a BackendError. `truncate` is always sent, because a server may
    truncate by default. Prompts go in front of the texts, or are named as in the model's own
    configuration if the backend's row has prompts = "name".
    """

    error_rules = ErrorRules(
        text_phrases=frozenset({"must have less than", "`inputs` cannot be empty"})
    )
    truncates = True

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        """Raise UsageError if prompts go by name and the model's row has no name."""
        super().__init__(client, model, backend, dim, options)
        self._lock = threading.Lock()
        self._server: _ServerLimits | None = None
        self._tokens: ServerTokens | None = None
        # "query" and "document" name the prompts of retrieval, not those of other tasks.
        other_task = Instructions(model.document, model.query) in model.tasks.values()
        if backend.prompts == "name" and other_task:
            for instruction in (model.document, model.query):
                if instruction.prompt and not instruction.library.prompt_name:
                    raise UsageError(
                        f"backend {backend.name} sends prompts by name, and the row of "
                        f"{model.name} has no prompt_name for this task"
                    )

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return the base URL without the /v1 of the server's other API."""
        return url.removesuffix("/v1")

    def path(self) -> str:
        """Return the path of the embedding method."""
        return "/embed"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {"normalize": True, "truncate": self.options.truncate}
        if self.backend.prompts == "name":
            body["inputs"] = list(request.texts)
            name = self._prompt_name(request)
            if name is not None:
                body["prompt_name"] = name
        else:
            body["inputs"] = [*self.with_prompt(request)]
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body

    def text_limits(self) -> TextLimits:
        """Return the server's own limit; it counts exactly, and refuses when told so."""
        return TextLimits(self._limits().tokens, cuts=False, count=self._count)

    def _count(self, request: EmbeddingRequest, positions: Sequence[int]) -> list[int] | None:
        """Return the tokens of some texts of a request."""
        if self._tokens is None:
            return None
        if self.backend.prompts == "name":
            texts = [request.texts[position] for position in positions]
            return self._tokens.count(texts, self._prompt_name(request))
        texts = self.with_prompt(request)
        return self._tokens.count([texts[position] for position in positions])

    def billed_tokens(self, headers: Mapping[str, str]) -> int:
        """Return the tokens that the server computed; its answer has vectors alone."""
        value = headers.get("x-compute-tokens", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors, in as many requests as the server's own limit asks for."""
        server = self._limits()
        parts = []
        for start in range(0, len(request.texts), server.texts):
            if request.stopped.is_set():
                raise Interrupted("stopped between two requests")
            end = min(start + server.texts, len(request.texts))
            parts.append(self._embed(request.part(start, end), server))
        return answers.joined(parts)

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's answer."""
        return answers.from_list(answer, texts, 0, self.model, self.dim, self.client.host)

    def _embed(self, request: EmbeddingRequest, server: _ServerLimits) -> Embeddings:
        try:
            return super().call(request)
        except Refused as refusal:
            message = str(refusal)
            if "default-prompt-name" in message:
                # The prompt's name is refused, not the text.
                raise BackendError(f'{message}; give prompts = "text" in the row') from refusal
            context = self.model.context
            if "tokens. Given" in message and server.tokens and context and server.tokens < context:
                hint = (
                    f"this server takes {counted(server.tokens, 'token')} per text, the model "
                    f"{context:,}: "
                    "see --max-batch-tokens"
                )
                raise Refused(f"{message} ({hint})", refusal.certain) from refusal
            raise

    def _prompt_name(self, request: EmbeddingRequest) -> str | None:
        instruction = self.instruction(request)
        if instruction.library.prompt_name is not None:
            return instruction.library.prompt_name
        # Without a prompt the model's configuration may not have a name for it.
        return request.side if instruction.prompt else None

    def _limits(self) -> _ServerLimits:
        """Return the server's limits, after one check of its model. Raises as HostClient.get."""
        with self._lock:
            if self._server is None:
                found = json_object(self.client.get("/info"), self.client.host)
                kind = self._kind(found)
                self._check_name(found)
                self._check_pooling(kind)
                # Each text occupies a slot: more texts than slots would be answered with 429.
                texts = [
                    positive(found.get("max_client_batch_size")),
                    positive(found.get("max_concurrent_requests")),
                    self.backend.limits.texts,
                ]
                batch = min(size for size in texts if size is not None)
                self._tokens = ServerTokens(self.client, "", self.served.id, texts=batch)
                self._server = _ServerLimits(
                    batch,
                    positive(found.get("max_input_length")),
                )
            return self._server

    def _kind(self, found: dict[str, object]) -> object:
        """Return the server's description of its model. Raises BackendError if it cannot embed."""
        kind = found.get("model_type")
        if not isinstance(kind, dict) or "embedding" not in kind:
            names = ", ".join(map(str, kind)) if isinstance(kind, dict) else str(kind)
            raise BackendError(
                f"{self.client.host} runs {found.get('model_id')}, which is of type {names}: not "
                "an embedding model"
            )
        return kind["embedding"]

    def _check_pooling(self, kind: object) -> None:
        pooling = kind.get("pooling") if isinstance(kind, dict) else None
        expected = _POOLING_NAMES.get(self.model.pooling)
        if pooling is not None and expected is not None and pooling != expected:
            raise FaultyBackend(
                "pooling",
                f"{self.client.host} pools by {pooling}, and {self.model.name} was trained with "
                f"{expected}: start it with --pooling {expected.replace('_', '-')}",
            )

    def _check_name(self, found: dict[str, object]) -> None:
        """Raise BackendError if every name that the server gives its model is another model's.

        Only names on the Hugging Face hub, owner/model, are compared; folders are not.
        """
        expected = self.served.id.rpartition("/")[2].lower()
        names = [str(found[key]) for key in ("model_id", "served_model_name") if found.get(key)]
        for name in names:
            if name.rpartition("/")[2].lower() == expected:
                self.named = True
                return
        if names and all(_is_hub_name(name) for name in names):
            raise FaultyBackend(
                "model",
                f"{self.client.host} runs {names[0]}, not {self.served.id}; if it is the same "
                f"model, start it with --served-model-name {self.served.id}",
            )


def _is_hub_name(name: str) -> bool:
    owner, slash, model = name.partition("/")
    return bool(slash and model) and "/" not in model and owner not in ("", ".", "..", "~")
