"""Servers in strict mode, which refuse filters on unindexed fields: every search still works."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ragctl.errors import StoreError
from tests.searching import searcher
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.test_search_context import SECTIONS, book
from tests.world import KEY, World

pytestmark = pytest.mark.slow

ROWS: list[dict[str, object]] = [
    {"id": "a", "year": 2023, "team": "ops", "day": "2025-01-30", "open": True, "ratio": 1},
    {"id": "b", "year": 2024, "team": "7", "day": "2025-01-31", "open": False, "ratio": 0.5},
    {"id": "c", "year": 2025, "day": "2025-02-01T10:00:00Z", "ratio": 2.5},
]
FIELDS = {
    "year": "integer",
    "team": "keyword",
    "day": "datetime",
    "open": "bool",
    "ratio": "float",
}
STRICT_MODE = {
    "enabled": True,
    "unindexed_filtering_retrieve": False,
    "unindexed_filtering_update": False,
}


@pytest.fixture(scope="module", params=["1.15.4", "1.17.0", "1.19.0"])
def server_and_world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[QdrantFacade, World]]:
    """Ingest documents under strict mode."""
    folder = tmp_path_factory.mktemp("strict") / "docs"
    with QdrantFacade(version=request.param) as facade, JinaServer(KEY) as host:
        facade.engine.strict_mode = STRICT_MODE
        world = World(folder, facade.url, host)
        rows = (json.dumps({**row, "text": f"valve report {row['id']}"}) for row in ROWS)
        world.write("en/r.jsonl", "\n".join(rows))
        for more in ((), ("golf", "hotel")):
            world.write("book.md", book(*SECTIONS, *more))
            world.ingest(fields=FIELDS)
        yield facade, world


@pytest.fixture
def facade(server_and_world: tuple[QdrantFacade, World]) -> QdrantFacade:
    server_and_world[0].engine.strict_mode = STRICT_MODE
    return server_and_world[0]


@pytest.fixture
def indexed(facade: QdrantFacade, server_and_world: tuple[QdrantFacade, World]) -> World:
    return server_and_world[1]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("team=ops", "a"),
        ("team=7", "b"),
        ("team!=7", "ac"),
        ("team in (7, ops)", "ab"),
        ("team^=op", "a"),
        ("team^=none", ""),
        ("year=2024", "b"),
        ("year in (2024, abc)", "b"),
        ("year=abc", ""),
        ("year!=2024", "ac"),
        ("year>=2024", "bc"),
        ("year>=2024-01-01", ""),
        ("open=true", "a"),
        ("open!=true", "bc"),
        ("ratio=1", "a"),
        ("ratio=0.5", "b"),
        ("ratio>0.7 or team=7", "abc"),
        ("day<=2025-01-31", "ab"),
        ("day=2025-01-31", "b"),
        ("day=soon", ""),
        ("has(team) and not has(none)", None),
        ("not has(team)", "c"),
        ("source^=docs/en/", "abc"),
        ("source=docs/book.md", ""),
        ("file=docs/en/r.jsonl", "abc"),
        ("lang=en", "abc"),
        ("page=3", ""),
        ("not has(page) and ordinal=0", "abc"),
        ("ordinal>=1", ""),
        ("has(title)", ""),
        ("digest=x or text_hash=y", ""),
    ],
)
def test_filters_work_in_strict_mode(indexed: World, where: str, names: str | None) -> None:
    with searcher(indexed) as found:
        if names is None:
            with (
                pytest.warns(UserWarning, match="the filter on .none. reads"),
                pytest.raises(StoreError, match=r"Index required but not found for .meta\.none"),
            ):
                found.search("valve report", where=where)
            return
        hits = found.search("valve report", where=where)
        rows = [hit.source[-1] for hit in hits if hit.source.startswith("docs/en/")]
        assert "".join(sorted(rows)) == names


@pytest.mark.parametrize(
    "options",
    [
        {"context": 1},
        {"context": 4},
        {"context": 1, "where": "source=docs/book.md"},
        {"expand": "section"},
        {"expand": "page"},
        {"expand": "document"},
        {"group": 2},
        {"group": 1, "context": 2, "offset": 1},
        {"diversity": 0.5},
        {"diversity": 0.5, "mode": "dense", "context": 1},
        {"fusion": "dbsf"},
        {"mode": "sparse", "min_score": 0.1},
        {"rerank": "sentences", "context": 1},
        {"ef": 64, "offset": 2, "limit": 2},
    ],
)
def test_options_give_the_same_hits_as_without_strict_mode(
    indexed: World, facade: QdrantFacade, options: dict[str, Any]
) -> None:
    with searcher(indexed) as found:
        strict_hits = found.search("charlie golf report", **options)
        facade.engine.strict_mode = {}
        assert strict_hits == found.search("charlie golf report", **options)
        assert strict_hits


def test_missing_indexes_are_added_to_an_older_collection(
    indexed: World, facade: QdrantFacade
) -> None:
    indexes = facade.engine._indexes["docs@1"]
    for name in ("ordinal", "page", "lang"):
        indexes.pop(name, None)
    with searcher(indexed) as found:
        assert found.search("charlie", context=1, limit=1)[0].ordinals
        assert len(found.search("charlie", where="lang=en and not has(page)", limit=2)) == 2
    schema = httpx.get(f"{facade.url}/collections/docs").json()["result"]["payload_schema"]
    assert schema["ordinal"]["data_type"] == "integer"
