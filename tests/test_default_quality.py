"""Retrieval quality of the defaults on the sample documents: builtin vectors, BM25, fusion.

Questions in four languages over one collection of all documents, made as by `ragctl ingest` and
measured as by `ragctl eval`: nDCG@10 of the chunks that contain the answer. The minimum scores
are slightly below the measured ones.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from ragctl.collection.text import embedded_text
from ragctl.embedding.catalogs import package_catalog
from ragctl.evaluate.judgements import ResolvedJudgements, resolve_judgements
from ragctl.evaluate.measures import NDCG, mean, measure
from ragctl.evaluate.question_files import read_questions
from ragctl.evaluate.questions import Questions
from ragctl.evaluate.sweep import Evaluation, evaluate
from ragctl.evaluate.variant import Variant
from ragctl.index.run import Run
from ragctl.lexical.builtin import embed
from ragctl.lexical.languages import detect
from ragctl.pipeline import Pipeline, Source
from ragctl.search.query import embedder_of
from ragctl.stores import open_store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
QUESTIONS = ROOT / "benchmarks" / "questions.jsonl"
LANGUAGES = ("en", "ru", "zh", "de")
MODES = tuple(Variant.of(mode=mode) for mode in ("hybrid", "dense", "sparse"))

Vectors = NDArray[np.float32]
Scores = Mapping[str, float]  # by language and for "all"


@pytest.fixture(scope="module")
def questions() -> Questions:
    return read_questions(QUESTIONS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ingest the sample documents with all defaults, and return the store's location."""
    location = str(tmp_path_factory.mktemp("store"))
    pipeline = Pipeline(sources=(Source(ROOT / "sample_docs"),), store=location)
    with closing(open_store(location, environ={})) as opened_store:
        report = Run(pipeline, opened_store, {}).ingest()
    assert not report.failures
    return location


@pytest.fixture(scope="module")
def measured(store: str, questions: Questions) -> Mapping[str, Scores]:
    """Return the scores of "dense", "sparse" and "hybrid" search."""
    with (
        closing(open_store(store, environ={})) as opened_store,
        closing(opened_store.open("docs") or pytest.fail("no collection")) as collection,
        embedder_of(collection, environ={}) as embedder,
    ):
        found = evaluate(opened_store, collection, questions, MODES, embedder=embedder)
    assert found.judgements.unit == "chunk"
    return {
        result.variant.mode: by_group(found, index) for index, result in enumerate(found.results)
    }


def by_group(found: Evaluation, index: int) -> Scores:
    values = found.results[index].scores[NDCG]
    return {group: mean(values, ids) for group, ids in found.groups.items()}


@dataclass(frozen=True)
class Passages:
    """The embedded texts of all chunks, and which chunks answer which question."""

    ids: Sequence[str]
    texts: Sequence[str]
    judged: ResolvedJudgements


@pytest.fixture(scope="module")
def passages(store: str, questions: Questions) -> Passages:
    with (
        closing(open_store(store, environ={})) as opened_store,
        closing(opened_store.open("docs") or pytest.fail("no collection")) as collection,
    ):
        points = sorted(collection.scroll(), key=lambda point: point.id)
        texts = [
            embedded_text(str(point.payload["text"]), point.payload["heading"]) for point in points
        ]
        return Passages(
            [point.id for point in points], texts, resolve_judgements(collection, questions)
        )


def by_cosine(passages: Passages, model: Callable[[Sequence[str], int], Vectors]) -> Scores:
    """Return the scores of a model, computed by exact cosine similarity."""
    questions = passages.judged.questions
    dim = package_catalog().model("builtin").dim
    similarity = model([q.text for q in questions], dim) @ model(passages.texts, dim).T
    order = np.argsort(-similarity, axis=1, kind="stable")
    rankings = {
        question.id: [passages.ids[at] for at in row[:10]]
        for question, row in zip(questions, order, strict=True)
    }
    values = measure(passages.judged.qrels, rankings, (10,))[NDCG]
    groups = {q.group for q in questions}
    found = {str(g): mean(values, [q.id for q in questions if q.group == g]) for g in groups}
    return {**found, "all": mean(values, [q.id for q in questions])}


def hashed_baseline(texts: Sequence[str], dim: int) -> Vectors:
    """Embed texts as a baseline: signed hashes of words and trigrams, square roots of counts."""
    vectors = np.zeros((len(texts), dim), dtype=np.float32)
    for row, text in enumerate(texts):
        counts: Counter[str] = Counter()
        for word in re.findall(r"\w+", text.lower()):
            counts[word] += 1
            padded = f"<{word}>"
            counts.update(padded[at : at + 3] for at in range(len(padded) - 2))
        for term, count in counts.items():
            code = zlib.crc32(term.encode())
            vectors[row, (code >> 1) % dim] += (1 if code & 1 else -1) * count**0.5
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast(Vectors, vectors / np.maximum(lengths, 1e-9))


def test_there_are_enough_questions_and_all_have_answers(
    questions: Questions, passages: Passages
) -> None:
    assert len(questions.questions) >= 180
    assert passages.judged.questions == questions.questions
    assert not passages.judged.missing
    groups = Counter(question.group for question in questions.questions)
    assert all(groups[language] >= 40 for language in LANGUAGES), groups


def test_languages_of_the_samples_are_detected(passages: Passages) -> None:
    detected = Counter(map(detect, passages.texts))
    assert {code for code, _ in detected.most_common(len(LANGUAGES))} == set(LANGUAGES)


def test_the_builtin_model_beats_the_hashed_baseline(passages: Passages) -> None:
    builtin, baseline = by_cosine(passages, embed), by_cosine(passages, hashed_baseline)
    assert builtin["all"] > baseline["all"] + 0.1, (builtin, baseline)
    assert builtin["zh"] > baseline["zh"] + 0.4, (builtin, baseline)
    for language in LANGUAGES:
        assert builtin[language] > baseline[language], (language, builtin, baseline)


@pytest.mark.parametrize(
    ("group", "tolerance"), [("all", 0.0), *((language, 0.005) for language in LANGUAGES)]
)
def test_fusion_is_not_worse_than_the_better_side(
    measured: Mapping[str, Scores], group: str, tolerance: float
) -> None:
    better = max(measured["dense"][group], measured["sparse"][group])
    assert measured["hybrid"][group] >= better - tolerance, measured


@pytest.mark.parametrize(
    ("side", "min_scores"),
    [
        ("dense", {"en": 0.62, "ru": 0.72, "zh": 0.78, "de": 0.67, "all": 0.68}),
        ("sparse", {"en": 0.71, "ru": 0.68, "zh": 0.79, "de": 0.55, "all": 0.68}),
        ("hybrid", {"en": 0.71, "ru": 0.74, "zh": 0.86, "de": 0.69, "all": 0.74}),
    ],
)
def test_scores_do_not_fall_below_the_minimum(
    measured: Mapping[str, Scores], side: str, min_scores: Scores
) -> None:
    found = {language: measured[side][language] for language in min_scores}
    assert all(found[language] >= min_scores[language] for language in min_scores), measured
