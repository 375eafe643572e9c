"""Ollama 0.20.4. Stricter than the original, which ignores unknown fields and options.

`memory_ctx`: the largest num_ctx for which the machine has memory.
"""

from typing import Any

from tests.servers.faults import Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, main
from tests.servers.vectors import first, tokens
from tests.servers.weights import WEIGHTS

LIBRARY = {
    "all-minilm": "all-minilm-l6-v2",
    "bge-m3": "bge-m3",
    "embeddinggemma": "embeddinggemma-300m",
    "granite-embedding:278m": "granite-embedding-278m-multilingual",
    "hf.co/jinaai/jina-embeddings-v5-text-small-retrieval-GGUF:Q4_K_M": (
        "jina-embeddings-v5-text-small"
    ),
    "mxbai-embed-large": "mxbai-embed-large-v1",
    "nomic-embed-text": "nomic-embed-text-v1.5",
    "nomic-embed-text-v2-moe": "nomic-embed-text-v2-moe",
    "qwen3-embedding:0.6b": "qwen3-embedding-0.6b",
    "qwen3-embedding:4b": "qwen3-embedding-4b",
    "qwen3-embedding:8b": "qwen3-embedding-8b",
    "snowflake-arctic-embed2": "snowflake-arctic-embed-l-v2.0",
}
"""Name of a pulled model -> its weights."""

_PULLED = {name.lower(): space for name, space in LIBRARY.items()}

CONTEXTS = {"nomic-embed-text-v1.5": 2048}
"""Contexts of models whose GGUF file has a shorter one than the model."""

NUM_CTX = 4096  # the default on a machine with less than 24 GiB of graphics memory
_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "num_thread", "use_mmap", "main_gpu")
_TOO_LONG = "the input length exceeds the context length"


class OllamaServer(EmbeddingServer):
    """POST /api/embed. The API key is checked as a proxy in front of Ollama would."""

    path = "/api/embed"
    ending = "/api/embed"
    fields: tuple[str, ...] = (
        "model",
        "input",
        "truncate",
        "dimensions",
        "keep_alive",
        "options",
    )

    def __init__(
        self, key: str | None = None, *, memory_ctx: int | None = None, **more: Any
    ) -> None:
        super().__init__(key, **more)
        self.memory_ctx = memory_ctx
        self.loads: list[int] = []  # the num_ctx of each time that a model was loaded

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            given = (header or "").removeprefix("Bearer ")
            raise Refusal(401, f"unauthorized: {given}")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no balance is left")

    def error_body(self, refusal: Refusal) -> object:
        return {"error": refusal.message}

    def usage(self, count: int) -> dict[str, int]:
        return {"prompt_eval_count": count}

    def ask(self, path: str, body: Any) -> object | None:
        if path != "/api/show":
            return None
        space = _PULLED.get(str(body.get("model")).lower())
        if space is None:
            raise Refusal(404, f"model '{body.get('model')}' not found")
        weights = WEIGHTS[self.impostor or space]
        context = self.context or CONTEXTS.get(space) or weights.context
        return {
            "details": {"family": "bert", "quantization_level": "F16"},
            "model_info": {
                "general.architecture": "bert",
                "bert.embedding_length": weights.dim,
                "bert.context_length": context,
            },
            "capabilities": ["embedding"],
        }

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        embeddings = [_list(item) for item in items]
        times = {"total_duration": 14_143_917, "load_duration": 1_019_500}
        return {"model": rest["model"], "embeddings": embeddings} | times | rest["usage"]

    def parse(self, body: Any) -> Job:
        space = self._weights(body)
        truncate = body.get("truncate", True)
        if not isinstance(truncate, bool):
            raise Refusal(400, "json: cannot unmarshal into EmbedRequest.truncate of type bool")
        weights = WEIGHTS[space]
        dim = body.get("dimensions", 0)
        if type(dim) is not int or dim < 0:
            raise Refusal(400, "json: cannot unmarshal into EmbedRequest.dimensions of type int")
        given = body.get("input", [])
        given = [given] if isinstance(given, str) and given else given or []
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            raise Refusal(400, "invalid input type")
        texts = [
            self._truncated(weights.detect_side(text), space, body, truncate) for text in given
        ]
        # A dimension at or above the model's own is ignored silently.
        target_dim = dim if 0 < dim < weights.dim else None
        return Job(body["model"], space, weights.dim, target_dim, texts)

    def _weights(self, body: Any) -> str:
        """Return the requested weights. Raises Refusal for an unknown field."""
        for field in body:
            if field not in self.fields:
                raise Refusal(400, f'json: unknown field "{field}"')
        options = body.get("options", {})
        for option, value in options.items():
            if option not in _OPTIONS:
                raise Refusal(400, f'json: unknown field "options.{option}"')
            if type(value) not in (int, bool):
                raise Refusal(500, f'option "{option}" must be of type integer')
        name = str(body.get("model"))
        if not name:
            raise Refusal(404, "model '' not found")
        if " " in name or ".." in name:
            raise Refusal(400, "invalid model name")
        space = _PULLED.get(name.lower().removeprefix("library/").removesuffix(":latest"))
        if space is None:
            raise Refusal(404, f'model "{name}" not found, try pulling it first')
        num_ctx = options.get("num_ctx", NUM_CTX)
        if self.memory_ctx is not None and num_ctx > self.memory_ctx:
            needs = "model requires more system memory (32.4 GiB) than is available (21.7 GiB)"
            raise Refusal(500, needs)
        with self.lock:
            if not self.loads or self.loads[-1] != num_ctx:
                self.loads.append(num_ctx)
        return space

    def _max_tokens(self, space: str, body: Any) -> int:
        """Return the maximum tokens per text."""
        own = self.context or CONTEXTS.get(space) or WEIGHTS[space].context
        return min(int(body.get("options", {}).get("num_ctx", NUM_CTX)), own)

    def _truncated(self, text: Text, space: str, body: Any, truncate: bool) -> Text:
        context = self._max_tokens(space, body)
        if tokens(text.text) > context and not truncate:
            raise Refusal(400, _TOO_LONG)
        return Text(text.side, first(text.text, context))


class OllamaLegacyServer(OllamaServer):
    """POST /api/embeddings: one prompt, no truncation, every failure is a 500."""

    path = "/api/embeddings"
    ending = "/api/embeddings"
    fields = ("model", "prompt", "keep_alive", "options")

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"embedding": _list(items[0]) if items else []}

    def parse(self, body: Any) -> Job:
        space = self._weights(body)
        prompt = body.get("prompt", "")
        if not isinstance(prompt, str):
            raise Refusal(400, "json: cannot unmarshal into EmbeddingRequest.prompt of type string")
        weights = WEIGHTS[space]
        texts = [weights.detect_side(prompt)] if prompt else []
        context = self._max_tokens(space, body)
        if any(tokens(text.text) > context for text in texts):
            raise Refusal(500, _TOO_LONG)
        # Unit vectors here; older versions do not normalise, so this server does not.
        return Job(body["model"], space, weights.dim, None, texts, unit=False)


def _list(item: dict[str, Any]) -> object:
    return [float(value) for value in item["embedding"]] if "embedding" in item else None


if __name__ == "__main__":
    main(OllamaServer)
