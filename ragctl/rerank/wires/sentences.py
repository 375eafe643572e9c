"""The built-in reranker: scores a passage by its best sentence, with the built-in embedding.

A long passage may contain the answer in one sentence and other things in the rest, which
dilutes its vector and its BM25 weights. The rank that the search gave counts a little too.
This gains some points of nDCG over the sample documents (tests/test_search_sentences.py).
For a collection whose model is trained on meaning, a trained reranker is better.
"""

import re
from typing import Self

import numpy as np

from ragctl.catalog import WireTraits
from ragctl.errors import UsageError
from ragctl.lexical.builtin import embed
from ragctl.rerank.base import RerankConnection, RerankRequest, RerankWire, Scores

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")
DIMENSIONS = 2048
RANK_WEIGHT = 0.2  # of 1 / (2 + rank), added to a cosine
MAX_SENTENCES = 256  # per passage
MAX_PASSAGES = 10_000


class Sentences(RerankWire):
    """Scores passages that come in the search's order, best first."""

    traits = WireTraits(in_process=True)
    max_passages = MAX_PASSAGES

    @classmethod
    def connect(cls, connection: RerankConnection) -> Self:
        """Return the reranker. Raises UsageError if a model is named: it has none."""
        if connection.model is not None:
            raise UsageError(
                f"the reranker {connection.row.name} has no models: write its name alone"
            )
        return cls()

    def call(self, request: RerankRequest) -> Scores:
        """Return the cosine of each passage's best sentence, plus 0.2 / (2 + rank)."""
        question = embed([request.question], DIMENSIONS)[0]
        scores = []
        for rank, passage in enumerate(request.passages):
            parts = [part for part in _SENTENCE_END.split(passage) if part.strip()]
            sentences = parts[:MAX_SENTENCES] or [passage]
            best = float(np.max(embed(sentences, DIMENSIONS) @ question))
            scores.append(best + RANK_WEIGHT / (2 + rank))
        return Scores(tuple(scores))

    def close(self) -> None:
        """Do nothing: no connection is held."""
