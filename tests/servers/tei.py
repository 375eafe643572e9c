"""Text Embeddings Inference with one model: GET /info, POST /embed and /tokenize.

Stricter than the original about unknown fields.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from tests.servers import tei_methods
from tests.servers.faults import Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, main
from tests.servers.vectors import first, tokens
from tests.servers.weights import WEIGHTS, Weights

HUB = {
    "sentence-transformers/all-MiniLM-L6-v2": ("all-minilm-l6-v2", "mean"),
    "BAAI/bge-m3": ("bge-m3", "cls"),
    "google/embeddinggemma-300m": ("embeddinggemma-300m", "mean"),
    "Alibaba-NLP/gte-modernbert-base": ("gte-modernbert-base", "cls"),
    "jinaai/jina-embeddings-v2-base-code": ("jina-embeddings-v2-base-code", "mean"),
    "mixedbread-ai/mxbai-embed-large-v1": ("mxbai-embed-large-v1", "cls"),
    "Snowflake/snowflake-arctic-embed-l-v2.0": ("snowflake-arctic-embed-l-v2.0", "cls"),
    "jinaai/jina-embeddings-v2-base-de": ("jina-embeddings-v2-base-de", "mean"),
    "jinaai/jina-embeddings-v2-base-en": ("jina-embeddings-v2-base-en", "mean"),
    "jinaai/jina-embeddings-v2-base-es": ("jina-embeddings-v2-base-es", "mean"),
    "jinaai/jina-embeddings-v2-base-zh": ("jina-embeddings-v2-base-zh", "mean"),
    "jinaai/jina-embeddings-v5-text-small-retrieval": (
        "jina-embeddings-v5-text-small",
        "last_token",
    ),
    "intfloat/multilingual-e5-large": ("multilingual-e5-large", "mean"),
    "intfloat/multilingual-e5-small": ("multilingual-e5-small", "mean"),
    "nomic-ai/nomic-embed-text-v1.5": ("nomic-embed-text-v1.5", "mean"),
    "nomic-ai/nomic-embed-text-v2-moe": ("nomic-embed-text-v2-moe", "mean"),
    "Qwen/Qwen3-Embedding-0.6B": ("qwen3-embedding-0.6b", "last_token"),
    "Qwen/Qwen3-Embedding-4B": ("qwen3-embedding-4b", "last_token"),
    "Qwen/Qwen3-Embedding-8B": ("qwen3-embedding-8b", "last_token"),
}
"""Value of --model-id -> its weights, and the pooling its repository configures."""

_FIELDS = ("inputs", "normalize", "truncate", "truncation_direction", "prompt_name", "dimensions")
_KINDS = {400: "Empty", 422: "Validation", 424: "Backend", 429: "Overloaded", 503: "Unhealthy"}


class TeiServer(EmbeddingServer):
    """A server started with these options; `folder`: --model-id is this local path."""

    path = "/embed"
    ending = "/embed"

    def __init__(
        self,
        key: str | None = None,
        *,
        model: str = "Qwen/Qwen3-Embedding-0.6B",
        folder: str | None = None,
        served_model_name: str | None = None,
        kind: Literal["embedding", "reranker", "classifier"] = "embedding",
        pooling: str | None = None,
        auto_truncate: bool = True,
        max_client_batch_size: int = 32,
        max_concurrent_requests: int = 512,
        payload_limit: int = 2_000_000,
        default_prompt_names: bool = True,
        tokenizes: bool = True,
        **more: Any,
    ) -> None:
        """Start it.

        `default_prompt_names`: the repository has query and document prompts. `tokenizes`: a
        proxy in front of the server lets POST /tokenize through.
        """
        super().__init__(key, **more)
        self.space, pooled = HUB[model]
        self.weights: Weights = WEIGHTS[self.space]
        self.model = model
        self.kind = kind
        self.tokenizes = tokenizes
        self.max_batch = max_client_batch_size
        self.slots = max_concurrent_requests
        self.auto_truncate = auto_truncate
        self.payload_limit = payload_limit
        self.max_tokens = self.context or self.weights.context
        self.prompts = (
            {"query": self.weights.query, "document": self.weights.document}
            if default_prompt_names and self.weights.query
            else {}
        )
        type_info = {"pooling": pooling or pooled} if kind == "embedding" else {"id2label": "…"}
        self.info = tei_methods.server_info(
            folder or model,
            {kind: type_info},
            limit=self.max_tokens,
            batch=max_client_batch_size,
            slots=max_concurrent_requests,
            auto_truncate=auto_truncate,
        )
        if served_model_name:
            self.info["served_model_name"] = served_model_name

    def get(self, path: str) -> object:
        if path == "/health":
            return {}
        if path != "/info":
            raise Refusal(404, "")
        return self.info

    def error_type(self, refusal: Refusal) -> str:
        return tei_methods.error_type(refusal)

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            raise Refusal(401, "")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no balance is left")

    def error_body(self, refusal: Refusal) -> object:
        if refusal.status in (401, 404) or refusal.code == "plain":
            return refusal.message.encode()
        kind = refusal.code or _KINDS.get(refusal.status, "Backend")
        return {"error": refusal.message, "error_type": kind}

    def usage(self, count: int) -> dict[str, int]:
        return {}

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return [
            [float(value) for value in item["embedding"]] if "embedding" in item else None
            for item in items
        ]

    def check_head(self, headers: Mapping[str, str], size: int) -> None:
        tei_methods.check_content_type(headers.get("Content-Type"))
        tei_methods.check_size(size, self.payload_limit)

    def answer_headers(self, job: Job) -> Mapping[str, str]:
        count = sum(tokens(text.text) for text in job.texts)
        return {"x-compute-tokens": str(count), "x-compute-time": "1"}

    def ask(self, path: str, body: Any) -> object | None:
        if path == "/rerank" and self.kind == "embedding":
            raise Refusal(424, "Backend error: model is not a re-ranker model", "Backend")
        if path != "/tokenize" or not self.tokenizes:
            return None
        given = tei_methods.checked_texts(body.get("inputs"), self.max_batch)
        prompt = self._prompt(body.get("prompt_name"))
        return tei_methods.tokenized([prompt + text for text in given])

    def parse(self, body: Any) -> Job:
        for field in body:
            if field not in _FIELDS:  # stricter than the server, which ignores them
                raise tei_methods.malformed(f"unknown field `{field}`")
        for field in ("normalize", "truncate"):
            if not isinstance(body.get(field) or False, bool):
                raise tei_methods.malformed(f"{field}: invalid type, expected a boolean")
        if str(body.get("truncation_direction", "Right")).lower() not in ("left", "right"):
            raise tei_methods.malformed("truncation_direction: unknown variant")
        if self.kind != "embedding":
            raise Refusal(424, "Backend error: Model is not an embedding model", "Backend")
        dim = body.get("dimensions")
        if dim is not None and (type(dim) is not int or dim < 0):
            raise tei_methods.malformed("dimensions: invalid value, expected usize")
        if dim == 0:
            raise tei_methods.invalid("`dimensions` should be positive")
        if dim is not None and dim > self.weights.dim:
            raise tei_methods.invalid(
                "`dimensions` should be smaller than the maximum embedding dimension."
            )
        return Job(
            self.model,
            self.space,
            self.weights.dim,
            dim,
            self._texts(body),
            unit=body.get("normalize", True),
        )

    def _texts(self, body: Any) -> list[Text]:
        given = tei_methods.checked_texts(body.get("inputs"), self.max_batch)
        with self.lock:
            # Each text takes a place, beside those of the other requests in flight.
            if self.in_flight - 1 + len(given) > self.slots:
                raise Refusal(429, "Model is overloaded")
        prompt = self._prompt(body.get("prompt_name"))
        prompted = [prompt + text for text in given]
        texts = [self.weights.detect_side(text) for text in prompted]
        truncate = body.get("truncate")
        if self.auto_truncate if truncate is None else truncate:
            return [Text(text.side, first(text.text, self.max_tokens)) for text in texts]
        tei_methods.check_lengths([text.text for text in texts], self.max_tokens)
        return texts

    def _prompt(self, name: str | None) -> str:
        if name is None:
            return ""
        if name not in self.prompts:
            known = json.dumps(list(self.prompts))
            raise tei_methods.invalid(
                f"`default-prompt-name` is set to `{name}` but "
                + (
                    f"it was not found in the Sentence Transformers prompts. Available prompts: "
                    f"{known}"
                    if self.prompts
                    else "no prompts were found in the Sentence Transformers configuration"
                )
            )
        return self.prompts[name]


if __name__ == "__main__":
    main(TeiServer)
