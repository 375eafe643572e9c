"""Voyage's v1/embeddings, strict: dimensions and batch tokens per model, "detail" errors."""

from dataclasses import dataclass
from typing import Any

from tests.servers.host import EmbeddingServer, Job, Refusal, Text, main
from tests.servers.vectors import tokens

_SIZES = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class _Model:
    batch: int  # tokens per request
    dim: int = 1024
    max_dim: int = 2048  # its largest dimension
    dims: tuple[int, ...] = _SIZES


MODELS = {
    "voyage-3.5": _Model(320_000),
    "voyage-3.5-lite": _Model(1_000_000),
    "voyage-3-large": _Model(120_000),
    "voyage-4": _Model(320_000),
    "voyage-4-lite": _Model(1_000_000),
    "voyage-4-large": _Model(120_000),
    "voyage-code-3": _Model(120_000),
    "voyage-3": _Model(120_000, 1024, 1024, ()),
    "voyage-3-lite": _Model(120_000, 512, 512, ()),
}
_CONTEXT = 32_000
_MAX_TEXTS = 1000
_FIELDS = {
    "input",
    "model",
    "input_type",
    "truncation",
    "output_dimension",
    "output_dtype",
    "encoding_format",
}


class VoyageServer(EmbeddingServer):
    """Voyage's embedding API. `batch`: max tokens per request, for every model."""

    def __init__(self, key: str | None = None, *, batch: int | None = None, **more: Any) -> None:
        self.batch = batch
        super().__init__(key, **more)

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            given = (header or "").removeprefix("Bearer ")
            raise Refusal(401, f"Provided API key is invalid: {given}")

    def out_of_credit(self) -> Refusal:
        # Voyage does not document its answer; 402 is the status with this meaning.
        return Refusal(402, "no balance is left")

    def error_body(self, refusal: Refusal) -> object:
        return {"detail": refusal.message}

    def usage(self, count: int) -> dict[str, int]:
        return {"total_tokens": count}

    def parse(self, body: Any) -> Job:
        for field in body:
            if field not in _FIELDS:
                raise Refusal(400, f"Argument '{field}' is not supported by our API")
        name = body.get("model")
        model = MODELS.get(name)
        if model is None:
            raise Refusal(400, f"Model {name} is not supported")
        side = body.get("input_type")
        if side not in (None, "query", "document"):
            raise Refusal(400, f"Value '{side}' for 'input_type' is not valid")
        dim = body.get("output_dimension")
        if dim is not None and dim not in model.dims:
            raise Refusal(400, f"Value '{dim}' for 'output_dimension' is not valid for {name}")
        if body.get("output_dtype", "float") != "float":
            raise Refusal(400, "only float is served here")
        encoding = body.get("encoding_format")
        if encoding not in (None, "base64"):
            raise Refusal(400, f"Value '{encoding}' for 'encoding_format' is not valid")
        truncation = body.get("truncation", True)
        if not isinstance(truncation, bool):
            raise Refusal(400, "Value for 'truncation' is not valid")
        texts = self._texts(body.get("input"), side or "no side")
        texts = self._check_sizes(texts, truncation, str(name), model)
        return Job(
            str(name), str(name), model.max_dim, dim or model.dim, texts, encoding or "float"
        )

    def _texts(self, given: Any, side: str) -> list[Text]:
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(t, str) and t for t in given):
            raise Refusal(400, "Input cannot contain empty strings or empty lists")
        if not 1 <= len(given) <= _MAX_TEXTS:
            raise Refusal(
                400, f"The batch size limit is {_MAX_TEXTS}. Your batch size is {len(given)}"
            )
        return [Text(side, text) for text in given]

    def _check_sizes(
        self, texts: list[Text], truncate: bool, name: str, model: _Model
    ) -> list[Text]:
        failed = f"Request to model '{name}' failed."
        context = self.context or _CONTEXT
        if truncate:
            texts = self.cut(texts, context)
        for index, text in enumerate(texts):
            too_long = Refusal(
                400,
                f"{failed} The example at index {index} in your batch has too many tokens and does "
                f"not fit into the model's context window of {context} tokens.",
            )
            self.check_length([text], context, too_long)
        total = sum(tokens(text.text) for text in texts)
        batch = self.batch or model.batch
        if total > batch:
            raise Refusal(
                400,
                f"{failed} The max allowed tokens per submitted batch is {batch}. "
                f"Your batch has {total} tokens after truncation.",
            )
        return texts


if __name__ == "__main__":
    main(VoyageServer)
