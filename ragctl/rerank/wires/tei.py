"""Text Embeddings Inference: GET /info, then POST /rerank (its source, v1.9).

Its field for the passages is "texts", and its answer is a bare list with "score".
"""

import threading
from dataclasses import replace

from ragctl.catalog import RerankerRow
from ragctl.errors import BackendError
from ragctl.hosts.http import HostClient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import json_object
from ragctl.records import Json
from ragctl.rerank.base import RerankRequest, Scores
from ragctl.rerank.host_wire import HostRerankWire


class Tei(HostRerankWire):
    """Asks the server first which model it runs and how many passages it takes.

    Asking is part of `call`, so that it is retried while the server starts.
    """

    score_field = "score"

    def __init__(self, client: HostClient, row: RerankerRow, model: str | None) -> None:
        super().__init__(client, row, model)
        self._lock = threading.Lock()
        self._server_limit: int | None = None

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return the base URL without the /v1 of the server's other API."""
        return url.removesuffix("/v1")

    def body(self, request: RerankRequest) -> dict[str, Json]:
        """Return the JSON of the request. Scores are raw, not scaled to 0 to 1."""
        return {
            "query": request.question,
            "texts": list(request.passages),
            "raw_scores": True,
            "return_text": False,
            "truncate": True,
        }

    def call(self, request: RerankRequest) -> Scores:
        """Score the passages in as many requests as the server's limit takes."""
        with self._lock:
            limit = self._server_limit = self._server_limit or self._ask_limit()
        values: tuple[float, ...] = ()
        while len(values) < len(request.passages):
            part = request.passages[len(values) : len(values) + limit]
            values += super().call(replace(request, passages=part)).values
        return Scores(values)

    def parse(self, answer: object) -> tuple[object, int]:
        """Return the answer, which is the list itself; the server bills nothing."""
        return answer, 0

    def _ask_limit(self) -> int:
        """Return the server's limit of passages. Raises BackendError for another model."""
        host = self._client.host
        info = json_object(self._client.get("/info"), host)
        model, kind = info.get("model_id"), info.get("model_type")
        if not isinstance(kind, dict) or "reranker" not in kind:
            names = ", ".join(map(str, kind)) if isinstance(kind, dict) else str(kind)
            raise BackendError(f"{host} runs {model}, which is of type {names}: no reranker")
        if self._model not in (None, model, info.get("served_model_name")):
            raise BackendError(f"{host} runs {model}, not {self._model}")
        limits = [info.get("max_client_batch_size"), info.get("max_concurrent_requests")]
        return min([self._row.documents, *(n for n in limits if type(n) is int and n > 0)])
