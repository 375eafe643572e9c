"""Cohere's v2/embed, strict: input_type is required, vectors are keyed by type."""

from dataclasses import dataclass
from typing import Any

from tests.servers.faults import Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, encode_vector, main


@dataclass(frozen=True)
class _Model:
    dim: int
    context: int
    dims: tuple[int, ...] = ()  # accepted output_dimension values; empty: the field is refused


MODELS = {
    "embed-multilingual-v3.0": _Model(1024, 512),
    "embed-v4.0": _Model(1536, 128_000, (256, 512, 1024, 1536)),
    **{
        f"embed-v5.0-{size}": _Model(2048, 128_000, (256, 512, 768, 1024, 1536, 2048))
        for size in ("pro", "fast")
    },
}
_TEXTS = 96
_SIDES = {"search_document": "document", "search_query": "query"}
_INPUT_TYPES = (*_SIDES, "classification", "clustering", "image")
_TYPES = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_FIELDS = {
    "model",
    "input_type",
    "texts",
    "images",
    "inputs",
    "embedding_types",
    "output_dimension",
    "truncate",
    "max_tokens",
    "priority",
}


class CohereServer(EmbeddingServer):
    """Cohere's embedding API."""

    path = "/v2/embed"
    ending = "/embed"

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            given = (header or "").removeprefix("Bearer ")
            raise Refusal(401 if header else 498, f"invalid api token {given}")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "please check your account's balance")

    def error_body(self, refusal: Refusal) -> object:
        return {"id": "e-1", "message": refusal.message}

    def usage(self, count: int) -> dict[str, int]:
        return {"input_tokens": count}

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        vectors = [
            encode_vector(item["embedding"], encoding) if "embedding" in item else None
            for item in items
        ]
        return {
            "id": "e-1",
            "embeddings": {encoding: vectors},
            "texts": ["…" for _ in items],
            "meta": {"api_version": {"version": "2"}, "billed_units": rest["usage"]},
            "response_type": "embeddings_by_type",
        }

    def parse(self, body: Any) -> Job:
        for field in body:
            if field not in _FIELDS:
                raise Refusal(422, f"unknown field: parameter '{field}' is not a valid field")
        model = MODELS.get(body.get("model"))
        if model is None:
            raise Refusal(404, f"model '{body.get('model')}' not found")
        kind = body.get("input_type")
        if kind not in _INPUT_TYPES:
            raise Refusal(400, "invalid request: valid input_type must be provided")
        types = body.get("embedding_types")
        if not isinstance(types, list) or len(types) != 1 or types[0] not in _TYPES:
            raise Refusal(400, "invalid request: embedding_types must be given")
        if types[0] not in ("float", "base64"):
            raise Refusal(501, f"{types[0]} is not served here")
        dim = body.get("output_dimension")
        if dim is not None and dim not in model.dims:
            raise Refusal(400, f"invalid request: output_dimension {dim} is not supported")
        texts = [
            Text(_SIDES.get(kind, kind), text) for text in self._texts(body.get("texts"), body)
        ]
        texts = self._fitting(texts, body.get("truncate", "END"), model.context)
        return Job(body["model"], body["model"], model.dim, dim, texts, types[0], indexed=False)

    def _texts(self, given: Any, body: Any) -> list[str]:
        if "images" in body or "inputs" in body:
            raise Refusal(400, "invalid request: only one of texts, images, inputs")
        if not isinstance(given, list) or not given:
            raise Refusal(400, "invalid request: list of texts must not be empty")
        if not all(isinstance(text, str) and text for text in given):
            raise Refusal(400, "invalid request: texts must be at least 1 token long")
        if len(given) > _TEXTS:
            raise Refusal(
                400,
                f"invalid request: total number of texts must be at most {_TEXTS} - "
                f"received {len(given)}",
            )
        return given

    def _fitting(self, texts: list[Text], truncate: Any, context: int) -> list[Text]:
        if truncate not in ("NONE", "START", "END"):
            raise Refusal(400, "invalid request: truncate must be NONE, START or END")
        if truncate == "END":
            return self.cut(texts, context)
        too_long = Refusal(400, f"too many tokens: each text must be at most {context} tokens")
        self.check_length(texts, context, too_long)
        return texts


if __name__ == "__main__":
    main(CohereServer)
