"""OpenAI's embedding protocol, strict, with the peculiarities of the hosts that offer it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.servers import tei_methods
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, main
from tests.servers.vectors import tokens
from tests.servers.weights import WEIGHTS, Weights

_ONE_TASK = {
    "jina-embeddings-v4-text-retrieval": "jina-embeddings-v4",
    "jina-embeddings-v5-text-small-retrieval": "jina-embeddings-v5-text-small",
}
"""Repositories with one task of a model merged in -> that model."""

_CODE = (
    "Candidate code snippet:\n",
    "Find the most relevant code snippet given the following query:\n",
)

# Lower-case part of a name -> the weights. The first match wins.
MODELS = {
    "text-embedding-3-small": Weights(1536, 8192),
    "text-embedding-3-large": Weights(3072, 8192),
    "text-embedding-v4": Weights(2048, 8192),
    "mistral-embed": Weights(1024, 8192),
    "jina-code-embeddings-0.5b": Weights(896, 32768, *_CODE),
    "jina-code-embeddings-1.5b": Weights(1536, 32768, *_CODE),
    "jina-embeddings-v4-text-retrieval": Weights(2048, 32768, "Passage: ", "Query: "),
    "jina-embeddings-v5-text-small-retrieval": WEIGHTS["jina-embeddings-v5-text-small"],
    **{name: weights for name, weights in WEIGHTS.items() if name not in _ONE_TASK.values()},
}

Style = Literal["openai", "fastapi", "string", "openrouter", "tei"]


@dataclass(frozen=True)
class _Host:
    """How one host differs. `sizes(model, dim)` returns whether the model accepts the dimension.

    `sizes` None: the field `dimensions` is refused; `drops`: it is accepted and ignored.
    """

    sizes: Callable[[str, int], bool] | None = None
    drops: bool = False
    encodings: tuple[str, ...] = ("float", "base64")  # empty: the field is refused
    texts: int = 2048
    tokens: int | None = None
    style: Style = "openai"
    unit: bool = True
    indexed: bool = True
    pads: bool = False
    dim: int | None = None  # of vectors, if the request has no dimension
    path: str = "/v1/embeddings"
    fields: tuple[str, ...] = ("user",)
    location: tuple[str, ...] = ("body",)  # before a field that a validation error names
    next_to: str = ""  # the API that the server has beside /v1
    any_name: bool = False  # infinity: answers to any name with its one model; takes empty texts


def _listed(*sizes: int) -> Callable[[str, int], bool]:
    return lambda model, dim: "qwen3" in model and dim in sizes


HOSTS = {
    "openai": _Host(lambda model, dim: "text-embedding-3" in model, tokens=300_000),
    **{
        name: _Host(
            lambda model, dim: dim in (64, 128, 256, 512, 768, 1024, 1536, 2048),
            texts=10,
            encodings=("float",),
            dim=1024,
        )
        for name in ("dashscope", "dashscope-cn")
    },
    "mistral": _Host(texts=256, tokens=16_384, fields=("output_dimension", "output_dtype")),
    "siliconflow": _Host(
        _listed(64, 128, 256, 512, 768, 1024, 2048, 4096), texts=32, style="string"
    ),
    "siliconflow-cn": _Host(
        _listed(64, 128, 256, 512, 768, 1024, 1536, 2048, 2560, 4096), texts=32, style="string"
    ),
    "deepinfra": _Host(
        lambda model, dim: dim >= 32, texts=1024, style="fastapi", pads=True, encodings=("float",)
    ),
    "fireworks": _Host(lambda model, dim: True, encodings=(), unit=False, fields=()),
    "scaleway": _Host(encodings=()),
    "openrouter": _Host(drops=True, indexed=False, style="openrouter"),
    "router": _Host(encodings=()),
    "tei-openai": _Host(lambda model, dim: True, texts=32, style="tei", next_to="tei"),
    "vllm": _Host(next_to="vllm"),
    "infinity": _Host(
        style="fastapi", unit=False, path="/embeddings", location=("body", "text"), any_name=True
    ),
    "llama.cpp": _Host(drops=True, encodings=(), next_to="llama.cpp"),
}


class OpenAIServer(EmbeddingServer):
    """OpenAI's embedding API, or a compatible host: `like` is a key of HOSTS."""

    def __init__(
        self,
        key: str | None = None,
        *,
        like: str = "openai",
        runs: str = "BAAI/bge-m3",
        auto_truncate: bool = True,
        **more: Any,
    ) -> None:
        """Start it. `runs`: the one model of Text Embeddings Inference, which answers any name."""
        self.like = HOSTS[like]
        self.path = self.like.path
        self.runs = runs
        self.auto_truncate = auto_truncate
        super().__init__(key, **more)

    def get(self, path: str) -> object:
        if path != "/info" or self.like.next_to != "tei":
            return super().get(path)
        return tei_methods.server_info(
            self.runs,
            {"embedding": {"pooling": "mean"}},
            limit=self.context or MODELS[_found(self.runs)].context,
            batch=self.like.texts,
            slots=512,
            auto_truncate=self.auto_truncate,
        )

    def ask(self, path: str, body: Any) -> object | None:
        if path != "/tokenize":
            return None
        if self.like.next_to == "tei":
            return tei_methods.tokenized(
                tei_methods.checked_texts(body.get("inputs"), self.like.texts)
            )
        if self.like.next_to == "vllm":
            count = tokens(body["prompt"])
            return {"count": count, "max_model_len": 8192, "tokens": [0] * count}
        return {"tokens": [0] * tokens(body["content"])} if self.like.next_to else None

    def error_type(self, refusal: Refusal) -> str:
        return tei_methods.error_type(refusal) if self.like.style == "tei" else "application/json"

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            given = (header or "").removeprefix("Bearer ")
            raise Refusal(401, f"Incorrect API key provided: {given}", "invalid_api_key")

    def out_of_credit(self) -> Refusal:
        return Refusal(429, "You exceeded your current quota", "insufficient_quota")

    def error_body(self, refusal: Refusal) -> object:
        message, style = refusal.message, self.like.style
        if style == "string":
            return message
        if style == "fastapi":
            if refusal.status != 422:
                return {"detail": message}
            loc = [*self.like.location, refusal.field]
            return {"detail": [{"loc": loc, "msg": message, "type": "value"}]}
        if style == "tei":
            if refusal.code == "plain":
                return message.encode()
            kind = "Empty" if refusal.status == 400 else "Validation"
            return {"message": message, "code": refusal.status, "type": kind}
        if style == "openrouter":
            return {"error": {"code": refusal.status, "message": message, "metadata": {}}}
        kind = "insufficient_quota" if refusal.code == "insufficient_quota" else "invalid_request"
        return {
            "error": {
                "message": message,
                "type": kind,
                "param": refusal.field,
                "code": refusal.code,
            }
        }

    def usage(self, count: int) -> dict[str, int]:
        return {"prompt_tokens": count, "total_tokens": count}

    def parse(self, body: Any) -> Job:
        name = str(body.get("model"))
        found = _found(name)
        if self.like.style == "tei" or (self.like.any_name and not found):
            name, found = self.runs, _found(self.runs)
        if not found:
            raise Refusal(404, f"The model {name} does not exist", "model_not_found")
        model = MODELS[found]
        known = {"model", "input", "dimensions", *self.like.fields}
        known |= {"encoding_format"} if self.like.encodings else set()
        for field in body:
            if field not in known:
                raise self._invalid(f"Unrecognized request argument: {field}", field)
        encoding = body.get("encoding_format", "float")
        if encoding not in ("float", *self.like.encodings):
            raise self._invalid("unknown encoding_format", "encoding_format")
        dim, pad_to = self._dim(body.get("dimensions"), name.lower(), model)
        return Job(
            name,
            _ONE_TASK.get(found, found),
            model.dim,
            dim,
            self._texts(body.get("input"), model),
            encoding,
            unit=self.like.unit,
            indexed=self.like.indexed,
            pad_to=pad_to,
        )

    def _dim(self, dim: Any, name: str, model: Weights) -> tuple[int | None, int]:
        """Return the dimension to truncate to and the dimension to pad to."""
        if dim is None or self.like.drops:
            return self.like.dim, 0
        if self.like.sizes is None or type(dim) is not int or not self.like.sizes(name, dim):
            raise self._invalid(f"dimensions {dim} not supported by this model", "dimensions")
        if dim > model.dim and not self.like.pads:
            raise self._invalid(f"dimensions must be at most {model.dim}", "dimensions")
        return min(dim, model.dim), dim

    def _texts(self, given: Any, model: Weights) -> list[Text]:
        if self.like.style == "tei":
            return self._tei_texts(given, model)
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not given or len(given) > self.like.texts:
            raise self._invalid(f"input must be 1 to {self.like.texts} texts", "input")
        if not all(isinstance(text, str) and (text or self.like.any_name) for text in given):
            raise self._invalid("input cannot be an empty string", "input")
        texts = [model.detect_side(text) for text in given]
        # The real API gives neither a code nor the parameter for this error.
        too_long = Refusal(400, f"This model's maximum context length is {model.context} tokens")
        if self.like is HOSTS["llama.cpp"]:
            # Its physical batch (-ub) is twice its context here.
            if any(tokens(text.text) > 2 * (self.context or model.context) for text in texts):
                raise Refusal(500, "input (9 tokens) is too large to process. increase -ub")
            message = "input (7 tokens) is larger than the max context size (6 tokens). skipping"
            too_long = Refusal(400, message, "exceed_context_size_error")
        self.check_length(texts, model.context, too_long)
        if self.like.tokens and sum(len(text) // 4 for text in given) > self.like.tokens:
            raise Refusal(400, f"max {self.like.tokens} tokens per request")
        return texts

    def _tei_texts(self, given: Any, model: Weights) -> list[Text]:
        texts = [
            model.detect_side(text) for text in tei_methods.checked_texts(given, self.like.texts)
        ]
        if self.auto_truncate:
            return self.cut(texts, model.context)
        tei_methods.check_lengths([text.text for text in texts], self.context or model.context)
        return texts

    def _invalid(self, message: str, field: str) -> Refusal:
        status = 422 if self.like.style in ("fastapi", "tei") else 400
        return Refusal(status, message, field=field)


def _found(name: str) -> str:
    """Return the key in MODELS of a model's name; empty: there is none."""
    return next((part for part in MODELS if part in name.lower()), "")


if __name__ == "__main__":
    main(OpenAIServer)
