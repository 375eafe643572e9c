"""What the default finds in the sample documents: builtin vectors, BM25, and their fusion.

Questions in four languages over one collection of all documents, in the real engine;
nDCG@10 of the chunks that hold the answer. The floors lie a little under the measured.
"""

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import qdrant_edge as qe
from numpy.typing import NDArray

from ragctl import catalog, chunking
from ragctl.embedding.builtin import embed
from ragctl.embedding.language import collection_languages, detect
from ragctl.embedding.sparse import Sparse, SparseConfig
from ragctl.index.points import embedded_text
from ragctl.loaders import LoadOptions, load
from ragctl.records import Document
from ragctl.stores.base import Fusion

SAMPLES = Path(__file__).parents[1] / "sample_docs"
QUESTIONS = Path(__file__).parent / "data" / "questions.jsonl"
LANGUAGES = ("en", "ru", "zh", "de")
DIM = catalog.builtin().model("builtin").dim
FUSION = Fusion(dense=catalog.builtin().model("builtin").dense_weight)

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Passage:
    source: str
    language: str
    text: str


@dataclass(frozen=True)
class Question:
    text: str
    language: str  # "cross": the answer is in another language
    answers: frozenset[int]


def documents() -> Iterator[Document]:
    for path in sorted(SAMPLES.rglob("*")):
        source = path.relative_to(SAMPLES)
        if path.is_file() and path.name[0] != "." and source.parts[0] != "drafts":
            loaded = load(path, source.as_posix(), LoadOptions())
            yield from (item for item in loaded if isinstance(item, Document))


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    return [
        Passage(document.source, language, embedded_text(chunk.text, chunk.heading))
        for document in documents()
        for language in [detect(document.text)]
        for chunk in chunking.split(document)
    ]


@pytest.fixture(scope="module")
def questions(passages: list[Passage]) -> list[Question]:
    squeezed = [" ".join(passage.text.split()) for passage in passages]
    found = []
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers = frozenset(
            index
            for index, passage in enumerate(passages)
            if passage.source == row["source"]
            and " ".join(row["answer"].split()) in squeezed[index]
        )
        language = "cross" if row.get("cross") else row["lang"]
        found.append(Question(row["query"], language, answers))
    return found


def ndcg(ranked: Sequence[int], answers: frozenset[int]) -> float:
    gain = sum(1 / log2(rank + 2) for rank, index in enumerate(ranked[:10]) if index in answers)
    return gain / sum(1 / log2(rank + 2) for rank in range(min(10, len(answers))))


Scores = dict[str, float]  # by language, and "all"


def scores(questions: Sequence[Question], search: Callable[[int], Sequence[int]]) -> Scores:
    """Mean nDCG@10 of `search`, which ranks passages for the question at an index."""
    found = defaultdict(list)
    for index, question in enumerate(questions):
        value = ndcg(search(index), question.answers)
        found[question.language].append(value)
        found["all"].append(value)
    return {language: float(np.mean(values)) for language, values in found.items()}


def by_cosine(
    passages: Sequence[Passage], questions: Sequence[Question], model: Callable[..., Vectors]
) -> Scores:
    documents = model([passage.text for passage in passages], DIM)
    likeness = model([question.text for question in questions], DIM) @ documents.T
    order = np.argsort(-likeness, axis=1, kind="stable")
    return scores(questions, lambda index: cast(list[int], order[index].tolist()))


def naive(texts: Sequence[str], dim: int) -> Vectors:
    """The baseline: words and their trigrams, hashed with a sign, square roots of counts."""
    vectors = np.zeros((len(texts), dim), dtype=np.float32)
    for row, text in enumerate(texts):
        counts: Counter[str] = Counter()
        for word in re.findall(r"\w+", text.lower()):
            counts[word] += 1
            marked = f"<{word}>"
            counts.update(marked[at : at + 3] for at in range(len(marked) - 2))
        for term, count in counts.items():
            code = zlib.crc32(term.encode())
            vectors[row, (code >> 1) % dim] += (1 if code & 1 else -1) * count**0.5
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast(Vectors, vectors / np.maximum(lengths, 1e-9))


@pytest.fixture(scope="module")
def measured(
    passages: list[Passage], questions: list[Question], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Scores]:
    """The scores of "dense", "sparse" and "fused" search in a Qdrant Edge shard."""
    sparse = Sparse(SparseConfig(collection_languages(passage.text for passage in passages)))
    shard = qe.EdgeShard.create(
        str(tmp_path_factory.mktemp("shard")),
        qe.EdgeConfig(
            vectors={"dense": qe.EdgeVectorParams(size=DIM, distance=qe.Distance.Cosine)},
            sparse_vectors={"bm25": qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf)},
        ),
    )
    texts = [passage.text for passage in passages]
    weights = sparse.documents(texts, [passage.language for passage in passages])
    points = [
        qe.Point(index, {"dense": vector.tolist(), "bm25": qe.SparseVector(*weight)}, {})
        for index, (vector, weight) in enumerate(zip(embed(texts, DIM), weights, strict=True))
    ]
    shard.update(qe.UpdateOperation.upsert_points(points))

    asked = [question.text for question in questions]
    dense = [qe.Query.Nearest(vector.tolist(), "dense") for vector in embed(asked, DIM)]
    terms = [qe.Query.Nearest(qe.SparseVector(*sparse.query(text)), "bm25") for text in asked]
    # The stubs do not know Rrf for the Fusion it is.
    fusion = cast(qe.Fusion, qe.Fusion.Rrf(k=FUSION.k, weights=[FUSION.dense, FUSION.sparse]))

    def alone(sides: list[qe.Query]) -> Scores:
        return scores(
            questions,
            lambda index: ids(shard.query(qe.QueryRequest(limit=10, query=sides[index]))),
        )

    def fused(index: int) -> list[int]:
        sides = [qe.Prefetch(limit=FUSION.prefetch, query=side[index]) for side in (dense, terms)]
        return ids(shard.query(qe.QueryRequest(limit=10, prefetches=sides, query=fusion)))

    found = {"dense": alone(dense), "sparse": alone(terms), "fused": scores(questions, fused)}
    shard.close()
    return found


def ids(points: Sequence[qe.ScoredPoint]) -> list[int]:
    return [cast(int, point.id) for point in points]


def test_every_question_has_its_answer_in_a_chunk(questions: list[Question]) -> None:
    assert len(questions) >= 180
    assert all(question.answers for question in questions)


def test_languages_of_the_samples(passages: list[Passage]) -> None:
    assert set(collection_languages(passage.text for passage in passages)) == set(LANGUAGES)


def test_the_builtin_model_beats_plain_hashing(
    passages: list[Passage], questions: list[Question]
) -> None:
    ours, plain = by_cosine(passages, questions, embed), by_cosine(passages, questions, naive)
    assert ours["all"] > plain["all"] + 0.1, (ours, plain)
    assert ours["zh"] > plain["zh"] + 0.4, (ours, plain)
    for language in LANGUAGES:
        assert ours[language] > plain[language], (language, ours, plain)


@pytest.mark.parametrize("language", [*LANGUAGES, "all"])
def test_fusion_is_not_worse_than_its_better_half(
    measured: dict[str, Scores], language: str
) -> None:
    better = max(measured["dense"][language], measured["sparse"][language])
    assert measured["fused"][language] >= better - 0.005, measured


@pytest.mark.parametrize(
    ("side", "floors"),
    [
        ("dense", {"en": 0.62, "ru": 0.72, "zh": 0.78, "de": 0.67, "all": 0.68}),
        ("sparse", {"en": 0.71, "ru": 0.68, "zh": 0.79, "de": 0.55, "all": 0.68}),
        ("fused", {"en": 0.71, "ru": 0.74, "zh": 0.86, "de": 0.69, "all": 0.74}),
    ],
)
def test_floors(measured: dict[str, Scores], side: str, floors: Scores) -> None:
    found = {language: measured[side][language] for language in floors}
    assert all(found[language] >= floors[language] for language in floors), measured
