"""Elasticsearch's inference API, strict: an endpoint has a fixed model and dimension."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from tests.servers.faults import Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text, main

_DIMS = {
    "jina-embeddings-v3": (1024, 8192),
    "jina-embeddings-v5-text-small": (1024, 32768),
    "jina-embeddings-v5-text-nano": (768, 8192),
}
"""Model -> dimension, context."""

_PATH = re.compile(r"/_inference/text_embedding/([^/?]+)(?:\?timeout=\d+(?:ms|s|m))?")
_SIDES = {
    "ingest": "document",
    "search": "query",
    "classification": "classification",
    "clustering": "clustering",
}
_MAX_TEXTS = 16
_TYPES = {
    400: "status_exception",
    401: "security_exception",
    403: "security_exception",
    404: "resource_not_found_exception",
    429: "es_rejected_execution_exception",
}


@dataclass(frozen=True)
class Endpoint:
    """An inference endpoint. `dim` None: the model's own; `element`: type of the vectors.

    `service`: what runs the model; `named`: the `model_id` in its settings, by default the model's.
    """

    model: str
    dim: int | None = None
    element: Literal["float", "byte", "bit"] = "float"
    service: str = "elastic"
    named: str | None = None


class ElasticServer(EmbeddingServer):
    """A cluster with these inference endpoints; by default one per model, named after it.

    `may_list`: the key has the privilege to list endpoints.
    """

    path = "/_inference/text_embedding/"
    ending = "/_inference/text_embedding/"

    def __init__(
        self,
        key: str | None = None,
        *,
        endpoints: Mapping[str, Endpoint] | None = None,
        may_list: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(key, **more)
        self.may_list = may_list
        self.endpoints = endpoints or {model: Endpoint(model) for model in _DIMS}

    def get(self, path: str) -> object:
        if path != "/_inference":
            raise Refusal(404, f"no handler found for uri [{path}] and method [GET]")
        if not self.may_list:
            raise Refusal(403, "action [cluster:monitor/xpack/inference/get] is unauthorized")
        listed = [
            {
                "inference_id": name,
                "task_type": "text_embedding",
                "service": each.service,
                "service_settings": {"model_id": each.named or each.model},
            }
            for name, each in self.endpoints.items()
        ]
        elser = {"inference_id": ".elser-2-elastic", "task_type": "sparse_embedding"}
        return {"endpoints": [elser | {"service": "elastic", "service_settings": {}}, *listed]}

    def serves(self, path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"ApiKey {self.key}":
            given = (header or "").removeprefix("ApiKey ")
            reason = f"unable to authenticate with provided credentials {given}"
            raise Refusal(401, reason if header else "missing authentication credentials")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no balance is left")

    def error_body(self, refusal: Refusal) -> object:
        kind = refusal.code or _TYPES.get(refusal.status, "status_exception")
        cause = {"type": kind, "reason": refusal.message}
        return {"error": {"root_cause": [cause]} | cause, "status": refusal.status}

    def usage(self, count: int) -> dict[str, int]:
        return {}

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        vectors = [
            {"embedding": [float(value) for value in item["embedding"]]}
            if "embedding" in item
            else {}
            for item in items
        ]
        if encoding == "float":
            return {"text_embedding": vectors}
        whole = [{"embedding": [round(value * 127) for value in v["embedding"]]} for v in vectors]
        return {"text_embedding_bytes" if encoding == "byte" else "text_embedding_bits": whole}

    def parse(self, body: Any) -> Job:
        raise AssertionError("the endpoint is in the path")

    def parse_at(self, path: str, body: Any) -> Job:
        match = _PATH.fullmatch(path)
        name = unquote(match[1]) if match else ""
        if name not in self.endpoints:
            raise Refusal(404, f"Inference endpoint not found [{name}]")
        for field in body:
            if field not in ("input", "input_type", "task_settings"):
                reason = f"[1:1] [UnifiedRequest] unknown field [{field}]"
                raise Refusal(400, reason, "x_content_parse_exception")
        side = body.get("input_type")
        if side is not None and side not in _SIDES:
            raise Refusal(400, f"Unrecognized input_type [{side}]", "illegal_argument_exception")
        given = body.get("input")
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not given or not all(isinstance(t, str) for t in given):
            raise Refusal(400, "Required field [input] must be texts", "parsing_exception")
        if len(given) > _MAX_TEXTS:
            raise Refusal(400, f"The input list is limited to {_MAX_TEXTS} items")
        endpoint = self.endpoints[name]
        native, context = _DIMS[endpoint.model]
        # Without input_type the embedding service uses its own default.
        texts = [Text(_SIDES.get(side, "text-matching"), text) for text in given]
        self.check_length(texts, context, Refusal(400, "Input exceeds the context of the model"))
        return Job(name, endpoint.model, native, endpoint.dim, texts, endpoint.element)


if __name__ == "__main__":
    main(ElasticServer)
