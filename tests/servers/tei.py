"""Text Embeddings Inference with one model, strict: GET /info and POST /embed."""

import json
from typing import Any, Literal

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
        **more: Any,
    ) -> None:
        """Start it. `default_prompt_names`: the repository has query and document prompts."""
        super().__init__(key, **more)
        self.space, pooled = HUB[model]
        self.weights: Weights = WEIGHTS[self.space]
        self.model = model
        self.kind = kind
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
        self.info: dict[str, Any] = {
            "model_id": folder or model,
            "model_sha": None,
            "model_dtype": "float16",
            "served_model_name": served_model_name or folder or model,
            "model_type": {kind: type_info},
            "max_concurrent_requests": max_concurrent_requests,
            "max_input_length": self.max_tokens,
            "max_batch_tokens": 16384,
            "max_batch_requests": None,
            "max_client_batch_size": max_client_batch_size,
            "auto_truncate": auto_truncate,
            "tokenization_workers": 4,
            "version": "1.9.3",
        }

    def get(self, path: str) -> object:
        if path != "/info":
            raise Refusal(404, "")
        return self.info

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            raise Refusal(401, "")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no balance is left")

    def error_body(self, refusal: Refusal) -> object:
        if refusal.status in (401, 404, 413) or refusal.code == "plain":
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

    def parse(self, body: Any) -> Job:
        if len(json.dumps(body, ensure_ascii=False).encode()) > self.payload_limit:
            raise Refusal(413, "Failed to buffer the request body: length limit exceeded")
        for field in body:
            if field not in _FIELDS:
                raise self._malformed(f"unknown field `{field}`")
        for field in ("normalize", "truncate"):
            if not isinstance(body.get(field, True), bool):
                raise self._malformed(f"{field}: invalid type, expected a boolean")
        if body.get("truncation_direction", "Right") not in ("Left", "Right"):
            raise self._malformed("truncation_direction: unknown variant")
        if self.kind != "embedding":
            raise Refusal(424, "Model is not an embedding model", "Backend")
        dim = body.get("dimensions")
        if dim is not None and (type(dim) is not int or not 1 <= dim <= self.weights.dim):
            raise Refusal(422, f"`dimensions` must be between 1 and {self.weights.dim}")
        return Job(
            self.model,
            self.space,
            self.weights.dim,
            dim,
            self._texts(body),
            unit=body.get("normalize", True),
        )

    def _texts(self, body: Any) -> list[Text]:
        given = body.get("inputs")
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            raise self._malformed("inputs: data did not match any variant of untagged enum Input")
        if not given or not all(given):
            raise Refusal(400, "`inputs` cannot be empty")
        if len(given) > self.max_batch:
            reason = f"batch size {len(given)} > maximum allowed batch size {self.max_batch}"
            raise Refusal(422, reason)
        if len(given) > self.slots:
            raise Refusal(429, "Model is overloaded")
        prompt = self._prompt(body.get("prompt_name"))
        texts = [self.weights.detect_side(prompt + text) for text in given]
        truncate = body.get("truncate")
        if self.auto_truncate if truncate is None else truncate:
            return [Text(text.side, first(text.text, self.max_tokens)) for text in texts]
        for text in texts:
            if tokens(text.text) > self.max_tokens:
                raise Refusal(
                    422,
                    f"`inputs` must have less than {self.max_tokens} tokens. "
                    f"Given: {tokens(text.text)}",
                )
        return texts

    def _prompt(self, name: str | None) -> str:
        if name is None:
            return ""
        if name not in self.prompts:
            raise Refusal(
                422,
                f"`default-prompt-name` is set to `{name}` but it was not found in the Sentence "
                f"Transformers prompts. Available prompts: {list(self.prompts)}",
            )
        return self.prompts[name]

    def _malformed(self, message: str) -> Refusal:
        """Return the plain-text error for JSON of the wrong form."""
        return Refusal(422, f"Failed to deserialize the JSON body: {message}", "plain")


if __name__ == "__main__":
    main(TeiServer)
