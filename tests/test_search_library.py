"""The library: kept open in a service, shared by threads and tasks, during ingests."""

import asyncio
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import ragctl
from ragctl.collection.conditions import Match
from ragctl.errors import BackendError, StoreError, UsageError
from ragctl.records import Hit
from ragctl.search.aio import AsyncSearcher, open_collection_async
from ragctl.search.library import open_collection
from ragctl.stores import open_store
from ragctl.stores.base import Batch
from tests.command import call
from tests.searching import searcher
from tests.servers import faults
from tests.waiting import until
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture
def indexed(world: World) -> World:
    world.write("a.md", paragraphs("pump", "fan"))
    world.write("b.md", paragraphs("coil", "drain"))
    world.ingest()
    return world


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert ragctl.open_collection is open_collection
    assert {name: getattr(ragctl, name) for name in ragctl.__all__}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ragctl.nothing  # noqa: B018
    code = (
        "import sys, ragctl\n"
        "loaded = [name for name in sys.modules if name.startswith('ragctl.')]\n"
        "heavy = {'numpy', 'httpx', 'qdrant_edge', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'{loaded} {heavy}' if loaded or heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_backend_is_connected_on_first_use_and_kept(indexed: World) -> None:
    with open_collection(store=indexed.store, environ={}) as found:
        assert found.search("pump", mode="sparse")
        with pytest.raises(BackendError, match="JINA_API_KEY"):
            found.search("pump")
    with searcher(indexed) as found:
        indexed.forget()
        connections = indexed.server.connections
        for _ in range(3):
            assert found.search("pump")
        assert len(indexed.server.requests) == 3
        assert indexed.server.connections - connections == 1


def test_documents_indexed_later_are_found(indexed: World) -> None:
    with searcher(indexed) as found:
        assert not found.search("zebra", mode="sparse")
        indexed.write("c.md", "# Zebra\n\nA zebra stands by the pump.\n")
        indexed.ingest()
        assert found.search("zebra", mode="sparse")[0].source == "docs/c.md"


def test_a_recreated_collection_is_searched_with_its_new_settings(indexed: World) -> None:
    with searcher(indexed) as found:
        assert found.search("pump")
        with closing(open_store(indexed.store, environ={})) as store:
            store.drop("docs")
        with pytest.raises(UsageError, match="was dropped after"):
            found.search("pump")
        with pytest.raises(UsageError, match="no collection 'docs'"):
            found.search("pump")
        smaller = replace(indexed.pipeline().embedding, dim=32)
        indexed.ingest(embedding=smaller)
        assert {hit.source for hit in found.search("pump")} == {"docs/a.md", "docs/b.md"}
        with closing(open_store(indexed.store, environ={})) as store:
            store.drop("docs")
        indexed.ingest()  # back to the first dimension
        assert found.search("pump", mode="dense")[0].source == "docs/a.md"


def test_a_collection_recreated_with_the_same_settings_is_noticed(indexed: World) -> None:
    """The old shard is still open for a moment, and no write makes the searcher reopen it."""
    with searcher(indexed) as found, closing(open_store(indexed.store, environ={})) as store:
        with closing(indexed.open()) as old:
            settings = old.settings
        assert found.search("pump", mode="sparse")
        store.drop("docs")
        store.create("docs", settings).close()
        assert found.search("pump", mode="sparse") == []
        with closing(indexed.open()) as new:
            assert new.settings == settings
            assert new.settings.creation_id not in ("", settings.creation_id)
            new.note({"billed": {"jina": 1}})
        with closing(indexed.open()) as again:
            assert again.settings.creation_id == new.settings.creation_id  # a write keeps it
        indexed.ingest()
        assert found.search("pump", mode="sparse")


def test_an_ingest_keeps_the_connection(indexed: World) -> None:
    """The searcher is not reconnected when another process writes."""
    with searcher(indexed) as found:
        found.search("pump")
        connections = indexed.server.connections
        indexed.write("c.md", paragraphs("zebra"))
        indexed.ingest()
        more = indexed.server.connections - connections  # connections of the ingest
        assert found.search("zebra", mode="dense")[0].source == "docs/c.md"
        assert indexed.server.connections - connections == more


def test_threads_share_a_searcher(indexed: World) -> None:
    questions = ["pump dry", "fan", "coil open", "drain"] * 8
    with searcher(indexed) as found, ThreadPoolExecutor(8) as pool:
        alone = {text: found.search(text) for text in set(questions)}
        together = list(pool.map(found.search, questions))
    assert together == [alone[text] for text in questions]


def test_threads_survive_a_recreated_collection(edge_world: World) -> None:
    """No thread sees a closed collection or vectors of another dimension."""
    edge_world.write("a.md", paragraphs("pump", "fan"))
    edge_world.ingest()
    end = threading.Event()
    unexpected: list[BaseException] = []
    searched = 0
    count = threading.Lock()

    def ask() -> None:
        nonlocal searched
        while not end.is_set():
            try:
                found.search("pump", mode="dense")
            except UsageError as error:
                if "collection" not in str(error):
                    unexpected.append(error)
            except StoreError:
                pass  # during the drop itself
            except BaseException as error:
                unexpected.append(error)
                raise
            with count:
                searched += 1

    with searcher(edge_world) as found:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for dim in (32, 64):
            before = searched
            until(lambda before=before: searched > before + 5)  # type: ignore[misc]
            with closing(open_store(edge_world.store, environ={})) as store:
                store.drop("docs")
            edge_world.ingest(embedding=replace(edge_world.pipeline().embedding, dim=dim))
        end.set()
        for thread in threads:
            thread.join()
        assert not unexpected
        assert found.search("pump", mode="dense")


def test_threads_follow_the_name_to_new_generations(edge_world: World) -> None:
    """Every search answers, also when its generation is deleted while it runs."""
    edge_world.write("a.md", paragraphs("pump", "fan"))
    edge_world.ingest()
    end = threading.Event()
    unexpected: list[BaseException] = []
    searched = 0

    def ask() -> None:
        nonlocal searched
        while not end.is_set():
            try:
                assert found.search("pump", mode="sparse")[0].source == "docs/a.md"
                searched += 1
            except BaseException as error:
                unexpected.append(error)
                raise

    with (
        closing(open_store(edge_world.store, environ={})) as store,
        searcher(edge_world) as found,
    ):
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(2, 5):
            with closing(edge_world.open()) as old:
                points = list(old.scroll(vectors=True))
                with closing(store.create_generation("docs", old.settings)) as new:
                    new.apply(Batch(upserts=points))
            store.switch("docs", number)
            store.drop_generation("docs", number - 1)
            before = searched
            until(lambda before=before: searched > before or bool(unexpected))  # type: ignore[misc]
        end.set()
        for thread in threads:
            thread.join()
        assert not unexpected


def test_search_many_answers_in_order_and_reads_lazily(indexed: World) -> None:
    taken: list[int] = []

    def questions() -> object:
        for number in range(200):
            taken.append(number)
            yield "?!" if number == 3 else f"pump {number}"

    with searcher(indexed) as found:
        outcomes = found.search_many(questions(), limit=1, mode="sparse")  # type: ignore[arg-type]
        first = next(outcomes)
        assert isinstance(first, list)
        assert len(taken) < 100
        rest = list(outcomes)
    assert len(rest) == 199
    assert isinstance(rest[2], UsageError)
    assert sum(isinstance(outcome, list) for outcome in rest) == 198


def test_conditions_may_be_text_or_values(indexed: World) -> None:
    with searcher(indexed) as found:
        by_text = found.search("pump", where="source=docs/b.md")
        assert {hit.source for hit in by_text} == {"docs/b.md"}
        assert found.search("pump", where=Match("source", ("docs/b.md",))) == by_text
        assert found.search("pump", where=["source^=b", Match("page", (3,))]) == []
        with pytest.raises(UsageError, match="at its end"):
            found.search("pump", where="source>")


def test_a_closed_searcher_raises(indexed: World) -> None:
    found = searcher(indexed)
    found.close()
    found.close()
    with pytest.raises(StoreError, match="was closed"):
        found.search("pump")


def test_a_missing_collection_raises(world: World) -> None:
    with pytest.raises(UsageError, match="no collection 'docs'"):
        searcher(world)


def test_a_pipeline_file_gives_all_settings(indexed: World, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(
        f'store = "{indexed.store}"\ncollection = "docs"\n[[sources]]\npath = "docs"\n'
        f'[embedding]\nbackend = "jina"\nbase_url = "{indexed.server.url}"\n'
    )
    with open_collection(pipeline=file, environ=indexed.environ) as found:
        assert found.search("pump")[0].source == "docs/a.md"


def test_tasks_share_an_async_searcher(indexed: World) -> None:
    async def ask() -> list[list[Hit]]:
        async with await open_collection_async(
            "docs", store=indexed.store, environ=indexed.environ
        ) as found:
            hits = await asyncio.gather(*(found.search("coil", limit=1) for _ in range(12)))
            many = [o async for o in found.search_many(["pump", "fan"], limit=1)]
            assert [isinstance(outcome, list) for outcome in many] == [True, True]
            return hits

    found = asyncio.run(ask())
    assert len(found) == 12
    assert {hits[0].source for hits in found} == {"docs/b.md"}


def test_a_cancelled_task_does_not_affect_others(indexed: World) -> None:
    async def ask() -> str:
        async with await open_collection_async(
            "docs", store=indexed.store, environ=indexed.environ
        ) as found:
            indexed.server.gate.clear()
            slow = asyncio.create_task(found.search("pump"))
            while not indexed.server.in_flight:
                await asyncio.sleep(0)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            words = await found.search("pump", mode="sparse")  # other searches still work
            indexed.server.gate.set()
            after = await found.search("pump")
            return words[0].source + after[0].source

    assert asyncio.run(ask()) == "docs/a.mddocs/a.md"


def test_a_closed_async_searcher_raises(indexed: World) -> None:
    async def ask() -> list[list[Hit] | BaseException]:
        found = AsyncSearcher(searcher(indexed), threads=1)
        indexed.server.gate.clear()
        running = asyncio.create_task(found.search("pump"))
        while not indexed.server.in_flight:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(found.search("pump", mode="sparse"))
        await asyncio.sleep(0)
        closing_ = asyncio.create_task(found.close())
        await asyncio.sleep(0)
        indexed.server.gate.set()
        both = list(await asyncio.gather(running, waiting, return_exceptions=True))
        await closing_
        await found.close()
        with pytest.raises(StoreError, match="was closed"):
            await found.search("pump")
        return both

    first, second = asyncio.run(ask())
    assert isinstance(first, list)
    assert isinstance(second, StoreError)
    assert "was closed" in str(second)


def test_a_backend_failure_affects_one_search(indexed: World) -> None:
    with searcher(indexed) as found:
        indexed.server.faults.append(faults.one_item_missing())
        with pytest.raises(BackendError):
            found.search("pump")
        assert found.search("pump")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("how long is a firmware version supported?", "corrections for 30 months"),
        ("how long is hourly data kept?", "hourly averages for three years"),
    ],
)
def test_the_script_in_the_documentation_works(
    tmp_path_factory: pytest.TempPathFactory, question: str, answer: str
) -> None:
    """A copy of it elsewhere finds what the README asks, and makes no collection."""
    base = tmp_path_factory.getbasetemp()  # the second question finds the documents indexed
    environ = {"PYTHONPATH": str(ROOT), "RAGCTL_HOME": str(base), "PATH": "/usr/bin:/bin"}
    indexed = call("ingest", "sample_docs", "-c", "samples", environ=environ, cwd=ROOT)
    assert indexed.returncode == 0, indexed.stderr
    script = shutil.copy(ROOT / "docs" / "answer.py", base)
    assert len(Path(script).read_text(encoding="utf-8").splitlines()) < 24
    done = run_script(script, "samples", question, environ=environ, cwd=base)
    assert done.returncode == 0, done.stderr
    first = done.stdout.split("\n\n[")[0]
    assert answer in " ".join(first.split())
    assert [each.name for each in (base / "collections").iterdir()] == ["samples"]


def test_the_script_says_that_there_is_no_such_collection(tmp_path: Path) -> None:
    environ = {"PYTHONPATH": str(ROOT), "RAGCTL_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    script = ROOT / "docs" / "answer.py"
    done = run_script(script, "gone", "pump", environ=environ, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("answer.py: no collection 'gone' in ")
    assert "Traceback" not in done.stderr


def run_script(
    script: str | Path, *words: str, environ: dict[str, str], cwd: Path
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, script, *words],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
