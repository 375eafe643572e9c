"""The Jina API, strict: fields per model, tasks by their API names, its three error formats."""

from dataclasses import dataclass
from typing import Any

from tests.servers.host import EmbeddingServer, Job, Refusal, Text, main
from tests.servers.vectors import tokens

_SIDES = {"passage": "document", "query": "query"}


@dataclass(frozen=True)
class _Model:
    dim: int
    context: int
    texts: int
    tasks: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    default_task: str = "text-matching"  # used when the request has no task


_RETRIEVAL = ("retrieval.query", "retrieval.passage", "text-matching")
_CODE = tuple(
    f"{task}.{side}"
    for task in ("nl2code", "qa", "code2code", "code2nl", "code2completion")
    for side in ("query", "passage")
)
_V2 = _Model(768, 8192, 2048, fields=("normalized",))
MODELS = {
    "jina-embedding-b-en-v1": _Model(768, 512, 2048),
    **{f"jina-embeddings-v2-base-{language}": _V2 for language in ("en", "de", "es", "zh", "code")},
    "jina-embeddings-v3": _Model(
        1024,
        8192,
        2048,
        (*_RETRIEVAL, "classification", "separation"),
        ("task", "dimensions", "normalized", "late_chunking"),
        default_task="base",
    ),
    "jina-embeddings-v4": _Model(
        2048,
        8192,
        512,
        (*_RETRIEVAL, "code.query", "code.passage"),
        ("task", "dimensions", "late_chunking", "return_multivector"),
    ),
    **{
        f"jina-embeddings-v5-{kind}-{size}": _Model(
            dim,
            context,
            512,
            (*_RETRIEVAL, "clustering", "classification"),
            ("task", "dimensions", "normalized"),
        )
        for kind in ("text", "omni")
        for size, dim, context in (("small", 1024, 32768), ("nano", 768, 8192))
    },
    **{
        f"jina-code-embeddings-{size}": _Model(
            dim, 32768, 512, _CODE, ("task", "dimensions"), default_task="nl2code.query"
        )
        for size, dim in (("0.5b", 896), ("1.5b", 1536))
    },
    "jina-clip-v1": _Model(768, 8192, 2048),
    "jina-clip-v2": _Model(
        1024, 8192, 2048, ("retrieval.query",), ("task",), default_task="document"
    ),
}
_ALWAYS = {"model", "input", "embedding_type", "truncate"}


class JinaServer(EmbeddingServer):
    """Jina's embedding API."""

    def authorize(self, header: str | None) -> None:
        if self.key is None:
            return
        if header is None:
            raise Refusal(401, "Missing API key", "AUTH_MISSING_API_KEY")
        if not header.startswith("Bearer "):
            raise Refusal(401, "Authorization must be Bearer", "AUTH_INVALID_FORMAT")
        if header != f"Bearer {self.key}":
            given = header.removeprefix("Bearer ")
            raise Refusal(401, f"Invalid API key {given}", "AUTH_INVALID_API_KEY")

    def out_of_credit(self) -> Refusal:
        return Refusal(403, "Insufficient account balance", "AUTHZ_INSUFFICIENT_BALANCE")

    def error_body(self, refusal: Refusal) -> object:
        rest = {"request_id": "r-1"}
        if refusal.status == 401:
            return {"detail": refusal.message, "code": refusal.code} | rest
        if refusal.status == 422:
            error = {"field": refusal.field, "message": refusal.message, "type": "value_error"}
            return {"detail": "Validation failed", "errors": [error | {"input": None}]} | rest
        return {"detail": {"message": refusal.message, "code": refusal.code} | rest}

    def usage(self, count: int) -> dict[str, int]:
        return {"total_tokens": count}

    def parse(self, body: Any) -> Job:
        model = MODELS.get(body.get("model"))
        if model is None:
            raise Refusal(400, f"Model {body.get('model')} not found", "INPUT_MODEL_NOT_FOUND")
        for field in body:
            if field not in _ALWAYS and field not in model.fields:
                raise Refusal(422, "Extra inputs are not permitted", field=field)
        task = body.get("task")
        if task is not None and task not in model.tasks:
            raise Refusal(400, f"Invalid task {task!r}", "INPUT_INVALID")
        encoding = body.get("embedding_type", "float")
        if isinstance(encoding, list):
            raise Refusal(500, "Internal error", "INTERNAL_ERROR")
        if encoding not in ("float", "base64"):
            raise Refusal(422, "Input should be float or base64", field="embedding_type")
        for field in ("normalized", "truncate", "late_chunking", "return_multivector"):
            if not isinstance(body.get(field, False), bool):
                raise Refusal(422, "Input should be a valid boolean", field=field)
        dim = body.get("dimensions")
        if dim is not None and (type(dim) is not int or not 1 <= dim <= model.dim):
            raise Refusal(422, f"at most {model.dim}", field="dimensions")
        texts = self._texts(body.get("input"), task, model)
        return Job(
            body["model"],
            body["model"],
            model.dim,
            dim,
            texts,
            encoding,
            unit=body.get("normalized", True),
            context=self._context(texts, model) if body.get("late_chunking") else "",
        )

    def _context(self, texts: list[Text], model: _Model) -> str:
        """Return the late-chunking context: all inputs joined, within the model's context."""
        if sum(tokens(text.text) for text in texts) > (self.context or model.context):
            raise Refusal(400, "Input exceeds the context", "INPUT_TOKEN_LIMIT_EXCEEDED")
        return "\n".join(text.text for text in texts)

    def _texts(self, given: Any, task: str | None, model: _Model) -> list[Text]:
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not given:
            raise Refusal(422, "Input should be a list of texts", field="input")
        if not all(isinstance(text, str) and text for text in given):
            raise Refusal(422, "Input should be a non-empty string", field="input.0")
        if len(given) > model.texts:
            limit = f"Each input list can contain at most {model.texts} items"
            raise Refusal(400, limit, "INPUT_LIST_TOO_LONG")
        side = self._side(task, model)
        texts = [Text(side, text) for text in given]
        too_long = Refusal(400, "Input exceeds the context", "INPUT_TOKEN_LIMIT_EXCEEDED")
        self.check_length(texts, model.context, too_long)
        return texts

    def _side(self, task: str | None, model: _Model) -> str | None:
        if not model.tasks:
            return None
        if task is None:
            return model.default_task
        kind, _, end = task.rpartition(".")
        return _SIDES[end] if kind in ("retrieval", "nl2code") else task


if __name__ == "__main__":
    main(JinaServer)
