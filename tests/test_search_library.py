"""The library: kept open in a service, shared by threads and tasks, while others index."""

import asyncio
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
from tests.searching import searcher
from tests.servers import faults
from tests.waiting import until
from tests.world import World, paragraphs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def filled(world: World) -> World:
    world.write("a.md", paragraphs("pump", "fan"))
    world.write("b.md", paragraphs("coil", "drain"))
    world.ingest()
    return world


def test_the_package_offers_it_and_costs_nothing() -> None:
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


def test_the_model_is_connected_when_it_is_needed_and_kept(filled: World) -> None:
    with open_collection(store=filled.store, environ={}) as found:
        assert found.search("pump", mode="sparse")
        with pytest.raises(BackendError, match="JINA_API_KEY"):
            found.search("pump")
    with searcher(filled) as found:
        filled.forget()
        connections = filled.server.connections
        for _ in range(3):
            assert found.search("pump")
        assert len(filled.server.requests) == 3
        assert filled.server.connections - connections == 1


def test_what_another_process_indexes_is_found(filled: World) -> None:
    with searcher(filled) as found:
        assert not found.search("zebra", mode="sparse")
        filled.write("c.md", "# Zebra\n\nA zebra stands by the pump.\n")
        filled.ingest()
        assert found.search("zebra", mode="sparse")[0].source == "c.md"


def test_a_collection_made_anew_is_searched_as_it_is(filled: World) -> None:
    with searcher(filled) as found:
        assert found.search("pump")
        with closing(open_store(filled.store, environ={})) as store:
            store.drop("docs")
        with pytest.raises(UsageError, match="was dropped after"):
            found.search("pump")
        with pytest.raises(UsageError, match="no collection 'docs'"):
            found.search("pump")
        smaller = replace(filled.pipeline().embedding, dim=32)
        filled.ingest(embedding=smaller)
        assert {hit.source for hit in found.search("pump")} == {"a.md", "b.md"}
        with closing(open_store(filled.store, environ={})) as store:
            store.drop("docs")
        filled.ingest()  # at once at the first size again
        assert found.search("pump", mode="dense")[0].source == "a.md"


def test_one_made_anew_with_the_same_settings_is_another(filled: World) -> None:
    """The old shard is open for a moment more, and nothing is written that would ask for it."""
    with searcher(filled) as found, closing(open_store(filled.store, environ={})) as store:
        with closing(filled.open()) as old:
            settings = old.settings
        assert found.search("pump", mode="sparse")
        store.drop("docs")
        store.create("docs", settings).close()
        assert found.search("pump", mode="sparse") == []
        with closing(filled.open()) as new:
            assert new.settings == settings
            assert new.settings.creation_id not in ("", settings.creation_id)
            new.note({"billed": {"jina": 1}})
        with closing(filled.open()) as again:
            assert again.settings.creation_id == new.settings.creation_id  # and writing keeps it
        filled.ingest()
        assert found.search("pump", mode="sparse")


def test_an_ingest_is_no_other_collection(filled: World) -> None:
    """What is connected stays so while cron writes."""
    with searcher(filled) as found:
        found.search("pump")
        connections = filled.server.connections
        filled.write("c.md", paragraphs("zebra"))
        filled.ingest()
        more = filled.server.connections - connections  # of the ingest
        assert found.search("zebra", mode="dense")[0].source == "c.md"
        assert filled.server.connections - connections == more


def test_threads_share_it(filled: World) -> None:
    questions = ["pump dry", "fan", "coil open", "drain"] * 8
    with searcher(filled) as found, ThreadPoolExecutor(8) as pool:
        alone = {text: found.search(text) for text in set(questions)}
        together = list(pool.map(found.search, questions))
    assert together == [alone[text] for text in questions]


def test_threads_survive_a_collection_made_anew(edge_world: World) -> None:
    """None of them sees a closed collection or another model's vectors."""
    edge_world.write("a.md", paragraphs("pump", "fan"))
    edge_world.ingest()
    end = threading.Event()
    wrong: list[BaseException] = []
    searched = 0
    count = threading.Lock()

    def ask() -> None:
        nonlocal searched
        while not end.is_set():
            try:
                found.search("pump", mode="dense")
            except UsageError as error:
                if "collection" not in str(error):
                    wrong.append(error)
            except StoreError:
                pass  # in the instant of the drop itself
            except BaseException as error:
                wrong.append(error)
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
        assert not wrong
        assert found.search("pump", mode="dense")


def test_many_in_order_and_as_they_are_needed(filled: World) -> None:
    taken: list[int] = []

    def questions() -> object:
        for number in range(200):
            taken.append(number)
            yield "?!" if number == 3 else f"pump {number}"

    with searcher(filled) as found:
        outcomes = found.search_many(questions(), limit=1, mode="sparse")  # type: ignore[arg-type]
        first = next(outcomes)
        assert isinstance(first, list)
        assert len(taken) < 100
        rest = list(outcomes)
    assert len(rest) == 199
    assert isinstance(rest[2], UsageError)
    assert sum(isinstance(outcome, list) for outcome in rest) == 198


def test_conditions_as_text_or_values(filled: World) -> None:
    with searcher(filled) as found:
        by_text = found.search("pump", where="source=b.md")
        assert {hit.source for hit in by_text} == {"b.md"}
        assert found.search("pump", where=Match("source", ("b.md",))) == by_text
        assert found.search("pump", where=["source^=b", Match("page", (3,))]) == []
        with pytest.raises(UsageError, match="at its end"):
            found.search("pump", where="source>")


def test_a_closed_one_says_so(filled: World) -> None:
    found = searcher(filled)
    found.close()
    found.close()
    with pytest.raises(StoreError, match="was closed"):
        found.search("pump")


def test_what_is_not_there(world: World) -> None:
    with pytest.raises(UsageError, match="no collection 'docs'"):
        searcher(world)


def test_a_pipeline_names_it_all(filled: World, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(
        f'store = "{filled.store}"\ncollection = "docs"\n[[sources]]\npath = "docs"\n'
        f'[embedding]\nbackend = "jina"\nbase_url = "{filled.server.url}"\n'
    )
    with open_collection(pipeline=file, environ=filled.environ) as found:
        assert found.search("pump")[0].source == "a.md"


def test_tasks_share_it(filled: World) -> None:
    async def ask() -> list[list[Hit]]:
        async with await open_collection_async(
            "docs", store=filled.store, environ=filled.environ
        ) as found:
            hits = await asyncio.gather(*(found.search("coil", limit=1) for _ in range(12)))
            many = [o async for o in found.search_many(["pump", "fan"], limit=1)]
            assert [isinstance(outcome, list) for outcome in many] == [True, True]
            return hits

    found = asyncio.run(ask())
    assert len(found) == 12
    assert {hits[0].source for hits in found} == {"b.md"}


def test_a_cancelled_task_leaves_the_others_alone(filled: World) -> None:
    async def ask() -> str:
        async with await open_collection_async(
            "docs", store=filled.store, environ=filled.environ
        ) as found:
            filled.server.gate.clear()
            slow = asyncio.create_task(found.search("pump"))
            while not filled.server.in_flight:
                await asyncio.sleep(0)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            words = await found.search("pump", mode="sparse")  # the loop and the rest go on
            filled.server.gate.set()
            after = await found.search("pump")
            return words[0].source + after[0].source

    assert asyncio.run(ask()) == "a.mda.md"


def test_a_closed_twin_says_so(filled: World) -> None:
    async def ask() -> list[list[Hit] | BaseException]:
        found = AsyncSearcher(searcher(filled), threads=1)
        filled.server.gate.clear()
        running = asyncio.create_task(found.search("pump"))
        while not filled.server.in_flight:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(found.search("pump", mode="sparse"))
        await asyncio.sleep(0)
        closing_ = asyncio.create_task(found.close())
        await asyncio.sleep(0)
        filled.server.gate.set()
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


def test_a_failing_backend_ends_one_search(filled: World) -> None:
    with searcher(filled) as found:
        filled.server.faults.append(faults.one_item_missing())
        with pytest.raises(BackendError):
            found.search("pump")
        assert found.search("pump")


def test_the_script_of_the_documentation(tmp_path: Path) -> None:
    script = ROOT / "docs" / "answer.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) < 20
    done = subprocess.run(
        [sys.executable, script, "how long is hourly data kept?"],
        env={"PYTHONPATH": str(ROOT), "RAGCTL_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hourly averages for three years" in done.stdout
