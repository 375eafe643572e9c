"""Ollama's own API: POST /api/embed.

From its source (v0.33). Its /v1/embeddings is not used, because it always truncates long
texts.
"""

import re

from ragctl.catalog import Backend, Model
from ragctl.embedding import answers
from ragctl.embedding.base import EmbeddingRequest, Embeddings, Options
from ragctl.embedding.rest_wire import RestWire
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.http import HostClient
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json

_MODEL_NOT_FOUND = re.compile(r"""404 model ['"].*['"] not found""")
_NO_MEMORY = "requires more system memory"
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

    By default it truncates texts silently at two limits: num_ctx, which depends on the
    machine's memory, and num_batch, 2,048 tokens or less. Requests therefore set both to
    the context of the model, or to the smaller one in the backend's row. A row's own
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
        if context is None:
            raise UsageError(
                f"backend {backend.name}: the context of {model.name} is not known, and Ollama "
                "would truncate longer texts silently; give context in the model's row"
            )
        self._runner_options: dict[str, Json] = {"num_ctx": context, "num_batch": context, **own}

    def path(self) -> str:
        """Return the path of the embedding method."""
        return "/api/embed"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {
            "model": self.served.id,
            "input": [*self.with_prompt(request)],
            "truncate": self.options.truncate,
        }
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors of the request."""
        return self.parse(self.post(self.body(request)), len(request.texts))

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
        body = body | dict(self.backend.extra) | {"options": self._runner_options}
        try:
            return self.client.post(self.path(), body)
        except (Refused, Transient):
            raise
        except BackendError as error:
            if _NO_MEMORY in str(error):
                raise BackendError(
                    f"{error}; memory grows with options.num_ctx, which is "
                    f"{self._runner_options['num_ctx']} here: set a lower one in extra of the "
                    "backend's row, not below the tokens of a chunk"
                ) from error
            if not _MODEL_NOT_FOUND.search(str(error)):
                raise
            raise BackendError(
                f"{self.client.host} has no model {self.served.id}; on that machine: "
                f"ollama pull {self.served.id}"
            ) from error
