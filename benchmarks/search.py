"""Search of a large embedded collection: one-shot, within a process, and how much of it is found.

RAGCTL_BENCHMARKS    folder where the collections are kept once they are made
RAGCTL_BENCH_POINTS  how many points, 100000 if it is not given
RAGCTL_BENCH_PEER    points of the peer's collection, as many if it is not given; 0: no peer, whose
                     collection takes an hour to make
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

from benchmarks.collection import LANGUAGE, Made, opened, peer
from benchmarks.measure import Subject, WrongResult, cpus, interleave, process, walls
from benchmarks.table import Section, versions
from ragctl.collection.payload import SparseVector, Vector
from ragctl.lexical import builtin
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.stores.base import Collection, Query

_DIM = 1024
_COUNT = int(os.environ.get("RAGCTL_BENCH_POINTS", "100000"))
_PEER = int(os.environ.get("RAGCTL_BENCH_PEER", _COUNT))
_MODES = ("hybrid", "dense", "sparse")
_QUESTIONS = 100
PEER_QUESTIONS = 20  # questions that the peer is asked: it takes seconds for some
_RAGCTL = str(Path(sys.executable).with_name("ragctl"))


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as a store gets it."""

    dense: Vector
    sparse: SparseVector

    def query(self, mode: str, *, exact: bool = False) -> Query:
        return Query(
            10,
            None if mode == "sparse" else self.dense,
            None if mode == "dense" else self.sparse,
            exact=exact,
        )


def run(runs: int) -> Section:
    topics, chance = Made(_COUNT, _DIM), Made(_COUNT, _DIM, random=True)
    rows = [*_one_shot(topics, runs), *_within(topics)]
    parts = [f"{_recall(topics):.3f} of topics", f"{_recall(chance):.3f} of random vectors"]
    return Section(
        ("", "hybrid", "dense", "sparse"),
        rows,
        before=[
            f"{_COUNT:,} points of {_DIM:,} dimensions with BM25 and payload, written as an ingest "
            "writes them: passages of 400 made-up topics, embedded by the built-in model. One-shot "
            "is the whole process of `ragctl search`, with the files in the page cache, and just "
            "after they were dropped from it. Within a process both sides get the same vectors "
            "and are asked for ten hits; `QdrantClient(path=…)` is local mode with the same points."
        ],
        after=[f"Of the ten nearest by whole vectors a dense search finds {' and '.join(parts)}."],
        versions=versions("qdrant-edge-py", "qdrant-client"),
    )


def _one_shot(made: Made, runs: int) -> Iterator[tuple[str, ...]]:
    question = made.passages.questions(1)[0]
    command = [_RAGCTL, "search", question, "--store", str(made.make()), "--json", "--mode"]
    for name, prepare in (("warm", lambda: None), ("cold", partial(_drop, made.store))):
        sides = [Subject(mode, partial(process, [*command, mode]), prepare) for mode in _MODES]
        found = interleave(sides, runs)
        yield (f"one-shot, {name}, s", *(f"{walls(found[mode]):.2f}" for mode in _MODES))
        yield (f"of processor time, {name}, s", *(f"{cpus(found[mode]):.2f}" for mode in _MODES))


def _within(made: Made) -> Iterator[tuple[str, ...]]:
    asked = _asked(made)
    own = _own(made, asked)
    for name, place in (("p50", 50), ("p95", 95)):
        yield (f"within a process, {name}, ms", *(f"{_at(own[m], place):.1f}" for m in _MODES))
    if not _PEER:
        return
    smaller = Made(_PEER, _DIM)
    of = f" at {_PEER:,}" if _PEER != _COUNT else ""
    own = _own(smaller, asked) if of else own
    with peer(smaller) as ask:
        theirs = {m: _times(partial(ask, m), asked[:PEER_QUESTIONS]) for m in _MODES}
    yield (f"`QdrantClient(path=…)`{of}, p50, ms", *(f"{_at(theirs[m], 50):.0f}" for m in _MODES))
    parts = (f"1/{_at(theirs[m], 50) / _at(own[m], 50):.0f}" for m in _MODES)
    yield (f"ragctl's part of that{of}", *parts)


def _own(made: Made, asked: Sequence[EncodedQuestion]) -> dict[str, list[float]]:
    with opened(made.make()) as collection:

        def ask(mode: str, one: EncodedQuestion) -> object:
            return collection.query(one.query(mode))

        return {mode: _times(partial(ask, mode), asked) for mode in _MODES}


def _asked(made: Made) -> list[EncodedQuestion]:
    texts = made.passages.questions(_QUESTIONS)
    words = Bm25Encoder(Bm25Config(languages=(LANGUAGE,)))
    vectors = builtin.embed(texts, made.dim)
    if made.random:
        vectors = np.random.default_rng(5).standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        EncodedQuestion(vector, SparseVector(*words.query(text)))
        for text, vector in zip(texts, vectors, strict=True)
    ]


def _times(
    ask: Callable[[EncodedQuestion], object], asked: Sequence[EncodedQuestion]
) -> list[float]:
    """Milliseconds of each question, after one that does not count."""
    ask(asked[0])
    times = []
    for one in asked:
        began = time.perf_counter()
        if not ask(one):
            raise WrongResult("a question found nothing")
        times.append(1000 * (time.perf_counter() - began))
    return times


def _at(times: Sequence[float], place: int) -> float:
    return statistics.quantiles(times, n=100)[place - 1]


def _recall(made: Made) -> float:
    """The part of the ten nearest, by a product with all vectors, that a dense search finds."""
    asked = _asked(made)
    with opened(made.make()) as collection:
        ids, vectors = _all(collection)
        nearest = np.argpartition(-(np.array([one.dense for one in asked]) @ vectors.T), 10, axis=1)
        hits = [{hit.id for hit in collection.query(one.query("dense"))} for one in asked]
    return statistics.fmean(
        len(found & {ids[place] for place in row[:10]}) / 10
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


def _drop(store: Path) -> None:
    """Let the page cache forget the store's files."""
    for path in store.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
