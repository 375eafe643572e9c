"""Rescoring in quantised collections: by flags, in the library, for many questions."""

import asyncio
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragctl.errors import UsageError
from ragctl.pipeline import Embedding
from ragctl.records import Hit
from ragctl.search.aio import open_collection_async
from tests.searching import searcher
from tests.servers.jina import JinaServer
from tests.servers.qdrant import QdrantFacade
from tests.test_search_many import command
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

QUESTION = "pump valve drain"
WORDS = ("pump", "valve", "drain", "coil", "fan", "duct", "seal", "frost", "relay", "meter")
BUILTIN = Embedding("builtin", 512)

SourcesAndScores = list[tuple[str, float]]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Ingest enough chunks for the engine to quantise: it does not quantise smaller segments."""
    folder = tmp_path_factory.mktemp("quantised")
    rng = random.Random(7)
    texts = [" ".join(rng.choices(WORDS, k=12)) for _ in range(400)]
    with JinaServer("unused") as host:
        world = World(folder / "docs", str(folder / "store"), host)
        rows = (json.dumps({"id": f"{n}", "text": text}) for n, text in enumerate(texts))
        world.write("q.jsonl", "\n".join(rows))
        world.ingest(embedding=BUILTIN, quantization="binary")
        yield world


def sources_and_scores(hits: object) -> SourcesAndScores:
    assert isinstance(hits, list)
    return [(hit.source, hit.score) for hit in hits]


def test_rescoring_decides_which_chunks_are_found(quantised: World) -> None:
    with searcher(quantised) as found:

        def search(**options: object) -> SourcesAndScores:
            return sources_and_scores(found.search(QUESTION, mode="dense", limit=20, **options))  # type: ignore[arg-type]

        exact, coarse, narrow = search(exact=True), search(rescore=False), search(oversampling=1.0)
        assert search() == search(rescore=True) == search(oversampling=2.0)
        assert search(oversampling=100.0) == exact  # every chunk is rescored
        assert dict(narrow).keys() != dict(exact).keys()
        scores = dict(
            sources_and_scores(found.search(QUESTION, mode="dense", limit=400, exact=True))
        )
        assert all(score == pytest.approx(scores[name]) for name, score in narrow)
        assert not all(score == pytest.approx(scores[name]) for name, score in coarse)
        (many,) = found.search_many([QUESTION], mode="dense", limit=20, rescore=False)
        assert sources_and_scores(many) == coarse

    async def search_async() -> SourcesAndScores:
        async with await open_collection_async("docs", store=quantised.store, environ={}) as other:
            return sources_and_scores(
                await other.search(QUESTION, mode="dense", limit=20, rescore=False)
            )

    assert asyncio.run(search_async()) == coarse


def hits_of_lines(done: subprocess.CompletedProcess[str]) -> list[SourcesAndScores]:
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [[(hit["source"], hit["score"]) for hit in row["hits"]] for row in found]


def test_flags_apply_to_one_and_to_many_questions(quantised: World, tmp_path: Path) -> None:
    words = ("search", "--mode", "dense", "-n", "20", "--store", quantised.store)
    with searcher(quantised) as found:
        coarse, narrow = (
            sources_and_scores(found.search(QUESTION, mode="dense", limit=20, rescore=False)),
            sources_and_scores(found.search(QUESTION, mode="dense", limit=20, oversampling=1)),
        )
    (tmp_path / "q.txt").write_text(f"{QUESTION}\n{QUESTION}\n")
    many = command(tmp_path, *words, "--no-rescore", "--queries", "q.txt")
    assert hits_of_lines(many) == [coarse, coarse]
    one = command(tmp_path, *words, "--rescore", "--oversampling", "1", "--json", QUESTION)
    assert [(hit["source"], hit["score"]) for hit in json.loads(one.stdout)["hits"]] == narrow


def test_the_options_are_sent_to_a_server(tmp_path: Path, host: JinaServer) -> None:
    with QdrantFacade() as facade:
        world = World(tmp_path / "docs", facade.url, host)
        world.write("a.md", paragraphs("pump", "fan"))
        world.ingest(quantization="scalar")
        with searcher(world) as found:
            for options, expected in (
                ({}, {"rescore": True, "oversampling": 2.0}),
                ({"rescore": False}, {"rescore": False, "oversampling": 2.0}),
                ({"oversampling": 3.5}, {"rescore": True, "oversampling": 3.5}),
            ):
                facade.engine.searches.clear()
                found.search("pump", **options)
                quantization_params = [
                    search.quantization.model_dump(exclude_unset=True)
                    for search in facade.engine.searches
                    if search.quantization is not None
                ]
                assert quantization_params
                assert all(params == expected for params in quantization_params)


@pytest.mark.parametrize("options", [{"rescore": True}, {"rescore": False}, {"oversampling": 2.0}])
def test_the_options_are_refused_without_quantisation(
    world: World, options: dict[str, object]
) -> None:
    world.write("a.md", paragraphs("pump"))
    world.ingest()
    with searcher(world) as found:
        world.forget()
        with pytest.raises(
            UsageError, match=r"(rescore|oversampling): the collection is not quantised"
        ):
            found.search("pump", **options)  # type: ignore[arg-type]
        assert not world.server.requests
        assert isinstance(found.search("pump")[0], Hit)


def test_the_flag_is_refused_without_quantisation(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(paragraphs("pump"))
    assert command(tmp_path, "ingest", "docs").returncode == 0
    for words in (("pump",), ("--queries", "-", "--out", "r.jsonl")):
        done = command(tmp_path, "search", *words, "--no-rescore", data=b"pump\n")
        assert done.returncode == 2
        assert done.stderr.startswith("ragctl: --rescore: the collection is not quantised")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "r.jsonl").exists()
