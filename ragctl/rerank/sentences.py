"""The built-in reranker: a passage is as good as its best sentence, by the built-in embedding.

A long passage may answer in one sentence and speak of other things in all others, which
dilutes its vector and its BM25. The place that the search gave counts a little as well.
Over the sample documents (tests/test_search_sentences.py) that gains some points of nDCG;
where the collection's own model knows meaning, a model that does is the better judge.
"""

import re
from collections.abc import Sequence

import numpy as np

from ragctl.embedding.catalogs import package_catalog
from ragctl.lexical.builtin import embed

_ENDS = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")
_PLACE = 0.2  # of the reciprocal rank, beside a cosine
_MOST = 256  # sentences of a passage that are looked at


class Sentences:
    """Judges passages that come best first."""

    most = 10_000

    def scores(self, question: str, passages: Sequence[str]) -> tuple[list[float], int]:
        """The cosine of the best sentence, and a fifth of 1 / (2 + rank). Nothing is billed."""
        dim = package_catalog().model("builtin").dim
        asked = embed([question], dim)[0]
        scores = []
        for rank, passage in enumerate(passages):
            sentences = [part for part in _ENDS.split(passage) if part.strip()][:_MOST]
            best = float(np.max(embed(sentences or [passage], dim) @ asked))
            scores.append(best + _PLACE / (2 + rank))
        return scores, 0

    def close(self) -> None:
        """Nothing is held."""
