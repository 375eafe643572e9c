"""A second look at the hits: a model that reads question and passage together.

    connect_reranker(…) ─► Reranker ─► Retrying(Limited(_Scoring(wire)))

Turns, tries and accounts are those of embedding: a score is to them a vector of one number.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast
from urllib.parse import urlsplit

import numpy as np

from ragctl.catalog import RerankerRow, reranker, rerankers
from ragctl.catalog.backend_config import address
from ragctl.collection.points import embedded_text
from ragctl.embedding import Patience, Usage
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Vectors
from ragctl.errors import UsageError
from ragctl.hosts.addresses import warn_of_plain_http
from ragctl.hosts.keys import Environment, find_key
from ragctl.hosts.rate_limits import Limited, Limiter, shared_limiter
from ragctl.hosts.retry import Retrying
from ragctl.records import Hit


class Judge(Protocol):
    """Who gives scores: a wire, or a model in this process."""

    @property
    def most(self) -> int: ...

    def scores(self, question: str, passages: Sequence[str]) -> tuple[list[float], int]: ...

    def close(self) -> None: ...


class Reranker:
    """Judges passages for a question. Threads may share it; close it."""

    def __init__(self, name: str, judge: Judge, wire: EmbeddingService, usage: Usage) -> None:
        self.name = name
        self.usage = usage
        self._judge = judge
        self._wire = wire

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """A score for each passage, in their order; a greater one is better.

        Raises BackendError where the host fails, or its answer has not exactly one finite
        score for each.
        """
        scores: list[float] = []
        while len(scores) < len(passages):
            some = passages[len(scores) : len(scores) + self._judge.most]
            request = EmbeddingRequest("query", (question, *some), threading.Event())
            scores += self._wire.call(request).vectors[:, 0].tolist()
        return scores

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> "Reranker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Scoring:
    """A Wire whose first text is the question; its vectors are the others' scores."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def call(self, request: EmbeddingRequest) -> Embeddings:
        question, *passages = request.texts
        scores, billed = self._judge.scores(question, passages)
        return Embeddings(cast(Vectors, np.asarray(scores, dtype=np.float64)[:, None]), billed)

    def close(self) -> None:
        self._judge.close()


def reranked(judge: Reranker, question: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits by the reranker's scores, best first; equal ones stay in their order.

    A passage is judged with its headings before it, as it was embedded.
    """
    if not hits:
        return []
    scores = judge.scores(question, [embedded_text(hit.text, hit.heading) for hit in hits])
    scored = [replace(hit, score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)  # stable


def connect_reranker(
    name: str,
    *,
    environ: Mapping[str, str],
    base_url: str | None = None,
    patience: Patience | None = None,
    rows: Mapping[str, RerankerRow] | None = None,
) -> Reranker:
    """The reranker NAME or NAME:MODEL, one of `rows` or of the user's. Nothing is sent yet.

    `base_url` overrides the row's. Raises UsageError for what does not fit, BackendError
    when a key is needed and there is none.
    """
    own, _, model = name.partition(":")
    row = reranker(rerankers(environ) if rows is None else rows, own)
    if row.model_required and not model:
        raise UsageError(f"{own} serves many models: write {own}:MODEL")
    chosen = model or row.model
    patience = patience or Patience()
    if row.in_process:
        if base_url is not None:
            raise UsageError(f"the reranker {own} runs in this process: it has no base URL")
        return _in_process(row, chosen)
    return _over_http(row, chosen, base_url, environ, patience)


def _in_process(row: RerankerRow, model: str | None) -> Reranker:
    usage = Usage(row.name, model=model or "")
    judge: Judge
    if row.wire == "sentences":
        from ragctl.rerank.sentences import Sentences

        if model is not None:
            raise UsageError(f"the reranker {row.name} has no models: write its name alone")
        judge = Sentences()
    else:
        from ragctl.rerank.cross_encoder import CrossEncoder

        if model is None:
            raise UsageError(f"write {row.name}:MODEL, with a name on the hub or a folder")
        judge = CrossEncoder(model)
    return Reranker(_named(row, model), judge, _Scoring(judge), usage)


def _named(row: RerankerRow, model: str | None) -> str:
    return row.name if model is None else f"{row.name}:{model}"


def _over_http(
    row: RerankerRow,
    model: str | None,
    base_url: str | None,
    environ: Mapping[str, str],
    patience: Patience,
) -> Reranker:
    from ragctl.hosts.http import HostClient
    from ragctl.rerank.wires import REST

    key = find_key(row, Environment(environ))
    url = address((base_url or row.base_url or "").rstrip("/").removesuffix("/rerank"))
    if row.wire == "voyage":
        from ragctl.embedding.wires.voyage import Voyage

        url = Voyage.address(url, key)
    warn_of_plain_http(url, key)
    usage = Usage(row.name, model=model or "")
    protocol = REST[row.wire]
    client = HostClient(
        url,
        key,
        error_rules=protocol.error_rules,
        usage=usage,
        patience=patience,
        connections=row.concurrency,
        key_variable=row.keys[0] if row.keys else None,
    )
    judge = protocol(client, row, model)
    limiter: Limiter = shared_limiter(urlsplit(url).netloc, key, row.rates, row.concurrency)
    wire = Retrying(Limited(_Scoring(judge), limiter, usage, patience.total), patience)
    return Reranker(_named(row, model), judge, wire, usage)
