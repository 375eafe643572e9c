"""Ollama's own API: POST /api/embed.

From its source (v0.33). Its /v1/embeddings is not used, because it always truncates long
texts.
"""

import re
import threading
from collections.abc import Callable

from ragctl.catalog import Backend, Model
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.rest_wire import RestWire
from ragctl.embedding.server_tokens import positive
from ragctl.embedding.token_bounds import SPECIAL_TOKENS, UPPER_MARGIN, TokenBounds, surely_fits
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.http import HostClient
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json

_MODEL_NOT_FOUND = re.compile(r"""404 model ['"].*['"] not found""")
_NO_MEMORY = "requires more system memory"
MIN_NUM_CTX = 2048
"""Holds chunks of the default size: one value for nearly all requests, indexing and searching.

With fewer tokens little memory is saved (67 MB for 16 heads and num_batch 512).
"""
_TOO_LONG_PHRASES = frozenset(
    {
        "exceeds the context length",
        "exceeds maximum context length",
        "exceeds the available context size",
        "is too large to process",
    }
)
"""Errors of Ollama, and of its llama.cpp server, about a text longer than the context."""


class Ollama(RestWire):
    """POST /api/embed.

    By default it truncates texts silently at num_ctx, which depends on the machine's memory.
    Requests therefore set it, to a power of two that holds the longest text so far, at most
    the context of the model or the smaller one in the backend's row: the server allocates
    heads x num_batch x num_ctx x 4 bytes, and loads the model again whenever num_ctx changes.
    num_batch, which changes no vector, is left at the server's default. A row's own
    `extra.options` take precedence.
    """

    error_rules = ErrorRules(
        text_phrases=_TOO_LONG_PHRASES,
        suspect_phrases=frozenset({"unsupported value: nan"}),
        fatal_phrases=frozenset({_NO_MEMORY}),
        # A dead runner answers 400 to every text.
        transient_phrases=frozenset({"do embedding request:", "runner process no longer running"}),
    )
    truncates = True

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        """Raise UsageError if no row gives the context."""
        super().__init__(client, model, backend, dim, options)
        own = backend.extra.get("options", {})
        if not isinstance(own, dict):
            raise UsageError(f"backend {backend.name}: extra.options must be a table")
        known = [size for size in (model.context, self.served.context) if size]
        context = own.get("num_ctx", min(known, default=None))
        if not isinstance(context, int):
            raise UsageError(
                f"backend {backend.name}: the context of {model.name} is not known, and Ollama "
                "would truncate longer texts silently; give context in the model's row"
            )
        self._context = context
        self._num_ctx = context if "num_ctx" in own else min(MIN_NUM_CTX, context)
        self._own_options = own
        self._bounds = TokenBounds(model.tokenizer)
        self._lock = threading.Lock()
        self._shown = False  # whether the server was asked about its model

    def path(self) -> str:
        """Return the path of the embedding method."""
        return "/api/embed"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {
            "model": self.served.id,
            "input": [*self.with_prompt(request)],
            # A smaller num_ctx was estimated: a text beyond it is not too long yet.
            "truncate": self.options.truncate and self._num_ctx == self._context,
        }
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors of the request."""
        answer = self.with_context(request, lambda: self.post(self.body(request)))
        return self.parse(answer, len(request.texts))

    def with_context(self, request: EmbeddingRequest, send: Callable[[], object]) -> object:
        """Return what `send` returns, with a num_ctx that holds the texts of the request.

        If they are longer than estimated, num_ctx is doubled until they are not, or until it
        is the model's context.
        """
        self._check_model()
        texts = self.with_prompt(request)
        for text in texts:
            # A text has at most as many tokens as bytes: few texts have to be counted.
            if not surely_fits(text, self._num_ctx):
                self._grow(round(UPPER_MARGIN * self._bounds.estimate(text)) + SPECIAL_TOKENS)
        while True:
            num_ctx = self._num_ctx
            try:
                return send()
            except Refused as refusal:
                message = str(refusal).lower()
                too_long = any(phrase in message for phrase in _TOO_LONG_PHRASES)
                largest = num_ctx == self._context or all(surely_fits(t, num_ctx) for t in texts)
                if largest or not too_long:
                    raise
                self._grow(2 * num_ctx)

    def _check_model(self) -> None:
        """Compare what the server says about its model with the row, once, at /api/show.

        Raises BackendError for a model with vectors of another size, Transient if the server
        cannot be reached. A smaller context than the row's is used instead.
        """
        with self._lock:
            if self._shown:
                return
            try:
                found = self.client.ask("/api/show", {"model": self.served.id})
            except Transient as failure:
                if not failure.answered:
                    raise
                return  # it is asked again with the next request
            except BackendError:
                found = None  # a proxy without this method, or a model that is not there
            info = found.get("model_info") if isinstance(found, dict) else None
            self.named = isinstance(info, dict)  # Ollama has a model of that name
            size = _shown(info, ".embedding_length")
            if size is not None and size != self.model.dim:
                raise BackendError(
                    f"{self.client.host} runs a model of {size:,} dimensions as {self.served.id}, "
                    f"and {self.model.name} has {self.model.dim:,}: it is another model"
                )
            context = _shown(info, ".context_length")
            if context is not None and "num_ctx" not in self._own_options:
                self._context = min(self._context, context)
                self._num_ctx = min(self._num_ctx, self._context)
            self._shown = True

    def _grow(self, tokens: int) -> None:
        """Raise num_ctx to hold texts of so many tokens. It never shrinks."""
        while self._num_ctx < min(tokens, self._context):
            self._num_ctx = min(2 * self._num_ctx, self._context)

    def parse(self, answer: object, texts: int) -> Embeddings:
        """Return the vectors in the API's answer."""
        found = json_object(answer, self.client.host)
        count = found.get("prompt_eval_count")
        billed = count if isinstance(count, int) and count > 0 else 0
        return answers.from_list(
            found.get("embeddings"), texts, billed, self.model, self.dim, self.client.host
        )

    def post(self, body: dict[str, Json]) -> object:
        """Send `body` with the fields of the row. Raises as HostClient.post, with advice."""
        num_ctx = self._num_ctx
        options: dict[str, Json] = {"num_ctx": num_ctx, **self._own_options}
        body = body | dict(self.backend.extra) | {"options": options}
        try:
            return self.client.post(self.path(), body)
        except (Refused, Transient):
            raise
        except BackendError as error:
            if _NO_MEMORY in str(error):
                raise BackendError(
                    f"{error}; memory grows with options.num_ctx, which is {num_ctx:,} here: use "
                    "a smaller --chunk-size, or set a lower one in extra of the backend's row, not "
                    "below the tokens of a chunk"
                ) from error
            if not _MODEL_NOT_FOUND.search(str(error)):
                raise
            raise BackendError(
                f"{self.client.host} has no model {self.served.id}; on that machine: "
                f"ollama pull {self.served.id}"
            ) from error


def _shown(info: object, ending: str) -> int | None:
    """Return a number of /api/show, whose key begins with the model's architecture."""
    if not isinstance(info, dict):
        return None
    found = [positive(value) for key, value in info.items() if str(key).endswith(ending)]
    return found[0] if len(found) == 1 else None
