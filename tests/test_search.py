"""Ways of searching, on both stores: filters, grouping, paging, scores, reranking, batches."""

import json
from contextlib import closing
from typing import Any

import pytest

from ragctl.errors import UsageError
from ragctl.records import Hit
from ragctl.search import SearchOptions, embedder_of, search, search_many
from ragctl.search.group import grouped
from ragctl.stores import is_server
from tests.searching import searcher
from tests.servers.rerank import VllmReranker
from tests.world import World, paragraphs

ROWS = [
    {"id": "a", "text": "valve report one", "year": 2023, "team": "ops", "day": "2025-01-30"},
    {"id": "b", "text": "valve report two", "year": 2024, "team": "dev", "day": "2025-01-31"},
    {"id": "c", "text": "valve report three", "year": 2025, "day": "2025-02-01T10:00:00Z"},
    {"id": "d", "text": "valve report four", "team": "sales", "ratio": 0.5},
]


@pytest.fixture
def filled(world: World) -> World:
    world.write("en/r.jsonl", "\n".join(map(json.dumps, ROWS)))
    world.write("de/pump.md", paragraphs("pump", "fan", "coil", "drain"))
    world.ingest()
    return world


@pytest.mark.filterwarnings("ignore:.*is not declared in")
def test_filters(filled: World) -> None:
    with searcher(filled) as found:

        def names(*where: str) -> str:
            hits = found.search("valve report", where=where)
            return "".join(sorted(hit.source[-1] for hit in hits if hit.source.startswith("en/")))

        assert names() == "abcd"
        assert names("team=ops") == "a"
        assert names("team=ops", "team=dev") == "ab"
        assert names("team!=ops and source^=en/") == "bcd"
        assert names("team in (dev, sales)") == "bd"
        assert names("year>=2024") == "bc"
        assert names("year>2023 and year<2025") == "b"
        assert names("day<=2025-01-31") == "ab"
        assert names("day>2025-01-31") == "c"
        assert names("has(year) and not has(team)") == "c"
        assert names("(year=2023 or ratio=0.5) and not team=ops") == "d"
        assert names("source^=de/") == ""
        assert {hit.source for hit in found.search("valve", where="source^=de/")} == {"de/pump.md"}


def test_a_filter_on_an_undeclared_field_says_so_once(filled: World) -> None:
    with searcher(filled) as found:
        with pytest.warns(UserWarning, match=r"team is not declared in \[fields\]") as caught:
            found.search("valve", where="team=ops")
        assert len(caught) == 1
        assert len(found.search("valve", where="team=ops")) == 1  # and no warning
        found.search("valve", where="source^=en/")


def test_pages_are_parts_of_one_ranking(filled: World) -> None:
    with searcher(filled) as found:
        whole = [hit.id for hit in found.search("valve report pump", limit=8)]
        parts = [
            hit.id
            for offset in range(0, 8, 3)
            for hit in found.search("valve report pump", limit=3, offset=offset)
        ]
    assert len(whole) == len(set(whole)) == 8
    assert parts[:8] == whole


def test_modes_and_the_least_score(filled: World) -> None:
    with searcher(filled) as found:
        for mode in ("dense", "sparse"):
            hits = found.search("valve report", mode=mode)
            bar = hits[1].score
            some = found.search("valve report", mode=mode, min_score=bar)
            assert [hit.id for hit in some] == [hit.id for hit in hits if hit.score >= bar]
        exact = found.search("valve report", mode="dense", exact=True)
        assert [hit.id for hit in exact] == [
            hit.id for hit in found.search("valve report", mode="dense", ef=64)
        ]


def test_fusions_differ(filled: World) -> None:
    with searcher(filled) as found:
        ranks = found.search("valve report pump", limit=8)
        weighed = found.search("valve report pump", limit=8, k=60, sparse_weight=9)
        by_scores = found.search("valve report pump", limit=8, fusion="dbsf")
    assert {hit.id for hit in ranks} == {hit.id for hit in by_scores}
    assert len({tuple(hit.score for hit in hits) for hits in (ranks, weighed, by_scores)}) == 3


def test_diversity_brings_others_forward(filled: World) -> None:
    with searcher(filled) as found:
        plain = found.search("valve", mode="dense", limit=4)
        varied = found.search("valve", mode="dense", limit=4, diversity=1.0)
    assert plain[0].id == varied[0].id
    assert [hit.id for hit in plain] != [hit.id for hit in varied]


def test_documents_with_their_best_chunks(filled: World) -> None:
    with searcher(filled) as found:
        ranked = found.search("valve report pump fan coil", limit=100)
        hits = found.search("valve report pump fan coil", limit=3, group=2)
        second = found.search("valve report pump fan coil", limit=1, offset=1, group=2)
    assert hits == grouped(ranked, 2, 0, 3)
    assert len({hit.source for hit in hits}) == 3
    assert max(sum(hit.source == one.source for hit in hits) for one in hits) <= 2
    assert {hit.source for hit in second} == {list(dict.fromkeys(h.source for h in hits))[1]}


def test_as_many_are_fetched_as_it_takes(world: World) -> None:
    """One document has the best hundred chunks and more; others are found behind them."""
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
    order = [(hit.source, hit.ordinal) for hit in grouped(hits, 2, 0, 2)]
    assert order == [("a", 1), ("a", 0), ("b", 5), ("b", 4)]
    assert [hit.source for hit in grouped(hits, 1, 1, 5)] == ["b", "c"]


def test_a_reranker_decides(filled: World) -> None:
    with VllmReranker() as judge, searcher(filled) as found:
        told: dict[str, Any] = {"rerank": "vllm:BAAI/bge-reranker-v2-m3", "rerank_url": judge.url}
        hits = found.search("coil dry weather", mode="sparse", limit=2, **told)
        assert "coil" in hits[0].text
        assert hits[0].score == pytest.approx(2 / 3)
        sent = judge.requests[-1].body["documents"]
        assert any(text.startswith("coil\n\n") or "## coil" in text for text in sent)
        found.search("valve report", limit=2, candidates=3, **told)
        assert len(judge.requests[-1].body["documents"]) == 3
        page = found.search("coil dry weather", mode="sparse", limit=1, offset=1, **told)
        assert page == hits[1:]
        grouped_hits = found.search("valve report coil", limit=2, group=1, **told)
        assert len({hit.source for hit in grouped_hits}) == 2
        wide = found.search("coil dry weather", mode="sparse", limit=1, context=1, **told)
        assert len(wide[0].ordinals) > 1
        assert wide[0].score == hits[0].score
        with pytest.raises(UsageError, match="fewer than the 5"):
            found.search("coil", limit=5, candidates=4, **told)


def test_many_questions_are_one_request(filled: World) -> None:
    with (
        closing(filled.open()) as collection,
        embedder_of(collection, environ=filled.environ, remote=is_server(filled.store)) as embedder,
    ):
        texts = ["valve report one", "?!", "pump", "coil"]
        alone = [search(collection, text, embedder=embedder) for text in (texts[0], *texts[2:])]
        filled.forget()
        outcomes = list(search_many(collection, texts, embedder=embedder, at_once=3))
        assert len(filled.server.requests) == 1
        assert [t.side for t in filled.server.texts] == ["query"] * 3
        assert isinstance(outcomes[1], UsageError)
        assert [outcomes[0], *outcomes[2:]] == alone
        assert list(search_many(collection, [], embedder=embedder)) == []
        only_words = SearchOptions(mode="sparse")
        sparse = list(search_many(collection, texts, embedder=None, ask=only_words, batch=2))
        assert isinstance(sparse[0], list)
        assert len(filled.server.requests) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "limit 0"),
        ({"limit": 10_001}, "limit"),
        ({"offset": -1}, "offset"),
        ({"mode": "magic"}, "hybrid, dense, sparse"),
        ({"fusion": "sum"}, "rrf, dbsf"),
        ({"expand": "book"}, "section, page, document"),
        ({"k": 0}, "k 0"),
        ({"fusion": "dbsf", "k": 3}, "belong to the fusion rrf"),
        ({"fusion": "dbsf", "mode": "dense"}, "hybrid mode"),
        ({"mode": "dense", "dense_weight": 2.0}, "belong to the fusion rrf"),
        ({"dense_weight": 0.0}, "above 0"),
        ({"sparse_weight": float("nan")}, "above 0"),
        ({"min_score": 0.5}, "a fused score tells"),
        ({"diversity": 1.5}, "from 0 to 1"),
        ({"diversity": float("nan")}, "from 0 to 1"),
        ({"mode": "sparse", "diversity": 0.5}, "compares vectors"),
        ({"exact": True, "ef": 10}, "ef has no meaning"),
        ({"group": 0}, "group 0"),
        ({"context": -1}, "context -1"),
        ({"oversampling": 0.9}, "oversampling 0.9: a number from 1"),
        ({"oversampling": float("nan")}, "from 1 to 100"),
        ({"oversampling": 101.0}, "from 1 to 100"),
        ({"rescore": False, "oversampling": 2.0}, "without rescore"),
        ({"rescore": False, "mode": "sparse"}, "of vectors"),
        ({"rescore": False, "exact": True}, "whole vectors"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SearchOptions(**options)  # type: ignore[arg-type]
