"""Rerankers, strict: Jina, Cohere's v2 (and vLLM, llama.cpp), Voyage, TEI.

The score of a passage is the share of the question's words that stand in it, so that a wrong
question or a wrong order shows as a wrong result.
"""

import re
from typing import Any

from tests.servers.faults import Fault, Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text


def share(question: str, passage: str) -> float:
    words = set(re.findall(r"\w+", question.lower()))
    return len(words & set(re.findall(r"\w+", passage.lower()))) / len(words)


class RerankServer(EmbeddingServer):
    """One protocol a subclass; `most` passages a request, `models` that it serves."""

    path = "/v1/rerank"
    ending = "/rerank"
    fields: tuple[str, ...] = ("model", "query", "documents", "top_n")
    documents = "documents"
    score = "relevance_score"
    listed = "results"
    top = "top_n"
    models: tuple[str, ...] = ()
    most = 1000

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            raise Refusal(401, f"invalid api token {(header or '').removeprefix('Bearer ')}")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no balance is left")

    def shape(self, refusal: Refusal) -> object:
        return {"message": refusal.message}

    def usage(self, count: int) -> dict[str, int]:
        return {"total_tokens": count}

    def read(self, body: Any) -> Job:
        for field in body:
            if field not in self.fields:
                raise Refusal(422, f"unknown field {field}")
        if self.models and body.get("model") not in self.models:
            raise Refusal(404, f"model {body.get('model')} not found")
        if not isinstance(body.get("query"), str) or not body["query"]:
            raise Refusal(422, "query must be a text")
        given = body.get(self.documents)
        if not isinstance(given, list) or not given or not all(isinstance(t, str) for t in given):
            raise Refusal(422, f"{self.documents} must be a list of texts")
        if len(given) > self.most:
            raise Refusal(422, f"at most {self.most} documents")
        if self.top and self.top in body and not 1 <= body[self.top] <= len(given):
            raise Refusal(422, f"{self.top} is out of range")
        texts = [Text("query", body["query"]), *(Text("document", text) for text in given)]
        return Job(str(body.get("model")), "", 1, None, texts)

    def answer(self, job: Job) -> tuple[Items, dict[str, Any]]:
        question, *passages = job.texts
        with self.lock:
            self.texts += job.texts
        found: Items = [
            {"index": index, self.score: share(question.text, passage.text)}
            for index, passage in enumerate(passages)
        ]
        found.sort(key=lambda item: -item[self.score])
        return found, {"model": job.model, "usage": self.usage(len(job.texts))}

    def whole(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return rest | {self.listed: items}


class JinaReranker(RerankServer):
    fields = (*RerankServer.fields, "return_documents", "truncation", "max_doc_length")
    models = ("jina-reranker-v2-base-multilingual", "jina-reranker-v3")

    def whole(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"object": "list", **rest, "results": items}

    def shape(self, refusal: Refusal) -> object:
        if refusal.status == 401:
            return {"detail": refusal.message, "code": "AUTH_INVALID_API_KEY"}
        return {"detail": {"message": refusal.message, "code": refusal.code}}

    def read(self, body: Any) -> Job:
        if body.get("return_documents", True):
            raise Refusal(400, "the documents are not wanted back")
        return super().read(body)


class CohereReranker(RerankServer):
    path = "/v2/rerank"
    fields = (*RerankServer.fields, "max_tokens_per_doc", "priority")
    models = ("rerank-v3.5",)

    def whole(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"id": "r-1", "results": items, "meta": {"billed_units": {"search_units": 1}}}


class VllmReranker(RerankServer):
    """vLLM, which serves one model and checks its name; its answers repeat the documents."""

    models = ("BAAI/bge-reranker-v2-m3",)

    def whole(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"id": "r-1", **rest, "results": [i | {"document": {"text": "…"}} for i in items]}


class LlamaReranker(RerankServer):
    """llama.cpp, which has one model and needs no name."""

    def whole(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"object": "list", **rest, "results": items}


class VoyageReranker(RerankServer):
    fields = ("model", "query", "documents", "top_k", "return_documents", "truncation")
    models = ("rerank-2.5", "rerank-2.5-lite")
    listed = "data"
    top = "top_k"

    def shape(self, refusal: Refusal) -> object:
        return {"detail": refusal.message}


class TeiReranker(RerankServer):
    path = "/rerank"
    fields = ("query", "texts", "raw_scores", "return_text", "truncate", "truncation_direction")
    documents = "texts"
    score = "score"
    top = ""
    most = 4

    def __init__(self, key: str | None = None, *, kind: str = "reranker", **more: Any) -> None:
        super().__init__(key, **more)
        self.kind = kind
        self.starting = 0  # requests that are refused before it has begun

    def get(self, path: str) -> object:
        if self.starting:
            self.starting -= 1
            raise Refusal(503, "the model is loading")
        if path != "/info":
            raise Refusal(404, "")
        return {
            "model_id": "BAAI/bge-reranker-v2-m3",
            "model_type": {self.kind: {"id2label": {"0": "LABEL_0"}}},
            "max_concurrent_requests": 512,
            "max_client_batch_size": self.most,
        }

    def shape(self, refusal: Refusal) -> object:
        return {"error": refusal.message, "error_type": "Validation"}

    def whole(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return items


def score_of(value: Any) -> Fault:
    """The last passage gets this as its score."""

    def spoil(items: Items) -> Items:
        (name,) = items[-1].keys() - {"index"}
        return [*items[:-1], items[-1] | {name: value}]

    return Fault(spoil=spoil)


def index_of(value: Any) -> Fault:
    """The last passage goes by this index."""
    return Fault(spoil=lambda items: [*items[:-1], items[-1] | {"index": value}])


SERVERS: dict[str, tuple[type[RerankServer], str]] = {
    "jina": (JinaReranker, "jina"),
    "cohere": (CohereReranker, "cohere"),
    "voyage": (VoyageReranker, "voyage:rerank-2.5-lite"),
    "tei": (TeiReranker, "tei"),
    "vllm": (VllmReranker, "vllm:BAAI/bge-reranker-v2-m3"),
    "llama.cpp": (LlamaReranker, "llama.cpp"),
}
"""By the name of the row: the server, and how it is asked for."""
