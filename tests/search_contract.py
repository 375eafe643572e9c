"""How every store filters and ranks; run by test_stores.py and test_server_store.py."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ragctl.collection.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    Has,
    Match,
    NoneOf,
    Prefix,
)
from ragctl.collection.payload import Point, SparseVector
from ragctl.errors import UsageError
from ragctl.stores.base import Batch, Collection, Fusion, Query, Rescore, Store
from tests.store_contract import DIM, SETTINGS, any_payload, axis, ident, point

FIELDS = {"year": "integer", "score": "float", "day": "datetime", "lang": "keyword"}


def matching_numbers(collection: Collection, *where: Condition) -> list[int]:
    found = sorted(uuid.UUID(p.id).int for p in collection.scroll(where))
    assert collection.count(where) == len(found)
    return found


def hit_numbers(collection: Collection, query: Query) -> list[int]:
    return [uuid.UUID(hit.id).int for hit in collection.query(query)]


@pytest.fixture(params=["declared", "undeclared"])
def typed(store: Store, request: pytest.FixtureRequest) -> Iterator[Collection]:
    """Create a collection with metadata, with its fields declared and undeclared."""
    fields = FIELDS if request.param == "declared" else {}
    made = store.create("typed", replace(SETTINGS, fields=fields))
    made.apply(
        Batch(
            upserts=[
                point(1, source="docs/a.md", meta={"year": 2020, "day": "2024-01-31"}),
                point(2, source="docs/b/c.md", meta={"year": 2024, "day": "2024-01-31T23:00:00Z"}),
                point(3, source="Docs/d.md", meta={"year": [1, 2025], "score": 0.5}),
                point(4, source="docs", meta={"year": "2024", "day": "2024-01-31T23:00:00+03:00"}),
                point(5, source="doc*/e.md", meta={"year": None, "day": "31.01.2024", "lang": []}),
                point(6, meta={"score": 2, "day": "2024-02-30", "lang": [None], "tag": {"a": 1}}),
            ]
        )
    )
    yield made
    made.close()


@pytest.fixture
def equal_scores(store: Store) -> Iterator[Collection]:
    """Create forty points with equal scores, written in random order, and a better one."""
    made = store.create("equal_scores", SETTINGS)
    order = np.random.default_rng(3).permutation(np.arange(2, 42)).tolist()
    sparse = SparseVector([5], [1.0])
    made.apply(
        Batch(upserts=[Point(ident(n), any_payload(n=n), axis(0, tilt=0.5), sparse) for n in order])
    )
    best = Point(ident(99), any_payload(n=99), axis(0), SparseVector([5], [2.0]))
    made.apply(Batch(upserts=[best]))
    made.finish()
    yield made
    made.close()


def check_quantised_search(store: Store, kind: str) -> None:
    made = store.create("small", replace(SETTINGS, quantization=kind))
    made.apply(Batch(upserts=[point(n) for n in range(1, DIM + 1)]))
    made.finish()
    for rescore in (None, Rescore(oversampling=4.0), Rescore(rescore=False, oversampling=1.0)):
        query = Query(DIM, dense=axis(3), rescore=rescore)
        assert hit_numbers(made, query)[0] == 3
        assert hit_numbers(made, replace(query, limit=1, exact=True)) == [3]
    again = store.open("small")
    assert again is not None
    assert again.settings.quantization == kind
    again.close()
    made.close()


class SearchContract:
    """The tests; a subclass provides the `store` fixture."""

    def test_number_ranges_select_points(self, typed: Collection) -> None:
        assert matching_numbers(typed, Between("meta.year", gte=2024)) == [2, 3]
        assert matching_numbers(typed, Between("meta.year", gt=2020, lt=2025)) == [2]
        assert matching_numbers(typed, Between("meta.year", lte=2020)) == [1, 3]
        assert matching_numbers(typed, Between("meta.score", gte=0.5, lte=0.5)) == [3]
        assert matching_numbers(typed, Between("meta.score", gt=0.5)) == [6]
        assert matching_numbers(typed, Between("meta.day", gte=0)) == []

    def test_time_ranges_select_points(self, typed: Collection) -> None:
        assert matching_numbers(typed, Between("meta.day", gte="2024-01-31")) == [1, 2, 4]
        assert matching_numbers(typed, Between("meta.day", gt="2024-01-31")) == [2, 4]
        assert matching_numbers(typed, Between("meta.day", lt="2024-01-31T21:00:00Z")) == [1, 4]
        assert matching_numbers(typed, Between("meta.day", lte="2024-01-31T23:00:00+03:00")) == [
            1,
            4,
        ]
        assert matching_numbers(
            typed, Between("meta.day", gte="2024-01-31 22:30", lt="2025-01-01")
        ) == [2]
        assert matching_numbers(typed, Between("meta.year", gte="1970-01-01")) == []

    @pytest.mark.parametrize(
        "invalid",
        [
            Between("meta.day", gte="yesterday"),
            Between("meta.day", gte="2024-02-30"),
            Between("meta.year", gte=1, lte="2024-01-01"),
            Between("meta.year", gte=float("nan")),
            Between("meta.year"),
        ],
    )
    def test_invalid_ranges_are_refused(self, typed: Collection, invalid: Between) -> None:
        for where in ((invalid,), (NoneOf((AnyOf((invalid,)),)),)):
            with pytest.raises(UsageError, match=r"meta\.year|not a date or time"):
                typed.count(where)

    def test_prefixes_are_literal_and_case_sensitive(self, typed: Collection) -> None:
        assert matching_numbers(typed, Prefix("source", "docs/")) == [1, 2]
        assert matching_numbers(typed, Prefix("source", "docs")) == [1, 2, 4]
        assert matching_numbers(typed, Prefix("source", "doc*")) == [5]
        assert matching_numbers(typed, Prefix("source", "nowhere")) == []
        assert len(matching_numbers(typed, Prefix("source", ""))) == 6
        assert matching_numbers(typed, Prefix("meta.day", "2024-01-31T")) == [2, 4]
        assert matching_numbers(
            typed, NoneOf((Prefix("source", "docs"),)), Prefix("source", "d")
        ) == [5, 6]

    def test_a_field_exists_unless_null_or_empty(self, typed: Collection) -> None:
        assert matching_numbers(typed, Has("meta.year")) == [1, 2, 3, 4]
        assert matching_numbers(typed, Has("meta.lang")) == [6]
        assert matching_numbers(typed, Has("meta.tag")) == [6]
        assert matching_numbers(typed, NoneOf((Has("meta.score"),))) == [1, 2, 4, 5]

    def test_conditions_combine_with_and_or_not(self, typed: Collection) -> None:
        new, old = Between("meta.year", gte=2024), Match("meta.year", (2020,))
        assert matching_numbers(typed, AnyOf((new, old))) == [1, 2, 3]
        assert matching_numbers(typed, AnyOf(()), AllOf(())) == []
        assert matching_numbers(typed, AllOf(()), NoneOf(())) == [1, 2, 3, 4, 5, 6]
        assert matching_numbers(typed, AllOf((new, Has("meta.day")))) == [2]
        assert matching_numbers(typed, NoneOf((new, old)), Has("meta.year")) == [4]
        assert matching_numbers(typed, NoneOf((NoneOf((AnyOf((old, AllOf((new,)))),)),))) == [
            1,
            2,
            3,
        ]
        merge = ((AnyOf((old, Prefix("source", "Docs"))),), {"size": 7})
        typed.apply(Batch(merges=[merge]))  # type: ignore[list-item]
        assert matching_numbers(typed, Match("size", (7,))) == [1, 3]

    def test_every_kind_of_search_applies_conditions(self, typed: Collection) -> None:
        where = (AnyOf((Prefix("source", "docs/"), Between("meta.score", gte=2))),)
        query = Query(9, axis(2, tilt=0.5), SparseVector([1_000_000], [1.0]), where)
        for variant in (
            query,
            replace(query, sparse=None),
            replace(query, dense=None),
            replace(query, fusion=Fusion(kind="dbsf")),
            replace(query, diversity=0.5),
            replace(query, exact=True),
        ):
            assert sorted(hit_numbers(typed, variant)) == [1, 2, 6]

    def test_fields_can_be_declared_later(self, store: Store, typed: Collection) -> None:
        before = dict(typed.settings.fields)
        declared_later = {"year": "float", "score": "float", "day": "datetime", "new.flag": "bool"}
        for _ in range(2):
            typed.declare(declared_later)
            assert typed.settings.fields == {**before, **declared_later}
        typed.declare({})
        typed.note({"billed": {"jina": 1}})
        again = store.open("typed")
        assert again is not None
        assert again.settings == replace(SETTINGS, fields={**before, **declared_later})
        assert again.notes() == {"billed": {"jina": 1}}
        assert matching_numbers(again, Between("meta.year", gte=2024)) == [2, 3]
        assert matching_numbers(again, Between("meta.day", gt="2024-01-31")) == [2, 4]
        again.apply(Batch(upserts=[point(7, meta={"new": {"flag": True}, "year": 2024.5})]))
        assert matching_numbers(again, Match("meta.new.flag", (True,))) == [7]
        assert matching_numbers(again, Between("meta.year", gt=2024, lt=2025)) == [7]
        again.close()

    @pytest.mark.parametrize("kind", ["rrf", "dbsf"])
    @pytest.mark.parametrize("sides", ["dense", "sparse", "both"])
    @pytest.mark.parametrize("diversity", [None, 0.3])
    def test_pages_of_tied_hits_neither_lose_nor_repeat_any(
        self, equal_scores: Collection, sides: str, kind: str, diversity: float | None
    ) -> None:
        query = Query(
            7,
            axis(0) if sides != "sparse" else None,
            SparseVector([5], [1.0]) if sides != "dense" else None,
            fusion=Fusion(kind=kind, prefetch=60),  # type: ignore[arg-type]
            diversity=diversity,
        )
        pages = [
            hit_numbers(equal_scores, replace(query, offset=first)) for first in range(0, 49, 7)
        ]
        assert [n for page in pages for n in page] == [99, *range(2, 42)]
        assert [len(page) for page in pages] == [7, 7, 7, 7, 7, 6, 0]

    def test_candidates_of_a_fusion_are_chosen_among_ties_by_id(
        self, equal_scores: Collection
    ) -> None:
        query = Query(9, axis(0), SparseVector([5], [1.0]), fusion=Fusion(prefetch=4))
        assert hit_numbers(equal_scores, replace(query, limit=4)) == [99, 2, 3, 4]

    def test_min_score_applies_to_a_single_vector(self, equal_scores: Collection) -> None:
        dense, sparse = Query(50, dense=axis(0)), Query(50, sparse=SparseVector([5], [1.0]))
        for query in (dense, sparse):
            best, other = sorted({hit.score for hit in equal_scores.query(query)}, reverse=True)
            assert hit_numbers(equal_scores, replace(query, min_score=best)) == [99]
            assert len(hit_numbers(equal_scores, replace(query, min_score=other))) == 41
            assert (
                len(hit_numbers(equal_scores, replace(query, min_score=other, limit=5, offset=38)))
                == 3
            )
            assert hit_numbers(equal_scores, replace(query, min_score=(best + other) / 2)) == [99]
            assert hit_numbers(equal_scores, replace(query, min_score=best + 0.01)) == []

    def test_diversity_demotes_near_duplicates(self, store: Store) -> None:
        made = store.create("copies", SETTINGS)
        tilts = [(1, 0.0), (2, 0.0), (3, 0.001), (4, 0.8)]
        sparse = SparseVector([5], [1.0])
        made.apply(
            Batch(
                upserts=[
                    Point(ident(n), any_payload(n=n), axis(0, tilt=t), sparse) for n, t in tilts
                ]
                + [Point(ident(9), any_payload(n=9), None, SparseVector([5], [0.5]))]
            )
        )
        assert hit_numbers(made, Query(3, dense=axis(0))) == [1, 2, 3]
        varied = Query(3, dense=axis(0), diversity=0.7)
        assert hit_numbers(made, varied) == [1, 4, 3]
        assert hit_numbers(made, replace(varied, limit=2, offset=1)) == [4, 3]
        (first, second, _) = made.query(varied)
        assert (first.score, second.score) == pytest.approx((1.0, 1 / np.hypot(1, 0.8)), abs=1e-5)
        assert second.payload == {"n": 4}
        assert hit_numbers(made, replace(varied, sparse=sparse)) == [
            1,
            9,
            4,
        ]  # 9 has no dense vector, so it is similar to nothing
        words = Query(3, sparse=sparse, diversity=0.7)
        assert hit_numbers(made, words) == [1, 9, 4]
        made.close()

    def test_ef_and_exact_do_not_change_results_of_a_small_collection(
        self, equal_scores: Collection
    ) -> None:
        query = Query(12, axis(0), SparseVector([5], [1.0]), offset=3)
        plain = hit_numbers(equal_scores, query)
        for variant in (replace(query, ef=8), replace(query, exact=True), replace(query, ef=500)):
            assert hit_numbers(equal_scores, variant) == plain

    @pytest.mark.parametrize("kind", ["scalar", "binary", "binary2"])
    def test_quantised_collections_are_searched(self, store: Store, kind: str) -> None:
        check_quantised_search(store, kind)
