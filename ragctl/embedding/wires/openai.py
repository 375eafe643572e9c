"""The OpenAI protocol: POST /embeddings, as spoken by its API and many other servers."""

import json
import threading
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from ragctl.catalog.backend_table import Encoding
from ragctl.embedding.backend_wire import TextLimits
from ragctl.embedding.base import EmbeddingRequest, Embeddings
from ragctl.embedding.encoding import with_encoding
from ragctl.embedding.faults import FaultyBackend
from ragctl.embedding.rest_wire import RestWire
from ragctl.embedding.served_model import ModelNames, check_name
from ragctl.embedding.server_tokens import ServerTokens, positive
from ragctl.errors import BackendError
from ragctl.hosts.errors import Transient
from ragctl.hosts.responses import ErrorRules
from ragctl.records import Json


class OpenAI(RestWire):
    """The OpenAI protocol. It has no task field, so prompts go in front of the texts.

    Which optional fields a host accepts is in its row of backends.toml. A server of one's own,
    at an http address, is asked once which models it has: many answer to any name with the
    one model that they run. It is asked too how long a text may be, and to count tokens.
    """

    has_encodings = True
    error_rules = ErrorRules(
        text_codes=frozenset(
            {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"}
        ),
        fatal_codes=frozenset({"insufficient_quota", "model_not_found", "budget_exceeded"}),
        # LiteLLM, if it has no database of keys and the key is not its master key.
        key_phrases=frozenset({"no connected db"}),
        fatal_phrases=frozenset({"budget has been exceeded", "exceededbudget", "crossed budget"}),
        text_phrases=frozenset(
            {
                "maximum context length",
                "is too large to process",
                "must have less than",
                "`inputs` cannot be empty",
            }
        ),
    )

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._lock = threading.Lock()
        self._models_checked = not self.own_server
        self._limits = None if self.own_server else TextLimits()
        self._counter: ServerTokens | None = None

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Return the vectors: one POST, one answer."""
        self._check_models()
        try:
            return super().call(request)
        except Transient:
            raise
        except BackendError as error:
            if "encoding_format" not in str(error):
                raise
            encoding = "unset" if self.backend.encoding in ("float", "base64") else "float"
            raise BackendError(
                f"{error}; set encoding = {json.dumps(encoding)} in [backends.{self.backend.name}] "
                "of the pipeline, or in its row of backends.toml"
            ) from error

    def text_limits(self) -> TextLimits:
        """Return what a server of one's own says next to /v1: /info, or else /tokenize.

        Text Embeddings Inference has both, and truncates silently unless it is told otherwise
        when it is started. vLLM, LiteLLM and llama.cpp's server count, one text at a time;
        whether this server does shows when a text has to be counted.
        """
        self._check_models()
        with self._lock:
            if self._limits is None:
                self._limits = self._ask_limits()
            return self._limits

    def _ask_limits(self) -> TextLimits:
        url = (self.backend.base_url or "").removesuffix("/v1")
        info = self._get_optional(f"{url}/info")
        tokens = positive(info.get("max_input_length")) if isinstance(info, dict) else None
        if isinstance(info, dict) and tokens is not None:
            batch = positive(info.get("max_client_batch_size")) or 1
            self._counter = ServerTokens(self.client, url, self.served.id, texts=batch)
            cuts = info.get("auto_truncate") is not False
            return TextLimits(tokens, cuts=cuts, count=self._count)
        if self.backend.truncation != "refuses" or self.options.truncate:
            self._counter = ServerTokens(self.client, url, self.served.id, texts=None)
            return TextLimits(count=self._count)
        return TextLimits()

    def _count(self, request: EmbeddingRequest, positions: Sequence[int]) -> list[int] | None:
        """Return the tokens of some texts of a request."""
        if self._counter is None:
            return None
        texts = self.with_prompt(request)
        return self._counter.count([texts[position] for position in positions])

    def _get_optional(self, path: str) -> object:
        """Return what a server says at `path`; None if it says nothing that can be used there.

        Raises Transient if the server is not up yet.
        """
        try:
            return self.client.get(path)
        except Transient as failure:
            if failure.answered and failure.status != HTTPStatus.SERVICE_UNAVAILABLE:
                return None
            raise
        except BackendError:
            return None

    def _check_models(self) -> None:
        """Raise BackendError if the server lists models, and only others than this one."""
        with self._lock:
            if self._models_checked or self.names is None:
                return
            names = [str(item["id"]) for item in self._listed("/models") if item.get("id")]
            known = [self.names.matches(name) for name in names]
            if known and not any(match is not False for match in known):
                check_name(self.names, names[0], self.client.host, self.served.id)
            if self.served.id in names:
                self._check_alias(self.names)
            self.named |= True in known
            self._models_checked = True

    def _listed(self, path: str) -> list[dict[str, object]]:
        """Return the objects that a server lists at `path`."""
        answer = self._get_optional(path)
        listed = answer.get("data") if isinstance(answer, dict) else None
        return (
            [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        )

    def _check_alias(self, names: ModelNames) -> None:
        """Raise BackendError if a name is LiteLLM's alias of another model of the catalogue.

        The proxy says at /model/info alone which models it has behind an alias. Their names may
        be anything, such as that of a deployment: one that is not known tells nothing.
        """
        for item in self._listed("/model/info"):
            behind = item.get("litellm_params")
            model = behind.get("model") if isinstance(behind, dict) else None
            if (
                item.get("model_name") == self.served.id
                and isinstance(model, str)
                and names.is_other(model)
            ):
                raise FaultyBackend(
                    "model",
                    f"{self.client.host} runs {model} behind the alias {self.served.id}, not "
                    f"{self.model.name}; if it is the same model, give hub = {json.dumps(model)} "
                    "in the model's row",
                )

    def body(self, request: EmbeddingRequest) -> dict[str, Json]:
        """Return the request's JSON."""
        body: dict[str, Json] = {"model": self.served.id, "input": [*self.with_prompt(request)]}
        if self.asks_dimensions:
            body["dimensions"] = self.dim
        return body

    def encoded(self, body: dict[str, Json], encoding: Encoding) -> dict[str, Json]:
        """Return the request's JSON with an encoding."""
        return with_encoding(body, "encoding_format", encoding)
