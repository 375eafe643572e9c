"""Searching on both stores: filters, grouping, paging, scores, reranking, batches."""

import json
from contextlib import closing
from typing import Any

import pytest

from ragctl.collection.conditions import Match
from ragctl.errors import OptionError, UsageError
from ragctl.records import Hit
from ragctl.search.find import search, search_many
from ragctl.search.group import group_by_document
from ragctl.search.option_spec import declared_options
from ragctl.search.options import SearchOptions
from ragctl.search.query import embedder_of
from ragctl.stores import is_server
from tests.searching import searcher
from tests.servers.rerank import VllmReranker
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

ROWS = [
    {"id": "a", "text": "valve report one", "year": 2023, "team": "ops", "day": "2025-01-30"},
    {"id": "b", "text": "valve report two", "year": 2024, "team": "dev", "day": "2025-01-31"},
    {"id": "c", "text": "valve report three", "year": 2025, "day": "2025-02-01T10:00:00Z"},
    {"id": "d", "text": "valve report four", "team": "sales", "ratio": 0.5},
]


@pytest.fixture
def indexed(world: World) -> World:
    world.write("en/r.jsonl", "\n".join(map(json.dumps, ROWS)))
    world.write("de/pump.md", paragraphs("pump", "fan", "coil", "drain"))
    world.ingest()
    return world


@pytest.mark.filterwarnings("ignore:the filter on")
def test_filters_select_documents(indexed: World) -> None:
    with searcher(indexed) as found:

        def names(*where: str) -> str:
            hits = found.search("valve report", where=where)
            return "".join(
                sorted(hit.source[-1] for hit in hits if hit.source.startswith("docs/en/"))
            )

        assert names() == "abcd"
        assert names("team=ops") == "a"
        assert names("team=ops", "team=dev") == "ab"
        assert names("team!=ops and source^=docs/en/") == "bcd"
        assert names("team in (dev, sales)") == "bd"
        assert names("year>=2024") == "bc"
        assert names("year>2023 and year<2025") == "b"
        assert names("day<=2025-01-31") == "ab"
        assert names("day>2025-01-31") == "c"
        assert names("has(year) and not has(team)") == "c"
        assert names("(year=2023 or ratio=0.5) and not team=ops") == "d"
        assert names("source^=docs/de/") == ""
        assert {hit.source for hit in found.search("valve", where="source^=docs/de/")} == {
            "docs/de/pump.md"
        }


def test_a_filter_on_an_undeclared_field_warns_once(indexed: World) -> None:
    with searcher(indexed) as found:
        with pytest.warns(UserWarning, match="the filter on .team. reads every point") as caught:
            found.search("valve", where="team=ops")
        assert len(caught) == 1
        assert len(found.search("valve", where="team=ops")) == 1  # and no second warning
        found.search("valve", where="source^=docs/en/")


def test_pages_are_parts_of_one_ranking(indexed: World) -> None:
    with searcher(indexed) as found:
        whole = [hit.id for hit in found.search("valve report pump", limit=8)]
        parts = [
            hit.id
            for offset in range(0, 8, 3)
            for hit in found.search("valve report pump", limit=3, offset=offset)
        ]
    assert len(whole) == len(set(whole)) == 8
    assert parts[:8] == whole


def test_min_score_applies_in_each_mode(indexed: World) -> None:
    with searcher(indexed) as found:
        for mode in ("dense", "sparse"):
            hits = found.search("valve report", mode=mode)
            threshold = hits[1].score
            above = found.search("valve report", mode=mode, min_score=threshold)
            assert [hit.id for hit in above] == [hit.id for hit in hits if hit.score >= threshold]
        exact = found.search("valve report", mode="dense", exact=True)
        assert [hit.id for hit in exact] == [
            hit.id for hit in found.search("valve report", mode="dense", ef=64)
        ]


def test_fusion_options_change_the_scores(indexed: World) -> None:
    with searcher(indexed) as found:
        ranks = found.search("valve report pump", limit=8)
        weighed = found.search("valve report pump", limit=8, k=60, sparse_weight=9)
        by_scores = found.search("valve report pump", limit=8, fusion="dbsf")
    assert {hit.id for hit in ranks} == {hit.id for hit in by_scores}
    assert len({tuple(hit.score for hit in hits) for hits in (ranks, weighed, by_scores)}) == 3


def test_diversity_changes_the_order(indexed: World) -> None:
    with searcher(indexed) as found:
        plain = found.search("valve", mode="dense", limit=4)
        varied = found.search("valve", mode="dense", limit=4, diversity=1.0)
    assert plain[0].id == varied[0].id
    assert [hit.id for hit in plain] != [hit.id for hit in varied]


def test_hits_are_grouped_by_document(indexed: World) -> None:
    with searcher(indexed) as found:
        ranked = found.search("valve report pump fan coil", limit=100)
        hits = found.search("valve report pump fan coil", limit=3, group=2)
        second = found.search("valve report pump fan coil", limit=1, offset=1, group=2)
    assert hits == group_by_document(ranked, 2, 0, 3)
    assert len({hit.source for hit in hits}) == 3
    assert max(sum(hit.source == one.source for hit in hits) for one in hits) <= 2
    assert {hit.source for hit in second} == {list(dict.fromkeys(h.source for h in hits))[1]}


def test_grouping_fetches_until_it_has_enough_documents(world: World) -> None:
    """The best 130 chunks belong to one document; other documents must still be found."""
    names = [f"pump{n}" for n in range(130)]
    world.write("many.md", paragraphs(*names, words=8))
    for n in range(3):
        world.write(f"few{n}.txt", "An unlike text about the weather, in which a pump is named.")
    world.ingest(chunk_size=16)
    with searcher(world) as found:
        hits = found.search("pump dry valve run", mode="sparse", limit=4, group=1)
    assert len({hit.source for hit in hits}) == 4


def ranked(*pairs: tuple[str, int]) -> list[Hit]:
    return [Hit(s, 1.0, "", 0, 0, None, (), ordinal, {}) for s, ordinal in pairs]


def test_grouping_keeps_the_order() -> None:
    hits = ranked(("a", 1), ("b", 5), ("a", 0), ("c", 2), ("a", 9), ("b", 4))
    order = [(hit.source, hit.ordinal) for hit in group_by_document(hits, 2, 0, 2)]
    assert order == [("a", 1), ("a", 0), ("b", 5), ("b", 4)]
    assert [hit.source for hit in group_by_document(hits, 1, 1, 5)] == ["b", "c"]


def test_a_reranker_decides_order_and_scores(indexed: World) -> None:
    with VllmReranker() as reranker, searcher(indexed) as found:
        rerank_options: dict[str, Any] = {
            "rerank": "vllm:BAAI/bge-reranker-v2-m3",
            "rerank_url": reranker.url,
        }
        hits = found.search("coil dry weather", mode="sparse", limit=2, **rerank_options)
        assert "coil" in hits[0].text
        assert hits[0].score == pytest.approx(2 / 3)
        sent = reranker.requests[-1].body["documents"]
        assert any(text.startswith("coil\n\n") or "## coil" in text for text in sent)
        found.search("valve report", limit=2, candidates=3, **rerank_options)
        assert len(reranker.requests[-1].body["documents"]) == 3
        page = found.search("coil dry weather", mode="sparse", limit=1, offset=1, **rerank_options)
        assert page == hits[1:]
        grouped_hits = found.search("valve report coil", limit=2, group=1, **rerank_options)
        assert len({hit.source for hit in grouped_hits}) == 2
        wide = found.search("coil dry weather", mode="sparse", limit=1, context=1, **rerank_options)
        assert len(wide[0].ordinals) > 1
        assert wide[0].score == hits[0].score
        with pytest.raises(UsageError, match="fewer than the 5"):
            found.search("coil", limit=5, candidates=4, **rerank_options)


def test_many_questions_are_embedded_in_one_request(indexed: World) -> None:
    with (
        closing(indexed.open()) as collection,
        embedder_of(
            collection, environ=indexed.environ, remote=is_server(indexed.store)
        ) as embedder,
    ):
        texts = ["valve report one", "?!", "pump", "coil"]
        alone = [search(collection, text, embedder=embedder) for text in (texts[0], *texts[2:])]
        indexed.forget()
        outcomes = list(search_many(collection, texts, embedder=embedder, parallel=3))
        assert len(indexed.server.requests) == 1
        assert [t.side for t in indexed.server.texts] == ["query"] * 3
        assert isinstance(outcomes[1], UsageError)
        assert [outcomes[0], *outcomes[2:]] == alone
        assert list(search_many(collection, [], embedder=embedder)) == []
        only_words = SearchOptions(mode="sparse")
        sparse = list(search_many(collection, texts, embedder=None, options=only_words, batch=2))
        assert isinstance(sparse[0], list)
        assert len(indexed.server.requests) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: 0 is not a whole number from 1 to 10,000"),
        ({"limit": 10_001}, "limit: 10001 is not"),
        ({"offset": -1}, "offset: -1 is not"),
        ({"mode": "magic"}, "mode: 'magic' is not one of hybrid, dense, sparse"),
        ({"fusion": "sum"}, "not one of rrf, dbsf"),
        ({"expand": "book"}, "not one of section, page, document"),
        ({"k": 0}, "k: 0 is not a whole number"),
        ({"fusion": "dbsf", "k": 3}, "k: has no effect with fusion dbsf"),
        ({"fusion": "dbsf", "mode": "dense"}, "fusion: has no effect with mode dense"),
        ({"mode": "dense", "dense_weight": 2.0}, "dense_weight: has no effect with mode dense"),
        ({"dense_weight": 0.0}, "dense_weight: 0 is not a number from 0.001 to 1,000"),
        ({"sparse_weight": float("nan")}, "sparse_weight: nan is not a number"),
        ({"min_score": 0.5}, "min_score: has no effect with mode hybrid"),
        ({"diversity": 1.5}, "diversity: 1.5 is not a number from 0 to 1"),
        ({"diversity": float("nan")}, "from 0 to 1"),
        ({"mode": "sparse", "diversity": 0.5}, "diversity: has no effect with mode sparse"),
        ({"exact": True, "ef": 10}, "ef: has no effect with exact"),
        ({"group": 0}, "group: 0 is not"),
        ({"context": -1}, "context: -1 is not"),
        ({"context": 1, "expand": "page"}, "expand: cannot be combined with context"),
        ({"oversampling": 0.9}, "oversampling: 0.9 is not a number from 1 to 100"),
        ({"oversampling": float("nan")}, "from 1 to 100"),
        ({"oversampling": 101.0}, "from 1 to 100"),
        ({"rescore": False, "oversampling": 2.0}, "oversampling: has no effect without rescore"),
        ({"rescore": False, "mode": "sparse"}, "rescore: has no effect with mode sparse"),
        ({"rescore": False, "exact": True}, "rescore: has no effect with exact"),
        ({"rerank_url": "http://gpu"}, "rerank_url: name the reranker too"),
        ({"rerank": "tei", "limit": 5, "candidates": 4}, "4 is fewer than the 5 hits"),
        ({"where": "team>"}, "where: 'team>', at its end: a value is missing"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        SearchOptions(**options)  # type: ignore[arg-type]
    assert "--" not in str(caught.value)


def test_every_option_is_described() -> None:
    for declared in declared_options(SearchOptions):
        assert declared.spec.help.endswith("."), declared.name
        assert "[" not in declared.spec.help, "typer reads it as markup"
        assert declared.kind in (int, float, bool, str, tuple), declared.name
        assert declared.spec.short or not declared.optional or declared.default is None


def test_filters_are_parsed_and_options_are_hashable() -> None:
    options = SearchOptions(where=["team=ops", Match("page", (3,))])
    assert options.conditions == (Match("meta.team", ("ops",)), Match("page", (3,)))
    assert options == SearchOptions(where=options.where)
    assert len({options, SearchOptions()}) == 2
