"""The OpenAI protocol: POST /embeddings, as spoken by its API and many other servers."""

import threading
from typing import Any
from urllib.parse import urlsplit

from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.rest_wire import RestWire
from ragctl.embedding.served_model import check_name
from ragctl.errors import BackendError
from ragctl.hosts.errors import Transient
from ragctl.hosts.responses import ErrorRules
from ragctl.records import Json


class OpenAI(RestWire):
    """The OpenAI protocol. It has no task field, so prompts go in front of the texts.

    Which optional fields a host accepts is in its row of backends.toml. A server of one's own,
    at an http address, is asked once which models it has: many answer to any name with the
    one model that they run.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        self._models_checked = urlsplit(self.backend.base_url or "").scheme == "https"

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors: one POST, one answer."""
        self._check_models()
        return super().call(request)

    def _check_models(self) -> None:
        """Raise BackendError if the server lists models, and only others than this one."""
        with self._lock:
            if self._models_checked or self.names is None:
                return
            try:
                answer = self.client.get("/models")
            except Transient:
                raise
            except BackendError:
                answer = None  # it does not list them
            listed = answer.get("data") if isinstance(answer, dict) else None
            names = [
                item["id"]
                for item in (listed if isinstance(listed, list) else ())
                if isinstance(item, dict) and isinstance(item.get("id"), str)
            ]
            known = [self.names.matches(name) for name in names]
            if known and not any(match is not False for match in known):
                check_name(self.names, names[0], self.client.host, self.served.id)
            self._models_checked = True

    error_rules = ErrorRules(
        text_codes=frozenset({"context_length_exceeded", "string_above_max_length"}),
        fatal_codes=frozenset({"insufficient_quota", "model_not_found"}),
        text_phrases=frozenset({"maximum context length", "is too large to process"}),
    )

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {"model": self.served.id, "input": [*self.with_prompt(request)]}
        if self.backend.encoding != "unset":
            body["encoding_format"] = self.backend.encoding
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body
