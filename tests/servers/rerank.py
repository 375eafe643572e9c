"""Rerankers, strict: Jina, Cohere's v2 (and vLLM, llama.cpp), Voyage, TEI.

A passage's score is the share of the question's words that it contains, so that a wrong
question or a wrong order gives a wrong result.
"""

import re
from typing import Any

from tests.servers.faults import Fault, Items
from tests.servers.host import EmbeddingServer, Job, Refusal, Text


def word_overlap(question: str, passage: str) -> float:
    words = set(re.findall(r"\w+", question.lower()))
    return len(words & set(re.findall(r"\w+", passage.lower()))) / len(words)


class RerankServer(EmbeddingServer):
    """Base class, one subclass per protocol. `max_passages` per request; `models` it serves."""

    path = "/v1/rerank"
    ending = "/rerank"
    fields: tuple[str, ...] = ("model", "query", "documents", "top_n")
    documents_key = "documents"
    score_key = "relevance_score"
    results_key = "results"
    top_key = "top_n"
    models: tuple[str, ...] = ()
    max_passages = 1000

    def authorize(self, header: str | None) -> None:
        if self.key is not None and header != f"Bearer {self.key}":
            raise Refusal(401, f"invalid api token {(header or '').removeprefix('Bearer ')}")

    def out_of_credit(self) -> Refusal:
        return Refusal(402, "no balance is left")

    def error_body(self, refusal: Refusal) -> object:
        return {"message": refusal.message}

    def usage(self, count: int) -> dict[str, int]:
        return {"total_tokens": count}

    def parse(self, body: Any) -> Job:
        for field in body:
            if field not in self.fields:
                raise Refusal(422, f"unknown field {field}")
        if self.models and body.get("model") not in self.models:
            raise Refusal(404, f"model {body.get('model')} not found")
        if not isinstance(body.get("query"), str) or not body["query"]:
            raise Refusal(422, "query must be a text")
        given = body.get(self.documents_key)
        if not isinstance(given, list) or not given or not all(isinstance(t, str) for t in given):
            raise Refusal(422, f"{self.documents_key} must be a list of texts")
        if len(given) > self.max_passages:
            raise Refusal(422, f"at most {self.max_passages} documents")
        if self.top_key and self.top_key in body and not 1 <= body[self.top_key] <= len(given):
            raise Refusal(422, f"{self.top_key} is out of range")
        texts = [Text("query", body["query"]), *(Text("document", text) for text in given)]
        return Job(str(body.get("model")), "", 1, None, texts)

    def answer(self, job: Job) -> tuple[Items, dict[str, Any]]:
        question, *passages = job.texts
        with self.lock:
            self.texts += job.texts
        found: Items = [
            {"index": index, self.score_key: word_overlap(question.text, passage.text)}
            for index, passage in enumerate(passages)
        ]
        found.sort(key=lambda item: -item[self.score_key])
        return found, {"model": job.model, "usage": self.usage(len(job.texts))}

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return rest | {self.results_key: items}


class JinaReranker(RerankServer):
    fields = (*RerankServer.fields, "return_documents", "truncation", "max_doc_length")
    models = ("jina-reranker-v2-base-multilingual", "jina-reranker-v3")

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"object": "list", **rest, "results": items}

    def error_body(self, refusal: Refusal) -> object:
        if refusal.status == 401:
            return {"detail": refusal.message, "code": "AUTH_INVALID_API_KEY"}
        return {"detail": {"message": refusal.message, "code": refusal.code}}

    def parse(self, body: Any) -> Job:
        if body.get("return_documents", True):
            raise Refusal(400, "return_documents must be false")
        return super().parse(body)


class CohereReranker(RerankServer):
    path = "/v2/rerank"
    fields = (*RerankServer.fields, "max_tokens_per_doc", "priority")
    models = ("rerank-v3.5",)

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"id": "r-1", "results": items, "meta": {"billed_units": {"search_units": 1}}}


class VllmReranker(RerankServer):
    """vLLM: serves one model and checks its name; its answers repeat the documents."""

    models = ("BAAI/bge-reranker-v2-m3",)

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"id": "r-1", **rest, "results": [i | {"document": {"text": "…"}} for i in items]}


class LlamaReranker(RerankServer):
    """llama.cpp: has one model and needs no name."""

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return {"object": "list", **rest, "results": items}


class VoyageReranker(RerankServer):
    fields = ("model", "query", "documents", "top_k", "return_documents", "truncation")
    models = ("rerank-2.5", "rerank-2.5-lite")
    results_key = "data"
    top_key = "top_k"

    def error_body(self, refusal: Refusal) -> object:
        return {"detail": refusal.message}


class TeiReranker(RerankServer):
    path = "/rerank"
    fields = ("query", "texts", "raw_scores", "return_text", "truncate", "truncation_direction")
    documents_key = "texts"
    score_key = "score"
    top_key = ""
    max_passages = 4

    def __init__(
        self,
        key: str | None = None,
        *,
        kind: str = "reranker",
        served_model_name: str = "BAAI/bge-reranker-v2-m3",
        **more: Any,
    ) -> None:
        super().__init__(key, **more)
        self.kind = kind
        self.served_model_name = served_model_name
        self.starting = 0  # connections closed before the model is loaded

    def get(self, path: str) -> object:
        if self.starting:  # the real server does not listen yet: it has no 503 for this
            self.starting -= 1
            raise ConnectionAbortedError
        if path != "/info":
            raise Refusal(404, "")
        return {
            "model_id": "BAAI/bge-reranker-v2-m3",
            "served_model_name": self.served_model_name,
            "model_type": {self.kind: {"id2label": {"0": "LABEL_0"}}},
            "max_concurrent_requests": 512,
            "max_client_batch_size": self.max_passages,
        }

    def error_body(self, refusal: Refusal) -> object:
        return {"error": refusal.message, "error_type": refusal.code or "Validation"}

    def parse(self, body: Any) -> Job:
        if body.get("texts") == []:
            raise Refusal(400, "`texts` cannot be empty", "Empty")
        given = body.get("texts")
        if isinstance(given, list) and len(given) > self.max_passages:
            most = self.max_passages
            raise Refusal(422, f"batch size {len(given)} > maximum allowed batch size {most}")
        if self.kind != "reranker":
            raise Refusal(424, "Backend error: model is not a re-ranker model", "Backend")
        return super().parse(body)  # stricter than the server: it ignores unknown fields

    def answer_body(self, items: Items, rest: dict[str, Any], encoding: str) -> object:
        return items


def score_of(value: Any) -> Fault:
    """Return a fault that gives the last passage this score."""

    def corrupt(items: Items) -> Items:
        (name,) = items[-1].keys() - {"index"}
        return [*items[:-1], items[-1] | {name: value}]

    return Fault(corrupt=corrupt)


def index_of(value: Any) -> Fault:
    """Return a fault that gives the last passage this index."""
    return Fault(corrupt=lambda items: [*items[:-1], items[-1] | {"index": value}])


SERVERS: dict[str, tuple[type[RerankServer], str]] = {
    "jina": (JinaReranker, "jina"),
    "cohere": (CohereReranker, "cohere"),
    "voyage": (VoyageReranker, "voyage:rerank-2.5-lite"),
    "tei": (TeiReranker, "tei"),
    "vllm": (VllmReranker, "vllm:BAAI/bge-reranker-v2-m3"),
    "llama.cpp": (LlamaReranker, "llama.cpp"),
}
"""Row name -> the server, and the reranker name to request."""
