"""What is said to a reranking API, and what it says back: one class a protocol.

jina     POST /rerank: its OpenAPI of 2026-04
cohere   POST /rerank: Cohere's v2, vLLM (/v1/rerank) and the server of llama.cpp
voyage   POST /rerank: top_k, and "data" instead of "results"
tei      POST /rerank: "texts", and a bare list with "score" (source, v1.9)
"""

import math
import threading
from collections.abc import Sequence
from typing import ClassVar

from ragctl.catalog import RerankerRow
from ragctl.errors import BackendError
from ragctl.hosts.http import HostClient
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json


class RerankWire:
    """One protocol. `scores` are in the order of the passages, each one there and finite."""

    error_rules: ClassVar[ErrorRules] = ErrorRules(
        fatal_codes=frozenset({"AUTHZ_INSUFFICIENT_BALANCE"})
    )
    listed: ClassVar[str] = "results"
    score: ClassVar[str] = "relevance_score"
    top: ClassVar[str] = "top_n"

    def __init__(self, client: HostClient, row: RerankerRow, model: str | None) -> None:
        self._client = client
        self._row = row
        self._model = model

    @property
    def most(self) -> int:
        """Passages that one request may carry."""
        return self._row.documents

    def body(self, question: str, passages: Sequence[str]) -> dict[str, Json]:
        body: dict[str, Json] = {} if self._model is None else {"model": self._model}
        return body | {
            "query": question,
            "documents": list(passages),
            self.top: len(passages),  # all: who is best is decided here
        }

    def scores(self, question: str, passages: Sequence[str]) -> tuple[list[float], int]:
        """The scores, and the tokens billed (0: not said). Raises as HostClient.post does."""
        answer = self._client.post("/rerank", self.body(question, passages))
        items, billed = self.read(answer)
        return self._checked(items, len(passages)), billed

    def read(self, answer: object) -> tuple[object, int]:
        """What should be the list of scores, and the tokens billed."""
        found = json_object(answer, self._client.host)
        usage = found.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        return found.get(self.listed), tokens if type(tokens) is int and tokens > 0 else 0

    def _checked(self, items: object, count: int) -> list[float]:
        host = self._client.host
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise BackendError(f"{host} answered no list of scores")
        if len(items) != count:
            raise BackendError(f"{host} answered {len(items)} scores for {count} passages")
        found: dict[int, float] = {}
        for item in items:
            index, score = item.get("index"), item.get(self.score)
            if type(index) is not int or not 0 <= index < count or index in found:
                raise BackendError(
                    f"{host} answered a score for passage {index!r}: each of {count} must have one"
                )
            try:
                found[index] = float(score) if type(score) in (int, float) else math.nan
            except OverflowError:  # an integer of hundreds of digits
                found[index] = math.inf
            if not math.isfinite(found[index]):
                said = repr(score)[:40]
                raise BackendError(f"{host} answered the score {said}: not a number")
        return [found[index] for index in range(count)]

    def close(self) -> None:
        self._client.close()


class Jina(RerankWire):
    def body(self, question: str, passages: Sequence[str]) -> dict[str, Json]:
        return super().body(question, passages) | {"return_documents": False}


class Cohere(RerankWire):
    """Says nothing of documents coming back: they do not, or are not read."""


class Voyage(RerankWire):
    listed = "data"
    top = "top_k"

    def body(self, question: str, passages: Sequence[str]) -> dict[str, Json]:
        return super().body(question, passages) | {"return_documents": False, "truncation": True}


class Tei(RerankWire):
    """Asks the server first what it runs, and how many passages it takes."""

    score = "score"

    def __init__(self, client: HostClient, row: RerankerRow, model: str | None) -> None:
        super().__init__(client, row, model)
        self._lock = threading.Lock()
        self._most: int | None = None

    def scores(self, question: str, passages: Sequence[str]) -> tuple[list[float], int]:
        """Split by what the server takes, which it is asked here, as this is tried again."""
        with self._lock:
            if self._most is None:
                self._most = self._asked()
        found: list[float] = []
        while len(found) < len(passages):
            some = passages[len(found) : len(found) + self._most]
            found += super().scores(question, some)[0]
        return found, 0

    def _asked(self) -> int:
        host = self._client.host
        found = json_object(self._client.get("/info"), host)
        kind = found.get("model_type")
        if not isinstance(kind, dict) or "reranker" not in kind:
            names = ", ".join(map(str, kind)) if isinstance(kind, dict) else str(kind)
            raise BackendError(
                f"{host} runs {found.get('model_id')}, which is of type {names}: no reranker"
            )
        if self._model is not None and self._model != found.get("model_id"):
            raise BackendError(f"{host} runs {found.get('model_id')}, not {self._model}")
        limits = [found.get("max_client_batch_size"), found.get("max_concurrent_requests")]
        return min([self._row.documents, *(n for n in limits if type(n) is int and n > 0)])

    def body(self, question: str, passages: Sequence[str]) -> dict[str, Json]:
        return {
            "query": question,
            "texts": list(passages),
            "raw_scores": True,
            "return_text": False,
            "truncate": True,
        }

    def read(self, answer: object) -> tuple[object, int]:
        return answer, 0


REST: dict[str, type[RerankWire]] = {
    "jina": Jina,
    "cohere": Cohere,
    "voyage": Voyage,
    "tei": Tei,
}
