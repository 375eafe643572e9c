"""The built-in reranker, measured on a third of the questions about the sample documents."""

import json
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.index.run import Run
from ragctl.pipeline import Pipeline, Source
from ragctl.records import Hit
from ragctl.rerank.base import RerankRequest
from ragctl.rerank.wires.sentences import Sentences
from ragctl.search.library import open_collection
from ragctl.stores import open_store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
QUESTIONS = ROOT / "benchmarks" / "questions.jsonl"

QuestionRow = dict[str, Any]


def ndcg(hits: list[Hit], row: QuestionRow) -> float:
    """Return nDCG@10; the relevant hits are those that contain the answer."""
    answer = " ".join(row["answer"].split())
    relevant = [
        h.source == f"sample_docs/{row['source']}" and answer in " ".join(h.text.split())
        for h in hits
    ]
    ideal = sum(1 / log2(rank + 2) for rank in range(min(10, max(1, sum(relevant)))))
    return (
        sum(1 / log2(rank + 2) for rank, is_relevant in enumerate(relevant[:10]) if is_relevant)
        / ideal
    )


@pytest.mark.filterwarnings("ignore:.*pages have no text")
def test_reranking_by_sentences_improves_the_ndcg(tmp_path: Path) -> None:
    store = str(tmp_path)
    pipeline = Pipeline((Source(ROOT / "sample_docs"),), store)
    opened_store = open_store(store, environ={})
    Run(pipeline, opened_store, {}).ingest()
    opened_store.close()
    rows: list[QuestionRow] = [
        json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()[::3]
    ]
    with open_collection(store=store, environ={}) as found:
        gains = {}
        for name in (None, "sentences"):
            outcomes = found.search_many([row["query"] for row in rows], limit=50, rerank=name)
            hits = [outcome for outcome in outcomes if isinstance(outcome, list)]
            assert len(hits) == len(rows)
            gains[name] = np.mean([ndcg(h, row) for h, row in zip(hits, rows, strict=True)])
    assert gains["sentences"] > gains[None] + 0.02, gains


def test_a_passage_is_scored_by_its_best_sentence() -> None:
    filler = "The office is in the old building. Lunch is at noon. "
    answer = "The valve opens at five bar."
    question = "at what pressure does the valve open"
    passages = (filler * 5, filler * 5 + answer, "阀门。" * 400, "", "\n\n")
    scores = Sentences().call(RerankRequest(question, passages))
    assert max(scores.values) == scores.values[1]
    assert scores.tokens == 0
    assert np.isfinite(scores.values).all()
