"""Base of the wires of reranking hosts: one POST of JSON, one score per passage."""

import math
from typing import ClassVar, Self

from ragctl.catalog import RerankerRow
from ragctl.errors import BackendError
from ragctl.hosts.addresses import warn_of_plain_http
from ragctl.hosts.http import HostClient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules, json_object
from ragctl.records import Json
from ragctl.rerank.base import RerankConnection, RerankRequest, RerankWire, Scores
from ragctl.text import counted


class HostRerankWire(RerankWire):
    """POST /rerank with a question and passages, answered by a list of scores with indexes.

    A subclass sets the names of the fields that differ, and adds to `body`.
    """

    error_rules: ClassVar[ErrorRules] = ErrorRules(
        fatal_codes=frozenset({"AUTHZ_INSUFFICIENT_BALANCE", "budget_exceeded"}),
        # LiteLLM, if it has no database of keys and the key is not its master key.
        key_phrases=frozenset({"no connected db"}),
    )
    results_field: ClassVar[str] = "results"
    score_field: ClassVar[str] = "relevance_score"
    limit_field: ClassVar[str] = "top_n"

    def __init__(self, client: HostClient, row: RerankerRow, model: str | None) -> None:
        self._client = client
        self._row = row
        self._model = model

    @classmethod
    def connect(cls, connection: RerankConnection) -> Self:
        """Return a wire with an HTTP client. Warns if the key would be sent over plain HTTP."""
        row, key = connection.row, connection.key
        url = cls.address(connection.base_url, key)
        warn_of_plain_http(url, key)
        client = HostClient(
            url,
            key,
            error_rules=cls.error_rules,
            usage=connection.usage,
            patience=connection.patience,
            connections=row.concurrency,
            key_variable=row.keys[0] if row.keys else None,
        )
        return cls(client, row, connection.model)

    @classmethod
    def address(cls, url: str, key: ApiKey | None) -> str:
        """Return where requests with this key go, for a row whose base URL is `url`."""
        return url

    @property
    def max_passages(self) -> int:
        """How many passages one request may carry, from the catalogue."""
        return self._row.documents

    def body(self, request: RerankRequest) -> dict[str, Json]:
        """Return the JSON of the request. It asks for the scores of all passages."""
        model: dict[str, Json] = {} if self._model is None else {"model": self._model}
        return model | {
            "query": request.question,
            "documents": list(request.passages),
            self.limit_field: len(request.passages),
        }

    def call(self, request: RerankRequest) -> Scores:
        """Send one request. Raises as HostClient.post does, and for an incomplete answer."""
        answer = self._client.post("/rerank", self.body(request))
        items, tokens = self.parse(answer)
        return Scores(self._checked(items, len(request.passages)), tokens)

    def parse(self, answer: object) -> tuple[object, int]:
        """Return the unchecked list of scores, and the tokens billed (0: not said)."""
        body = json_object(answer, self._client.host)
        usage = body.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        return body.get(self.results_field), tokens if type(tokens) is int and tokens > 0 else 0

    def _checked(self, items: object, count: int) -> tuple[float, ...]:
        """Return the scores by index. Raises BackendError unless each is there and finite."""
        host = self._client.host
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise BackendError(f"{host} answered no list of scores")
        if len(items) != count:
            raise BackendError(
                f"{host} answered {counted(len(items), 'score')} for {counted(count, 'passage')}"
            )
        scores: dict[int, float] = {}
        for item in items:
            index, score = item.get("index"), item.get(self.score_field)
            if type(index) is not int or not 0 <= index < count or index in scores:
                raise BackendError(
                    f"{host} answered a score for passage {index!r}: each of {count} must have one"
                )
            try:
                scores[index] = float(score) if type(score) in (int, float) else math.nan
            except OverflowError:  # an integer of hundreds of digits
                scores[index] = math.inf
            if not math.isfinite(scores[index]):
                raise BackendError(f"{host} answered the score {repr(score)[:40]}: not a number")
        return tuple(scores[index] for index in range(count))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
