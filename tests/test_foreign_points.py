"""Points of other programs in a collection of ragctl on a server: no hits, and never a crash."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from ragctl.collection.payload import Payload
from ragctl.collection.state import read_state
from ragctl.records import Hit
from ragctl.stores import open_store
from ragctl.stores.base import Batch, Collection
from tests.command import call
from tests.searching import searcher
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

QUESTION = "valve number 7"
LANGCHAIN = {"page_content": QUESTION, "metadata": {"source": "p7.md", "_id": "x"}}
LLAMA_INDEX = {
    "_node_content": "{}",
    "_node_type": "TextNode",
    "document_id": "p7.md",
    "doc_id": "p7.md",
    "ref_doc_id": "p7.md",
}


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade() as facade:
        yield facade


@pytest.fixture
def indexed(facade: QdrantFacade, host: JinaServer, tmp_path: Path) -> World:
    (tmp_path / "docs").mkdir()
    world = World(tmp_path / "docs", facade.url, host)
    for number in range(1, 13):
        world.write(f"p{number}.md", paragraphs(f"valve number {number}", f"pump {number}"))
    world.ingest()
    return world


@contextmanager
def reading(world: World) -> Iterator[Collection]:
    with closing(open_store(world.store, environ={})) as store:
        opened = store.open(world.collection)
        assert opened is not None
        yield opened


def physical(world: World) -> str:
    """The address of the points: an alias of the collection's name may lead there."""
    return f"{world.store}/collections/{world.collection}"


def stored(world: World, text: str) -> dict[str, Any]:
    """A stored point whose text contains `text`, as the server gives it."""
    body = {"limit": 1000, "with_payload": True, "with_vector": True}
    answer = httpx.post(f"{physical(world)}/points/scroll", json=body).raise_for_status().json()
    return next(p for p in answer["result"]["points"] if text in p["payload"].get("text", ""))


def write_foreign(world: World, *payloads: dict[str, Any]) -> None:
    """Write points with the vectors of the best hit, so that each would be the first hit."""
    vectors = stored(world, "valve number 7")["vector"]
    points = [
        {"id": number, "vector": vectors, "payload": payload}
        for number, payload in enumerate(payloads, 1)
    ]
    body = {"points": points}
    httpx.put(f"{physical(world)}/points?wait=true", json=body).raise_for_status()


def malformed(world: World) -> list[dict[str, Any]]:
    """Payloads that begin as one of ragctl's, each with a key missing or of another type."""
    good = stored(world, "valve number 7")["payload"]
    good.pop("mark", None)
    wrong: list[dict[str, Any]] = [{**good, key: [["not the type"]]} for key in good]
    needed = good.keys() - {"page", "line", "title"}
    wrong += [{k: v for k, v in good.items() if k != key} for key in needed]
    wrong += [
        {**good, "heading": [1, None]},
        {**good, "ordinal": True},
        {**good, "ordinal": -1},
        {**good, "ordinal": 10**12},
        {**good, "chunks": -1},
        {**good, "start": 10, "end": 5},
        {**good, "source": ["docs/p7.md"]},
        {**good, "version": ["0" * 32]},
        {**good, "text_hash": ["0" * 32]},
        {},
    ]
    return wrong


def run(world: World, tmp_path: Path, *words: str) -> tuple[int, str]:
    result = call(
        *words,
        *("-c", world.collection, "--store", world.store),
        environ={**world.environ, "RAGCTL_HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert "unexpected failure" not in result.stderr, result.stderr
    return result.returncode, result.stdout + result.stderr


def rounded(hit: Hit) -> Hit:
    return replace(hit, score=round(hit.score, 5))


SEARCHES: list[dict[str, Any]] = [
    {"mode": "dense"},
    {"mode": "sparse"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": "dbsf"},
    {"mode": "hybrid", "limit": 3, "offset": 3},
    {"mode": "dense", "limit": 2, "offset": 1},
    {"mode": "dense", "diversity": 0.5},
    {"group": 1, "limit": 5},
    {"context": 1},
    {"expand": "document"},
    {"rerank": "sentences"},
    {"where": "source^=docs/p"},
    {"mode": "dense", "min_score": 0.0},
]


@pytest.mark.parametrize("version", ["1.15.4", "1.17.0", "1.19.0"])
def test_hits_are_those_of_a_collection_without_foreign_points(
    version: str, host: JinaServer, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    with QdrantFacade(version=version) as facade:
        world = World(tmp_path / "docs", facade.url, host)
        for number in range(1, 13):
            world.write(f"p{number}.md", paragraphs(f"valve number {number}", f"pump {number}"))
        world.ingest()
        with searcher(world) as found:
            before = [found.search(QUESTION, **options) for options in SEARCHES]
        dense = {"dense": stored(world, "valve number 7")["vector"]["dense"]}
        points = [{"id": n, "vector": dense, "payload": LANGCHAIN} for n in range(1, 301)]
        points += [{"id": n, "vector": dense, "payload": LLAMA_INDEX} for n in range(301, 305)]
        body = {"points": points}
        httpx.put(f"{physical(world)}/points?wait=true", json=body).raise_for_status()
        with searcher(world) as found:
            after = [found.search(QUESTION, **options) for options in SEARCHES]
    # The test server multiplies matrices, whose shape decides the last digits.
    assert [list(map(rounded, hits)) for hits in after] == [
        list(map(rounded, hits)) for hits in before
    ]


def test_malformed_payloads_are_no_hits(indexed: World) -> None:
    payloads = malformed(indexed)
    write_foreign(indexed, *payloads)
    with searcher(indexed) as found:
        for options in SEARCHES:
            hits = found.search(QUESTION, **{"limit": 10, **options})
            assert hits, options
            assert not [hit for hit in hits if hit.id.isdecimal()], options
        assert found.search(QUESTION, mode="dense")[0].source == "docs/p7.md"


def test_a_search_costs_no_request_more_without_foreign_points(
    indexed: World, facade: QdrantFacade
) -> None:
    def requests(mode: Literal["dense", "sparse"]) -> int:
        before = sum(facade.requests.values())
        with searcher(indexed) as found:
            found.search(QUESTION, mode=mode)
        return sum(facade.requests.values()) - before

    alone = requests("dense"), requests("sparse")
    write_foreign(indexed, *[LANGCHAIN] * 20)
    # The collection's description tells of them, so the first search already leaves them out.
    assert (requests("dense"), requests("sparse")) == alone


def test_commands_tolerate_foreign_points(indexed: World, tmp_path: Path) -> None:
    write_foreign(indexed, LANGCHAIN, LLAMA_INDEX, {"source": "docs/p1.md", "mark": "en"}, {})
    code, text = run(indexed, tmp_path, "status", "--json")
    assert code == 0
    body = json.loads(text)
    assert (body["foreign_points"], body["documents"]) == (4, 12)
    code, text = run(indexed, tmp_path, "status")
    assert "points of other programs: 4" in text
    code, text = run(indexed, tmp_path, "verify", "--json")
    assert code == 3
    assert [fault["kind"] for fault in json.loads(text)["faults"]] == ["stray"] * 4
    assert "point 1 " in json.loads(text)["faults"][0]["what"]
    assert run(indexed, tmp_path, "show", "docs/p1.md")[0] == 0
    assert indexed.ingest().documents.unchanged == 12
    code, text = run(indexed, tmp_path, "delete", "--yes", "p1.md")
    assert code == 0
    with reading(indexed) as collection:
        left = {point.id for point in collection.scroll()}
        assert {"1", "2", "3", "4"} <= left
        assert len(read_state(collection).documents) == 11


def test_a_short_name_means_a_document_of_ragctl(indexed: World, tmp_path: Path) -> None:
    write_foreign(indexed, {"source": "p1.md"}, {"source": "theirs/p1.md"})
    code, text = run(indexed, tmp_path, "show", "p1.md")
    assert code == 0, text
    assert text.startswith("docs/p1.md")


def test_a_file_read_again_changes_no_foreign_point(indexed: World) -> None:
    foreign = {"source": "docs/p7.md", "text_hash": "theirs", "size": 5}
    write_foreign(indexed, foreign)
    text = (indexed.root / "p7.md").read_text()
    indexed.write("p7.md", text)  # a new modification time: the file is sealed again
    assert indexed.ingest().documents.unchanged == 12
    with reading(indexed) as collection:
        (point,) = collection.retrieve(["1"])
        assert point.payload == foreign
    assert stored(indexed, "valve number 7")["payload"]["mtime_ns"] == (
        (indexed.root / "p7.md").stat().st_mtime_ns
    )


def test_commands_tolerate_malformed_payloads(indexed: World, tmp_path: Path) -> None:
    many = {**stored(indexed, "valve number 7")["payload"], "chunks": 10**12}
    write_foreign(indexed, *malformed(indexed), many)
    assert run(indexed, tmp_path, "status")[0] == 0
    assert run(indexed, tmp_path, "verify")[0] == 3
    assert run(indexed, tmp_path, "show", "p7.md")[0] == 0
    questions = tmp_path / "q.jsonl"
    row = {"query": QUESTION, "relevant": [{"source": "p7.md"}]}
    questions.write_text(json.dumps(row) + "\n", encoding="utf-8")
    code, text = run(indexed, tmp_path, "eval", str(questions), "--sweep", "dim=32,64")
    assert code == 0, text
    code, text = run(indexed, tmp_path, "eval", "--make", "5", "--out", "made.jsonl")
    assert code == 0, text
    indexed.ingest()
    indexed.write("p7.md", paragraphs("valve number 7 again"))
    assert indexed.ingest().documents.updated == 1
    assert run(indexed, tmp_path, "delete", "--yes", "p7.md")[0] == 0


def test_only_a_repair_with_the_flag_removes_foreign_points(indexed: World) -> None:
    before = indexed.state()
    write_foreign(indexed, LANGCHAIN, LLAMA_INDEX)
    indexed.write("p1.md", paragraphs("valve number 1", "pump 1"))
    indexed.ingest()
    with reading(indexed) as collection:
        assert collection.count() == len(before) + 2

    def repair(*, remove: bool) -> int:
        job = indexed.run()
        job.repair, job.remove_foreign = True, remove
        with closing(job.store):
            job.ingest()
        with reading(indexed) as collection:
            return collection.count() - len(before)

    assert repair(remove=False) == 2
    assert repair(remove=True) == 0
    assert indexed.state().keys() == before.keys()


def test_a_repair_restores_a_damaged_payload(indexed: World) -> None:
    before = indexed.state()
    with reading(indexed) as collection:
        points = [p for p in collection.scroll() if p.payload["source"] == "docs/p7.md"]
        broken: Payload = {**points[0].payload, "heading": "no list"}  # type: ignore[typeddict-item]
        lost: Payload = {"text": "x"}
        collection.apply(
            Batch(overwrites=[(points[0].id, broken), (points[1].id, lost)]),
        )
        assert [d.source for d in read_state(collection).documents.values() if not d.complete] == [
            "docs/p7.md"
        ]
    job = indexed.run()
    job.repair = True
    with closing(job.store):
        job.ingest()
    assert indexed.state() == before
