"""Whether the fusion of the server is used, or computed again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from ragctl.collection.conditions import Where
from ragctl.collection.payload import Point, SparseVector
from ragctl.stores.base import Query, Scored
from ragctl.stores.searching import VectorName, answer

QUERY = Query(2, dense=np.ones(2, dtype=np.float32), sparse=SparseVector([1], [1.0]))
SERVER_PAGE = [("x", 0.9), ("y", 0.8)]  # scores that the formulas of ragctl cannot give


@dataclass
class FakeEngine:
    """An engine that returns the given rankings and fused page."""

    dense: list[tuple[str, float]]
    sparse: list[tuple[str, float]]
    page: list[tuple[str, float]]
    max_hits: int = 100
    own: Where = ()
    is_shared: bool = False
    fetched: list[str] = field(default_factory=list)

    def rankings(
        self, query: Query, names: Sequence[VectorName], limit: int, *, payload: bool
    ) -> list[list[Scored]]:
        found = {"dense": self.dense, "sparse": self.sparse}
        answers = [[Scored(i, s, {}) for i, s in found[name][:limit]] for name in names]
        return [*answers, [Scored(i, s, {"source": i}) for i, s in self.page]]

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Point]:
        self.fetched += ids
        return [Point(i, {"source": i}) for i in ids]


def test_without_ties_the_fusion_of_the_server_is_returned() -> None:
    engine = FakeEngine([("x", 3.0), ("y", 2.0)], [("y", 7.0), ("x", 6.0), ("z", 5.0)], SERVER_PAGE)
    hits = answer(QUERY, engine)
    assert [(hit.id, hit.score, hit.payload) for hit in hits] == [
        (i, score, {"source": i}) for i, score in SERVER_PAGE
    ]
    assert engine.fetched == []


@pytest.mark.parametrize(
    ("dense", "sparse"),
    [
        ([("y", 3.0), ("x", 3.0)], [("z", 1.0)]),  # the ranks of ties are arbitrary
        ([("x", 3.0)], [("z", 2.0), ("y", 2.0)]),
        ([("x", 3.0), ("v", 2.0)], [("y", 7.0), ("w", 6.0)]),  # either v or w is third
    ],
)
def test_ties_are_ordered_by_id(
    dense: list[tuple[str, float]], sparse: list[tuple[str, float]]
) -> None:
    query = Query(3, dense=QUERY.dense, sparse=QUERY.sparse)
    hits = answer(query, FakeEngine(dense, sparse, [("w", 0.9), ("x", 0.8), ("z", 0.7)]))
    assert [(hit.score, hit.id) for hit in hits] == sorted(
        ((hit.score, hit.id) for hit in hits), key=lambda hit: (-hit[0], hit[1])
    )
    assert 0.9 not in [hit.score for hit in hits]


def test_ties_in_the_fusion_of_the_server_are_ordered_by_id() -> None:
    page = [("y", 0.5000001), ("x", 0.5)]
    hits = answer(QUERY, FakeEngine([("x", 3.0)], [("y", 7.0)], page))
    assert [hit.id for hit in hits] == ["x", "y"]
