"""Rerank hits with a model that reads question and passage together.

connect_reranker(…) ─► Reranker ─► Retrying(Limited(wire))      a host
                               └─► wire                         a model in this process
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from ragctl.catalog import RerankerRow, reranker
from ragctl.catalog.backend_config import normalize_base_url
from ragctl.collection.text import embedded_text
from ragctl.errors import UsageError
from ragctl.hosts.keys import Environment, find_key
from ragctl.hosts.outage import OutageNotice, outage_advice
from ragctl.hosts.rate_limits import Limited, shared_limiter
from ragctl.hosts.retry import Patience, Retrying
from ragctl.hosts.usage import Usage
from ragctl.records import Hit, Notify, ignore
from ragctl.rerank.base import RerankConnection, RerankRequest, RerankService
from ragctl.rerank.wire_registry import RERANK_WIRES, rerankers


class Reranker:
    """Scores passages for a question. Threads may share it. Close it when done."""

    def __init__(self, name: str, service: RerankService, max_passages: int, usage: Usage) -> None:
        """`max_passages`: how many passages go into one request."""
        self.name = name
        self.usage = usage
        self._service = service
        self._max_passages = max_passages

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """Return a score for each passage, in their order; a greater one is better.

        Raises BackendError if the reranker fails, or its answer does not have exactly one
        finite score per passage.
        """
        scores: list[float] = []
        while len(scores) < len(passages):
            part = passages[len(scores) : len(scores) + self._max_passages]
            scores += self._service.call(RerankRequest(question, tuple(part))).values
        return scores

    def close(self) -> None:
        """Close connections, or unload the model."""
        self._service.close()

    def __enter__(self) -> "Reranker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rerank_hits(reranker: Reranker, question: str, hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits with the reranker's scores, best first; ties keep their order.

    A passage is scored with its headings in front, as it was embedded.
    """
    if not hits:
        return []
    scores = reranker.scores(question, [embedded_text(hit.text, hit.heading) for hit in hits])
    scored = [replace(hit, score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)  # stable


def connect_reranker(
    name: str,
    *,
    environ: Mapping[str, str],
    base_url: str | None = None,
    patience: Patience | None = None,
    rows: Mapping[str, RerankerRow] | None = None,
    notify: Notify = ignore,
) -> Reranker:
    """Return the reranker NAME or NAME:MODEL. Sends nothing and loads no model.

    Args:
        name: A row of `rows`, or of the package's and the user's rows; with a model's name
            after a colon, that model instead of the row's.
        environ: Holds the keys, and the user's configuration folder.
        base_url: Replaces the row's address.
        patience: The time limits of a request.
        rows: The rerankers of a pipeline.
        notify: Gets a line when the host fails for a while, and when it answers again.

    Raises UsageError for a name, model or address that does not fit, BackendError when a key
    is required and there is none.
    """
    row_name, _, model = name.partition(":")
    row = reranker(rerankers(environ) if rows is None else rows, row_name)
    if row.model_required and not model:
        raise UsageError(f"{row_name} serves many models: write {row_name}:MODEL")
    chosen = model or row.model
    patience = patience or Patience()
    usage = Usage(row.name, model=chosen or "")
    label = row.name if chosen is None else f"{row.name}:{chosen}"
    wire_class = RERANK_WIRES.load(row.wire)
    if row.in_process:
        if base_url is not None:
            raise UsageError(f"the reranker {row_name} runs in this process: it has no base URL")
        local = wire_class.connect(RerankConnection(row, chosen, "", None, usage, patience))
        return Reranker(label, local, local.max_passages, usage)
    key = find_key(row, Environment(environ))
    url = normalize_base_url((base_url or row.base_url or "").rstrip("/").removesuffix("/rerank"))
    wire = wire_class.connect(RerankConnection(row, chosen, url, key, usage, patience))
    limiter = shared_limiter(urlsplit(url).netloc, key, row.rates, row.concurrency)
    notice = OutageNotice(label, notify, outage_advice(row.name, url, row.keys, key))
    service = Retrying(Limited(wire, limiter, usage, patience.total), patience, notice=notice)
    return Reranker(label, service, wire.max_passages, usage)
