"""Rankings computed here are the engine's, except for the order of ties."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as qe

from ragctl.stores.base import Fusion
from ragctl.stores.ranking import Ranking, diversify, fuse, rank
from tests.store_contract import ident

DIM = 16
COUNT = 120
RANDOM = np.random.default_rng(11)
VECTORS = {
    ident(n): RANDOM.normal(size=DIM).astype(np.float32) + np.float32(1.0) for n in range(COUNT)
}
DENSE = qe.Query.Nearest((RANDOM.normal(size=DIM) + 1.0).tolist(), "dense")
SPARSE = qe.Query.Nearest(qe.SparseVector([1, 2], [1.0, 2.5]), "bm25")
EXACT = qe.SearchParams(exact=True)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[qe.EdgeShard]:
    folder = tmp_path_factory.mktemp("shard") / "shard"
    Path(folder).mkdir()
    made = qe.EdgeShard.create(
        str(folder),
        qe.EdgeConfig(
            vectors={"dense": qe.EdgeVectorParams(size=DIM, distance=qe.Distance.Cosine)},
            sparse_vectors={"bm25": qe.EdgeSparseVectorParams()},
        ),
    )
    weights = RANDOM.uniform(1, 9, (COUNT, 2))
    points = [
        qe.Point(
            point_id,
            {"dense": vector.tolist(), "bm25": qe.SparseVector([1, 2], weights[n].tolist())},
        )
        for n, (point_id, vector) in enumerate(VECTORS.items())
    ]
    made.update(qe.UpdateOperation.upsert_points(points))
    yield made
    made.close()


def asked(shard: qe.EdgeShard, query: object, limit: int) -> Ranking:
    request = qe.QueryRequest(limit=limit, query=query, params=EXACT)  # type: ignore[arg-type]
    return [(str(hit.id), hit.score) for hit in shard.query(request)]


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion(),
        Fusion(k=60, dense=0.7, sparse=1.0),
        Fusion(k=1, dense=2.0, sparse=0.25, prefetch=30),
        Fusion(dense=0.0),
        Fusion(kind="dbsf"),
        Fusion(kind="dbsf", prefetch=25),
    ],
)
def test_fused_as_by_the_engine(shard: qe.EdgeShard, fusion: Fusion) -> None:
    depth = fusion.prefetch
    sides = [qe.Prefetch(limit=depth, query=q, params=EXACT) for q in (DENSE, SPARSE)]
    how: object = qe.Fusion.Dbsf()
    if fusion.kind == "rrf":
        how = qe.Fusion.Rrf(k=fusion.k, weights=[fusion.dense, fusion.sparse])
    request = qe.QueryRequest(limit=2 * depth, prefetches=sides, query=how)  # type: ignore[arg-type]
    engines = rank((str(hit.id), round(hit.score, 5)) for hit in shard.query(request))
    ours = fuse(asked(shard, DENSE, depth), asked(shard, SPARSE, depth), fusion)
    assert [(i, round(score, 5)) for i, score in ours[:3]] == engines[:3]
    assert {i: pytest.approx(score, abs=1e-5) for i, score in ours} == dict(engines)


@pytest.mark.parametrize("diversity", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_diversified_as_by_the_engine(shard: qe.EdgeShard, diversity: float) -> None:
    vector = (RANDOM.normal(size=DIM) + 1.0).tolist()
    mmr = qe.Mmr(vector, 1.0 - diversity, 60, "dense")
    engines = asked(shard, mmr, 20)
    nearest = asked(shard, qe.Query.Nearest(vector, "dense"), 60)
    ours = diversify(nearest, VECTORS, diversity, 20)
    assert [i for i, _ in ours] == [i for i, _ in engines]
    assert [s for _, s in ours] == pytest.approx([s for _, s in engines], abs=1e-5)


def test_diversity_changes_the_order_and_puts_copies_last() -> None:
    same, near, far = np.array([1.0, 0.0]), np.array([0.9, 0.1]), np.array([0.0, 1.0])
    vectors = {"a": same, "b": same, "c": near, "d": far}
    ranking = [("a", 1.0), ("b", 1.0), ("c", 0.9), ("d", 0.5)]
    assert diversify(ranking, vectors, 0.0, 4) == ranking
    assert [i for i, _ in diversify(ranking, vectors, 0.6, 4)] == ["a", "d", "b", "c"]
    assert [i for i, _ in diversify(ranking, vectors, 1.0, 2)] == ["a", "d"]
    assert diversify([], {}, 0.5, 3) == []
    assert [i for i, _ in diversify([("a", 1.0), ("x", 0.4)], {"a": same}, 0.5, 9)] == ["a", "x"]


def test_equal_scores_are_ordered_by_id() -> None:
    side = [("c", 2.0), ("a", 2.0), ("b", 3.0)]
    assert rank(side) == [("b", 3.0), ("a", 2.0), ("c", 2.0)]
    assert fuse([("b", 5.0)], [("a", 7.0)], Fusion()) == [("a", 0.5), ("b", 0.5)]
    assert fuse(side, [], Fusion(kind="dbsf"))[0][0] == "b"
    assert fuse([("b", 1.0), ("a", 1.0)], [], Fusion(kind="dbsf")) == [("a", 0.5), ("b", 0.5)]


def test_a_ranking_without_weight_only_adds_candidates() -> None:
    hits = [("a", 9.0), ("b", 8.0)]
    got = fuse(hits, hits[::-1], Fusion(k=1, dense=0.0, sparse=1.0))
    assert got == [("b", 1.0), ("a", 0.5)]
