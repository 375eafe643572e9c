"""Search of a large embedded collection: one-shot, within a process, and recall.

RAGCTL_BENCHMARKS    folder where the built collections are kept
RAGCTL_BENCH_POINTS  number of points; default 100000
RAGCTL_BENCH_PEER    number of points in the peer's collection; default: the same. 0: no peer;
                     building its collection takes an hour
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.collection import LANGUAGE, SyntheticCollection, opened, peer
from benchmarks.measure import Subject, WrongResult, cpus, interleave, process, walls
from benchmarks.table import Section, versions
from ragctl.collection.payload import SparseVector, Vector
from ragctl.lexical import builtin
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.stores.base import Collection, Query

_DIMENSIONS = 1024
_POINTS = int(os.environ.get("RAGCTL_BENCH_POINTS", "100000"))
_PEER_POINTS = int(os.environ.get("RAGCTL_BENCH_PEER", _POINTS))
_MODES = ("hybrid", "dense", "sparse")
_QUESTIONS = 100
PEER_QUESTIONS = 20  # for the peer, which takes seconds for some of them
_RAGCTL = str(Path(sys.executable).with_name("ragctl"))


@dataclass(frozen=True)
class EncodedQuestion:
    """A question with its vectors, as a store gets it."""

    dense: Vector
    sparse: SparseVector

    def query(self, mode: str) -> Query:
        return Query(
            10,
            None if mode == "sparse" else self.dense,
            None if mode == "dense" else self.sparse,
        )


def run(runs: int) -> Section:
    topics, random = (
        SyntheticCollection(_POINTS, _DIMENSIONS),
        SyntheticCollection(_POINTS, _DIMENSIONS, random=True),
    )
    rows = [*_one_shot(topics, runs), *_within(topics)]
    parts = [f"{_recall(topics):.3f} for passages", f"{_recall(random):.3f} for random vectors"]
    return Section(
        ("", "hybrid", "dense", "sparse"),
        rows,
        before=[
            f"{_POINTS:,} points of {_DIMENSIONS:,} dimensions with BM25 and payload, written "
            "as by an ingest: synthetic passages on 400 topics, embedded by the built-in model. "
            "One-shot is the whole process of `ragctl search`, warm with the files in the page "
            "cache, cold just after they were dropped from it. Within a process both sides get the "
            "same vectors and return ten hits; `QdrantClient(path=…)` is local mode with the same "
            "points."
        ],
        after=[
            "Recall of a dense search against the exact ten nearest vectors: "
            f"{' and '.join(parts)}."
        ],
        versions=versions("qdrant-edge-py", "qdrant-client"),
    )


def _one_shot(synthetic: SyntheticCollection, runs: int) -> Iterator[tuple[str, ...]]:
    question = synthetic.passages.questions(1)[0]
    command = [_RAGCTL, "search", question, "--store", str(synthetic.build()), "--json", "--mode"]
    for name, prepare in (
        ("warm", lambda: None),
        ("cold", partial(_drop_from_cache, synthetic.store)),
    ):
        sides = [Subject(mode, partial(process, [*command, mode]), prepare) for mode in _MODES]
        found = interleave(sides, runs)
        yield (f"one-shot, {name}, s", *(f"{walls(found[mode]):.2f}" for mode in _MODES))
        yield (f"CPU time, {name}, s", *(f"{cpus(found[mode]):.2f}" for mode in _MODES))


def _within(synthetic: SyntheticCollection) -> Iterator[tuple[str, ...]]:
    questions = _encoded_questions(synthetic)
    own = _own(synthetic, questions)
    for name, percentile in (("p50", 50), ("p95", 95)):
        yield (
            f"within a process, {name}, ms",
            *(f"{_percentile(own[m], percentile):.1f}" for m in _MODES),
        )
    if not _PEER_POINTS:
        return
    smaller = SyntheticCollection(_PEER_POINTS, _DIMENSIONS)
    at_points = f" at {_PEER_POINTS:,}" if _PEER_POINTS != _POINTS else ""
    own = _own(smaller, questions) if at_points else own
    with peer(smaller) as ask:
        theirs = {m: _times(partial(ask, m), questions[:PEER_QUESTIONS]) for m in _MODES}
    yield (
        f"`QdrantClient(path=…)`{at_points}, p50, ms",
        *(f"{_percentile(theirs[m], 50):.0f}" for m in _MODES),
    )
    parts = (f"1/{_percentile(theirs[m], 50) / _percentile(own[m], 50):.0f}" for m in _MODES)
    yield (f"ragctl's share of that{at_points}", *parts)


def _own(
    synthetic: SyntheticCollection, questions: Sequence[EncodedQuestion]
) -> dict[str, list[float]]:
    with opened(synthetic.build()) as collection:

        def ask(mode: str, question: EncodedQuestion) -> object:
            return collection.query(question.query(mode))

        return {mode: _times(partial(ask, mode), questions) for mode in _MODES}


def _encoded_questions(synthetic: SyntheticCollection) -> list[EncodedQuestion]:
    texts = synthetic.passages.questions(_QUESTIONS)
    encoder = Bm25Encoder(Bm25Config(languages=(LANGUAGE,)))
    vectors = builtin.embed(texts, synthetic.dim)
    if synthetic.random:
        vectors = np.random.default_rng(5).standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        EncodedQuestion(vector, SparseVector(*encoder.query(text)))
        for text, vector in zip(texts, vectors, strict=True)
    ]


def _times(
    ask: Callable[[EncodedQuestion], object], questions: Sequence[EncodedQuestion]
) -> list[float]:
    """Return the milliseconds of each question, after a warm-up question."""
    ask(questions[0])
    times = []
    for question in questions:
        began = time.perf_counter()
        if not ask(question):
            raise WrongResult("a question found nothing")
        times.append(1000 * (time.perf_counter() - began))
    return times


def _percentile(times: Sequence[float], percentile: int) -> float:
    return statistics.quantiles(times, n=100)[percentile - 1]


def _recall(synthetic: SyntheticCollection) -> float:
    """Return the share of the exact ten nearest vectors that a dense search finds."""
    questions = _encoded_questions(synthetic)
    with opened(synthetic.build()) as collection:
        ids, vectors = _all(collection)
        nearest = np.argpartition(
            -(np.array([question.dense for question in questions]) @ vectors.T), 10, axis=1
        )
        hits = [
            {hit.id for hit in collection.query(question.query("dense"))} for question in questions
        ]
    return statistics.fmean(
        len(found & {ids[index] for index in row[:10]}) / 10
        for found, row in zip(hits, nearest, strict=True)
    )


def _all(collection: Collection) -> tuple[list[str], np.ndarray]:
    ids: list[str] = []
    rows = np.empty((collection.count(), collection.settings.dim), dtype=np.float32)
    for point in collection.scroll(fields=(), vectors=True):
        if point.dense is not None:
            rows[len(ids)] = point.dense
            ids.append(point.id)
    return ids, rows[: len(ids)]


def _drop_from_cache(store: Path) -> None:
    """Drop the store's files from the page cache."""
    for path in store.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
