"""Ollama's own API: POST /api/embed, and on request the older POST /api/embeddings.

From its source (v0.33). Its /v1/embeddings is not spoken: it cannot be told not to
cut long texts.
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

_ABSENT = re.compile(r"""404 model ['"].*['"] not found""")
_TOO_LONG = frozenset(
    {
        "exceeds the context length",
        "exceeds maximum context length",
        "exceeds the available context size",
        "is too large to process",
    }
)
"""What Ollama, and the llama.cpp server within it, say of a text longer than the context."""


class Ollama(RestWire):
    """POST /api/embed.

    Left to itself it cuts texts without a word, twice: at num_ctx, which depends
    on the machine's memory, and at num_batch, 2,048 tokens or less. So both are
    stated, as the context of the model or the smaller one that the backend's
    row gives. A row's own `extra.options` come before that.
    """

    error_rules = ErrorRules(text_phrases=_TOO_LONG)
    truncates = True

    def __init__(
        self, client: HostClient, model: Model, backend: Backend, dim: int, options: Options
    ) -> None:
        """Raises UsageError where nobody says how long a context is wanted."""
        super().__init__(client, model, backend, dim, options)
        own = backend.extra.get("options", {})
        if not isinstance(own, dict):
            raise UsageError(f"backend {backend.name}: extra.options must be a table")
        known = [size for size in (model.context, self.served.context) if size]
        context = own.get("num_ctx", min(known, default=None))
        if context is None:
            raise UsageError(
                f"backend {backend.name}: the context of {model.name} is not known, and Ollama "
                "would cut longer texts without a word; give context in the model's row"
            )
        self._runner: dict[str, Json] = {"num_ctx": context, "num_batch": context, **own}

    def path(self) -> str:
        return "/api/embed"

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        body: dict[str, Json] = {
            "model": self.served.id,
            "input": [*self.prompted(request)],
            "truncate": self.options.truncate,
        }
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body

    def call(self, request: EmbeddingRequest) -> Embeddings:
        return self.read(self.post(self.body(request)), len(request.texts))

    def read(self, answer: object, texts: int) -> Embeddings:
        found = json_object(answer, self.client.host)
        count = found.get("prompt_eval_count")
        billed = count if isinstance(count, int) and count > 0 else 0
        return answers.from_list(
            found.get("embeddings"), texts, billed, self.model, self.dim, self.client.host
        )

    def post(self, body: dict[str, Json]) -> object:
        """Send `body` with the fields of the row. Raises as HostClient.post, with advice."""
        body = body | dict(self.backend.extra) | {"options": self._runner}
        try:
            return self.client.post(self.path(), body)
        except (Refused, Transient):
            raise
        except BackendError as error:
            if not _ABSENT.search(str(error)):
                raise
            raise BackendError(
                f"{self.client.host} has no model {self.served.id}; on that machine: "
                f"ollama pull {self.served.id}"
            ) from error
