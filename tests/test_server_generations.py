"""Aliases, rights and damage on a server: what the contract of generations does not say."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragctl.errors import GenerationDropped, Locked, StoreError, UnreadableCollection
from ragctl.stores.base import Batch, Query
from ragctl.stores.server import ServerStore
from tests.command import call
from tests.servers.jina import JinaServer
from tests.servers.qdrant import Fault, QdrantFacade
from tests.servers.qdrant_rights import token
from tests.store_contract import SETTINGS, axis, ident, point
from tests.test_kill import command
from tests.world import KEY as JINA_KEY
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

KEY, READ_ONLY = "manage-key", "read-key"
ALIASES = "POST /collections/aliases"
RETRIEVE = "POST /collections/{name}/points"
VERSIONS = pytest.mark.parametrize("facade", ["1.15.4", "1.19.0"], indirect=True)

Connect = Callable[..., ServerStore]


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    version = getattr(request, "param", "1.17.0")
    with QdrantFacade(version=version, api_key=KEY, read_only_key=READ_ONLY) as facade:
        yield facade


@pytest.fixture
def connect(facade: QdrantFacade, tmp_path: Path) -> Iterator[Connect]:
    """Return a function: the store of a host with a key."""
    with ExitStack() as stack:

        def store(host: str = "a", key: str = KEY, **options: Any) -> ServerStore:
            settings = {"patience": 5.0, "backoff": 0.01, "lease": 3.0, **options}
            made = ServerStore(facade.url, api_key=key, state=tmp_path / host, **settings)
            stack.callback(made.close)
            return made

        yield store


def alias(facade: QdrantFacade, name: str, target: str) -> None:
    facade.engine.aliases[name] = target


def places(facade: QdrantFacade) -> list[str]:
    return sorted(facade.engine._local.collections)


def ids(store: ServerStore, name: str = "docs") -> set[str]:
    found = store.open(name)
    assert found is not None
    return {each.id for each in found.scroll()}


# Aliases


@VERSIONS
@pytest.mark.parametrize("plain", [False, True])
def test_a_users_alias_is_read_and_written_but_not_deleted(
    facade: QdrantFacade, connect: Connect, plain: bool
) -> None:
    store = connect()
    facade.inject(Fault("status", ALIASES, status=403, times=int(plain)))
    store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    alias(facade, "prod", "docs" if plain else "docs@1")
    assert store.names() == ["docs"]
    with store.lock("prod"):
        with pytest.raises(Locked), connect("b").lock("docs"):
            pass
        found = store.open("prod")
        assert found is not None
        found.apply(Batch(upserts=[point(2)]))
    assert ids(store) == {ident(1), ident(2)}
    refusal = r"'prod' at \S+ is an alias of collection 'docs'.*: ragctl delete --all -c docs$"
    with pytest.raises(StoreError, match=refusal), store.lock("prod"):
        store.drop("prod")
    with connect("b").lock("docs"):  # the lease was released
        pass
    assert ids(store) == {ident(1), ident(2)}
    with pytest.raises(StoreError, match="alias of collection 'docs'"):
        store.create_generation("prod", SETTINGS)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
def test_without_permission_for_aliases_a_plain_collection_is_made(
    facade: QdrantFacade, connect: Connect, status: int
) -> None:
    store = connect(patience=0.2)
    facade.inject(Fault("status", ALIASES, status=status, times=99, message="no aliases"))
    if status == 501:
        with store.lock("docs"):
            store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    else:
        store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    assert places(facade) == store.names() == ["docs"]
    assert [each.number for each in store.generations("docs")] == [1]
    with pytest.raises(StoreError, match=r"aliases were not permitted.*right to manage.*copy"):
        store.create_generation("docs", SETTINGS)
    with store.lock("docs"):
        store.drop("docs")
    assert places(facade) == []


@VERSIONS
def test_an_interrupted_creation_is_no_collection_and_is_repeated(
    facade: QdrantFacade, connect: Connect
) -> None:
    facade.inject(Fault("status", ALIASES, status=400, times=99))
    facade.inject(Fault("status", "DELETE *", status=400, times=99))
    with pytest.raises(StoreError):
        connect().create("docs", SETTINGS)
    facade.faults.clear()
    store = connect()
    assert places(facade) == ["docs@1"]
    assert (store.names(), store.open("docs"), store.generations("docs")) == ([], None, [])
    other = replace(SETTINGS, fields={"year": "integer"})
    store.create("docs", other).apply(Batch(upserts=[point(1)]))
    assert store.names() == ["docs"]
    found = store.open("docs")
    assert found is not None
    assert found.settings == other


def test_a_collection_without_its_alias_is_listed_switched_and_deleted(
    facade: QdrantFacade, connect: Connect
) -> None:
    store = connect()
    store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    store.create_generation("docs", SETTINGS)
    del facade.engine.aliases["docs"]
    assert store.names() == ["docs"]
    assert [(g.number, g.current) for g in store.generations("docs")] == [(1, False), (2, False)]
    refusals: list[Callable[[], object]] = [
        lambda: store.open("docs"),
        lambda: store.create("docs", SETTINGS),
    ]
    for refused in refusals:
        with pytest.raises(UnreadableCollection, match=r"alias is missing \(generations: 1, 2\)"):
            refused()
    with store.lock("docs"):
        store.switch("docs", 1)
        with pytest.raises(Locked), connect("b").lock("docs"):
            pass
    assert ids(store) == {ident(1)}
    del facade.engine.aliases["docs"]
    store.drop("docs")
    assert places(facade) == []


@VERSIONS
def test_a_switch_takes_the_lease_along(facade: QdrantFacade, connect: Connect) -> None:
    """A run that waits begins with the generation that is current when it gets the lease."""
    store, other = connect(), connect("b")
    store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    store.create_generation("docs", SETTINGS)
    waiting, done = threading.Event(), threading.Event()

    def write() -> None:
        with other.lock("docs", patience=60.0, waiting=lambda _: waiting.set()):
            found = other.open("docs")
            assert found is not None
            found.apply(Batch(upserts=[point(found.settings.generation + 10)]))
        done.set()

    thread = threading.Thread(target=write)
    with store.lock("docs"):
        thread.start()
        assert waiting.wait(30)
        store.switch("docs", 2)
        assert not done.wait(0.5)
        found = store.open("docs")
        assert found is not None
        found.apply(Batch(upserts=[point(2)]))
    thread.join(30)
    assert done.is_set()
    assert ids(store) == {ident(2), ident(12)}
    with store.lock("docs", generation=1):  # its lease was freed
        pass


def test_a_failed_switch_keeps_the_lease_where_it_was(
    facade: QdrantFacade, connect: Connect
) -> None:
    store = connect()
    store.create("docs", SETTINGS)
    store.create_generation("docs", SETTINGS)
    with store.lock("docs"):
        facade.inject(Fault("status", ALIASES, status=403, message="Forbidden: no"))
        with pytest.raises(StoreError, match="key with the right to manage collections"):
            store.switch("docs", 2)
        with pytest.raises(Locked), connect("b").lock("docs"):
            pass
        store.switch("docs", 2)
    with connect("b").lock("docs"):
        pass


def test_an_interrupted_deletion_leaves_the_current_generation(
    facade: QdrantFacade, connect: Connect
) -> None:
    store = connect()
    store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    store.create_generation("docs", SETTINGS)
    facade.inject(Fault("status", "DELETE *", status=400, skip=1))
    with pytest.raises(StoreError), store.lock("docs"):
        store.drop("docs")
    assert places(facade) == ["docs@1"]
    assert ids(store) == {ident(1)}
    with connect("b").lock("docs"):
        connect("b").drop("docs")
    assert (places(facade), facade.engine.aliases) == ([], {})


# Rights


@VERSIONS
def test_a_key_for_one_collection_runs_everything_but_creation_and_deletion(
    facade: QdrantFacade, connect: Connect
) -> None:
    manager = connect()
    manager.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    store = connect("b", token(KEY, {"docs": "rw"}))
    with store.lock("docs"):
        found = store.open("docs")
        assert found is not None
        found.apply(Batch(upserts=[point(2)], deletes=[ident(1)]))
        found.note({"billed": {"jina": 1}})
        found.declare({"year": "integer"})
        assert found.count() == 1
        assert [hit.id for hit in found.query(Query(3, dense=axis(2)))] == [ident(2)]
        found.finish()
        manage = "a key with the right to manage collections.*Global access is required"
        with pytest.raises(StoreError, match=manage):
            store.drop("docs")
    for key in (token(KEY, {"docs": "rw", "new": "rw"}), READ_ONLY):
        with pytest.raises(StoreError, match="a key with the right to manage collections"):
            connect("c", key).create("new", SETTINGS)
    assert ids(manager) == {ident(2)}


def test_a_key_that_may_use_the_name_alone_reads_one_generation(
    facade: QdrantFacade, connect: Connect
) -> None:
    manager = connect()
    manager.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    manager.create_generation("docs", SETTINGS).apply(Batch(upserts=[point(2)]))
    reader = connect("b", token(KEY, {"docs": "r"})).open("docs")
    assert reader is not None
    assert {each.id for each in reader.scroll()} == {ident(1)}
    manager.switch("docs", 2)
    for read in (lambda: list(reader.scroll()), reader.count, lambda: reader.retrieve([ident(2)])):
        with pytest.raises(GenerationDropped, match="was switched to another generation"):
            read()
    denied = "a key with the right to write this collection.*Write access to collection docs"
    with pytest.raises(StoreError, match=denied):
        connect("b", token(KEY, {"docs": "r"})).lock("docs").__enter__()


def test_a_read_only_key_reads(facade: QdrantFacade, connect: Connect) -> None:
    connect().create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    store = connect("b", READ_ONLY)
    assert store.names() == ["docs"]
    assert ids(store) == {ident(1)}
    found = store.open("docs")
    assert found is not None
    assert found.notes() == {}
    needed = "right to write this collection.*Global manage access"
    with pytest.raises(StoreError, match=needed):
        found.apply(Batch(upserts=[point(2)]))


def test_a_search_takes_four_requests(facade: QdrantFacade, connect: Connect) -> None:
    connect().create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    store = connect("b")
    facade.requests.clear()
    found = store.open("docs")
    assert found is not None
    found.query(Query(3, dense=axis(1)))
    assert facade.requests == {
        "GET /": 1,
        "GET /collections/{name}": 1,
        "GET /collections/{name}/aliases": 1,
        "POST /collections/{name}/points/query/batch": 1,
    }


# Damage


def test_a_broken_collection_does_not_break_the_list(
    facade: QdrantFacade, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ragctl.stores.server_listing.SURVEY_PATIENCE_SECONDS", 0.05)
    for name in ("broken", "docs"):
        connect().create(name, SETTINGS)
    body = {"vectors": {"size": 4, "distance": "Dot"}}
    headers = {"api-key": KEY}
    httpx.put(f"{facade.url}/collections/theirs", json=body, headers=headers).raise_for_status()
    facade.inject(Fault("status", "GET /collections/{name}", status=500, times=999))
    assert connect("c", patience=0.2).names() == ["broken", "docs"]
    monkeypatch.setattr("ragctl.cli.inspect._LIST_PATIENCE_SECONDS", 0.2)
    environ = {"QDRANT_API_KEY": KEY, "HOME": str(tmp_path)}
    began = time.monotonic()
    listed = call("collections", "--store", facade.url, environ=environ, cwd=tmp_path)
    assert time.monotonic() - began < 5, "as patient as a run"
    assert listed.returncode == 0
    assert [line.split(":")[0] for line in listed.stdout.splitlines()] == [
        f"{name} unreadable" for name in ("broken", "docs")
    ]


@pytest.mark.parametrize("count", [1, 250])
def test_what_can_be_read_of_a_damaged_collection_is_salvaged(
    facade: QdrantFacade, connect: Connect, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    from tests.servers.qdrant_limits import Problem

    monkeypatch.setattr("ragctl.stores.server.PATIENCE_SECONDS", 0.0)
    store = connect()
    made = store.create("docs", SETTINGS)
    made.apply(Batch(upserts=[point(n) for n in range(1, count + 3)]))
    bad = {ident(2)}
    local = facade.engine._local
    retrieve, scroll = local.retrieve, local.scroll

    def damaged_retrieve(name: str, wanted: Any, **options: Any) -> Any:
        if bad & set(map(str, wanted)):
            raise Problem(500, "Service internal error: OutputTooSmall")
        return retrieve(name, wanted, **options)

    def damaged_scroll(name: str, **options: Any) -> Any:
        found, following = scroll(name, **options)
        if any(str(each.id) == ident(3) for each in found):
            raise Problem(500, "Service internal error: segment is damaged")
        return found, following

    monkeypatch.setattr(local, "retrieve", damaged_retrieve)
    salvage = store.salvage("docs")
    assert salvage is not None
    read = list(salvage.points)
    assert {each.id for each in read} == {ident(n) for n in range(1, count + 3)} - bad
    assert all(each.dense is not None for each in read)
    assert salvage.settings == SETTINGS
    (line,) = salvage.lost
    assert line.startswith(f"1 point ({ident(2)}): ")
    assert "OutputTooSmall" in line
    monkeypatch.setattr(local, "scroll", damaged_scroll)
    salvage = store.salvage("docs")
    assert salvage is not None
    kept = {each.id for each in salvage.points}
    assert kept == {ident(n) for n in range(1, count + 3)} - bad - {ident(3)}
    assert any("cannot be listed" in line for line in salvage.lost)
    assert store.salvage("none") is None


def test_the_command_refuses_to_delete_an_alias(
    facade: QdrantFacade, connect: Connect, tmp_path: Path
) -> None:
    connect().create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
    alias(facade, "prod", "docs@1")
    environ = {"QDRANT_API_KEY": KEY, "XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin"}
    words = [sys.executable, "-m", "ragctl", "delete", "--all", "--yes", "-c", "prod"]
    done = subprocess.run(
        [*words, "--store", facade.url], capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 5
    assert "'prod'" in done.stderr
    assert "ragctl delete --all -c docs" in done.stderr
    with connect().lock("docs"):
        pass


def test_commands_need_no_more_than_the_rights_on_one_collection(
    facade: QdrantFacade, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    with JinaServer(JINA_KEY) as embedder:
        world = World(tmp_path / "docs", facade.url, embedder)
        world.write("a.md", paragraphs("one", "two"))

        def run(key: str, *words: str, code: int = 0) -> str:
            environ = {**os.environ, **world.environ, "QDRANT_API_KEY": key}
            environ["XDG_STATE_HOME"] = str(tmp_path)
            command_words = [*words, "--store", facade.url] if words else command(world)[3:]
            done = call(*command_words, environ=environ, cwd=tmp_path)
            assert done.returncode == code, (words, done.stdout, done.stderr)
            return done.stdout + done.stderr

        write, read = token(KEY, {"docs": "rw"}), token(KEY, {"docs": "r"})
        refused = run(write, code=5)
        assert "a key with the right to manage collections" in refused
        run(KEY)
        world.write("b.md", paragraphs("three", "four"))
        assert "1 added" in run(write)
        for key in (write, read, READ_ONLY):
            assert "a.md" in run(key, "search", "one", "--base-url", embedder.url)
            assert re.search(r"^documents +2$", run(key, "status"), re.MULTILINE)
            assert "one" in run(key, "show", "a.md")
            run(key, "verify")
        for key in (read, READ_ONLY):
            world.write("b.md", paragraphs("five"))
            line = run(key, code=5)
            assert "a key with the right to write this collection" in line
            assert "Traceback" not in line
        run(write, "delete", "b.md", "--yes")
        run(write, "delete", "--all", "--yes", code=5)
        run(KEY, "delete", "--all", "--yes")
        assert places(facade) == []
