"""One run at a time writes to a collection on a server, on whatever host it runs.

Here a host is a folder for lock files; stores with different folders share no file lock.
"""

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragctl.collection.conditions import Match
from ragctl.collection.payload import SparseVector
from ragctl.errors import Locked, StoreError, UsageError
from ragctl.stores import lease, open_store
from ragctl.stores.base import Batch, Collection, Query
from ragctl.stores.server import ServerStore
from ragctl.stores.server_points import HIDDEN
from tests.servers.qdrant import Fault, QdrantFacade
from tests.store_contract import SETTINGS, axis, ident, point
from tests.test_kill import command
from tests.waiting import until
from tests.world import World, counts, paragraphs
from tests.writer_process import writing

BATCH = "POST /collections/{name}/points/batch"
READ = "POST /collections/{name}/points"
ALL = pytest.mark.parametrize("facade", ["1.15.4", "1.16.0", "1.17.0"], indirect=True)
OLD_AND_NEW = pytest.mark.parametrize("facade", ["1.15.4", "1.17.0"], indirect=True)

LONG = 3600.0  # nothing here lives to see the end of such a lease
ALIVE = 5.0  # beats often enough to be seen alive on a busy machine
SHORT = 1.0

Hosts = Callable[..., ServerStore]


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with QdrantFacade(version=getattr(request, "param", "1.17.0")) as facade:
        yield facade


@pytest.fixture
def host(facade: QdrantFacade, tmp_path: Path) -> Iterator[Hosts]:
    """host("a"), host("b"): stores of two hosts, on one server."""
    with ExitStack() as stack:

        def connected(name: str, **options: Any) -> ServerStore:
            told = {"patience": 10.0, "backoff": 0.01, "lease": ALIVE, **options}
            url = told.pop("url", facade.url)
            store = ServerStore(url, state=tmp_path / name, **told)
            stack.callback(store.close)
            return store

        yield connected


def kept(facade: QdrantFacade) -> dict[str, Any]:
    """Return the lease as stored, empty if there is none. Sends no request."""
    with facade.lock:
        found = facade.engine._local.retrieve("docs", [HIDDEN])
    payload = found[0].payload or {} if found else {}
    return {key: payload[key] for key in ("lease", "host", "who", "seconds") if key in payload}


def is_free(facade: QdrantFacade) -> bool:
    return str(kept(facade).get("lease", ":free")).endswith(":free")


def opened(store: ServerStore) -> Collection:
    docs = store.open("docs")
    assert docs is not None
    return docs


# Alive


@OLD_AND_NEW
def test_a_run_on_another_host_is_excluded_while_the_first_lives(
    facade: QdrantFacade, host: Hosts
) -> None:
    one, other = host("a"), host("b")
    one.create("docs", SETTINGS)
    who = rf"'docs' at http\S+ is being written by another run \(process {os.getpid()} on .+\)"
    with one.lock("docs"):
        first = kept(facade)["lease"]
        with pytest.raises(Locked, match=who), other.lock("docs"):
            pass
        assert kept(facade)["lease"] != first  # it was seen to beat
        opened(one).apply(Batch(upserts=[point(1)]))
    with other.lock("docs"):
        opened(other).apply(Batch(upserts=[point(2)]))
    assert is_free(facade)
    assert opened(one).count() == 2


@ALL
def test_a_lock_costs_three_requests_and_one(facade: QdrantFacade, host: Hosts) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):  # the first one makes the lease
        pass
    before = facade.requests.copy()
    with store.lock("docs"):
        assert facade.requests - before == {READ: 2, BATCH: 1}
        before = facade.requests.copy()
    assert facade.requests - before == {BATCH: 1}


def test_a_run_waits_for_one_on_another_host(facade: QdrantFacade, host: Hosts) -> None:
    one, other = host("a"), host("b")
    one.create("docs", SETTINGS)
    told: list[str] = []
    had = threading.Event()

    def wait() -> None:
        with other.lock("docs", patience=math.inf, waiting=told.append):
            had.set()

    waiter = threading.Thread(target=wait)
    with one.lock("docs"):
        waiter.start()
        until(lambda: bool(told))
        beat = kept(facade)["lease"]
        until(lambda: kept(facade)["lease"] != beat)
        assert not had.is_set()
    waiter.join(30)
    assert had.is_set()
    (line,) = told
    assert f"process {os.getpid()} on" in line
    assert "waiting for it to end" in line


def test_one_server_by_two_names_is_one_server(facade: QdrantFacade, host: Hosts) -> None:
    """Their lock files differ: a lease of the same host may be of a live run."""
    one = host("a")
    other = host("a", url=facade.url.replace("127.0.0.1", "localhost"))
    one.create("docs", SETTINGS)
    with one.lock("docs"):
        with pytest.raises(Locked), other.lock("docs"):
            pass
        opened(one).apply(Batch(upserts=[point(1)]))


# Dead, and asleep


@OLD_AND_NEW
def test_the_lease_of_a_run_killed_on_another_host_is_taken_when_it_ends(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    other = host("b", lease=LONG)  # the holder's own word counts
    other.create("docs", SETTINGS)
    with writing(facade.url, tmp_path / "a", SHORT) as writer:
        assert writer.write(1) == "written"
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
    assert not is_free(facade)
    began = time.monotonic()
    with other.lock("docs"):
        assert SHORT <= time.monotonic() - began < 30
        opened(other).apply(Batch(upserts=[point(2)]))
    assert opened(other).count() == 2
    with other.lock("docs"):
        pass


@OLD_AND_NEW
def test_the_lease_of_a_run_killed_on_the_same_host_is_taken_at_once(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    store = host("a")
    store.create("docs", SETTINGS)
    with writing(facade.url, tmp_path / "a", LONG) as writer:
        assert writer.write(1) == "written"
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
    began = time.monotonic()
    with store.lock("docs"):
        opened(store).apply(Batch(upserts=[point(2)]))
    assert time.monotonic() - began < 30
    assert is_free(facade)


@OLD_AND_NEW
def test_a_suspended_run_writes_nothing_after_another_took_over(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    other = host("b")
    other.create("docs", SETTINGS)
    with writing(facade.url, tmp_path / "a", SHORT) as writer:
        assert writer.write(1) == "written"
        writer.process.send_signal(signal.SIGSTOP)
        with other.lock("docs"):
            opened(other).apply(Batch(upserts=[point(2)]))
            written = facade.engine.points_upserted
            writer.process.send_signal(signal.SIGCONT)
            answer = writer.write(3)
            assert answer.startswith("Locked: another run (process ")
            assert "took over collection 'docs' at http" in answer
            assert answer.endswith("nothing further is written")
            assert writer.end() == Locked.exit_code
            assert facade.engine.points_upserted == written
            assert not is_free(facade)  # the one that lost it did not give it away
            opened(other).apply(Batch(upserts=[point(4)]))
        assert {p.id for p in opened(other).scroll()} == {ident(1), ident(2), ident(4)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets, in seconds, for one store in this process."""
    seconds = [0.0]
    monkeypatch.setattr(lease, "_now", lambda: seconds[0])
    monkeypatch.setattr(lease, "MAX_READ_INTERVAL_SECONDS", 0.01)
    return seconds


@ALL
def test_a_suspended_run_continues_if_no_other_took_over(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs, first = opened(store), kept(facade)["lease"]
        clock[0] += LONG / 2 - 1
        docs.apply(Batch(upserts=[point(1)]))
        assert kept(facade)["lease"] == first
        for number in (2, 3):
            clock[0] += LONG / 2 + 1
            docs.apply(Batch(upserts=[point(number)]))
            docs.apply(Batch(upserts=[point(number)]))
            assert kept(facade)["lease"] == f"{first[:-1]}{number}"
    assert docs.count() == 3
    assert is_free(facade)


@ALL
def test_every_write_checks_the_lease(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    one, other = host("a", lease=LONG), host("b", lease=LONG)
    one.create("docs", SETTINGS)
    with one.lock("docs"):
        docs = opened(one)
        # The first look is at 0, all later ones two lives after.
        with other.lock("docs", waiting=lambda _: clock.__setitem__(0, 2 * LONG)):
            writes: list[Callable[[], object]] = [
                lambda: docs.apply(Batch(upserts=[point(1)])),
                lambda: docs.apply(Batch(merges=[((Match("source", ("d1",)),), {"ordinal": 1})])),
                lambda: docs.note({"billed": {"jina": 1}}),
                lambda: one.drop("docs"),
            ]
            for write in writes:
                with pytest.raises(Locked, match="took over"):
                    write()
            assert docs.count() == 0  # a read goes on
    assert opened(other).settings == SETTINGS


def test_each_try_of_a_request_checks_the_lease(
    facade: QdrantFacade, host: Hosts, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was allowed may be sent again much later."""
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs, first = opened(store), kept(facade)["lease"]
        facade.inject(Fault("cut-before", BATCH))
        monkeypatch.setattr(
            "ragctl.stores.server_connection.time.sleep", lambda _: clock.__setitem__(0, LONG)
        )
        docs.apply(Batch(upserts=[point(1)]))
        assert kept(facade)["lease"] != first


# Faults


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", BATCH, status=429),
        Fault("status", BATCH, status=500),
        Fault("cut-before", BATCH),
        Fault("cut-after", BATCH),
        Fault("queued", BATCH),
        Fault("html", BATCH),
        Fault("cut-after", READ),
        Fault("truncated", READ),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status} {fault.route.rsplit('/')[-1]}",
)
def test_a_temporary_fault_keeps_the_lease(facade: QdrantFacade, host: Hosts, fault: Fault) -> None:
    store = host("a", lease=2.0)
    store.create("docs", SETTINGS)
    facade.inject(Fault(**vars(fault)))  # one of the requests that take it
    with store.lock("docs"):
        for _ in range(2):
            beat = kept(facade)["lease"]
            facade.inject(Fault(**vars(fault)))
            until(lambda before=beat: kept(facade)["lease"] != before)  # type: ignore[misc]
        opened(store).apply(Batch(upserts=[point(1)]))
    assert is_free(facade)
    assert not any(due.times for due in facade.faults)


def test_while_the_server_does_not_answer_nothing_is_written(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    store = host("a", lease=LONG, patience=0.2)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs = opened(store)
        clock[0] = LONG
        facade.inject(Fault("status", BATCH, status=503, times=10_000))
        with pytest.raises(StoreError, match="gave up after"):
            docs.apply(Batch(upserts=[point(1)]))
        facade.faults.clear()
        docs.apply(Batch(upserts=[point(2)]))
    assert [p.id for p in docs.scroll()] == [ident(2)]


def test_a_lease_that_could_not_be_released_does_not_block_this_host(
    facade: QdrantFacade, host: Hosts
) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        facade.inject(Fault("status", BATCH, status=400))
    assert not is_free(facade)
    with store.lock("docs"):
        pass
    assert is_free(facade)


def test_a_key_that_may_only_read_cannot_lock(facade: QdrantFacade, host: Hosts) -> None:
    store = host("a", api_key="reads")
    store.create("docs", SETTINGS)
    facade.inject(Fault("status", f"{BATCH}|PUT *", status=403, times=99, message="Forbidden"))
    with pytest.raises(StoreError, match=r"'docs' at .*refused the key.*to a key with that right"):
        store.lock("docs").__enter__()


# Beginnings and ends


def forget_lease(facade: QdrantFacade) -> None:
    """As in a collection that was made before there were leases."""
    url = f"{facade.url}/collections/docs/points/batch?wait=true"
    old = facade.engine.version < (1, 16)
    written = {"delete_payload": {"keys": ["lease", "host"], "points": [HIDDEN]}}
    operation = written if old else {"delete": {"points": [HIDDEN]}}
    httpx.post(url, json={"operations": [operation]}).raise_for_status()
    del facade.engine._indexes["docs"]["lease"]


@ALL
@pytest.mark.parametrize("lacking", [False, True])
def test_one_of_many_simultaneous_runs_gets_the_lease(
    facade: QdrantFacade, host: Hosts, lacking: bool
) -> None:
    stores = [host(f"{n}") for n in range(4)]
    stores[0].create("docs", SETTINGS)
    with stores[0].lock("docs"):
        pass
    for _ in range(2):
        if lacking:
            forget_lease(facade)
        start, done = threading.Barrier(len(stores)), threading.Event()
        outcomes: list[str] = []

        def run(store: ServerStore, start: Any, done: Any, outcomes: list[str]) -> None:
            start.wait(30)
            try:
                with store.lock("docs"):
                    outcomes.append("held")
                    done.wait(30)
            except Locked:
                outcomes.append("locked")

        threads = [
            threading.Thread(target=run, args=(store, start, done, outcomes)) for store in stores
        ]
        for thread in threads:
            thread.start()
        until(lambda found=outcomes: len(found) == len(stores))  # type: ignore[misc]
        done.set()
        for thread in threads:
            thread.join(30)
        assert sorted(outcomes) == ["held"] + ["locked"] * (len(stores) - 1)


@OLD_AND_NEW
def test_two_hosts_that_make_one_collection_at_once(facade: QdrantFacade, host: Hosts) -> None:
    start, end = threading.Barrier(2), threading.Barrier(2)
    # On an old server there is a while between the collection and its settings.
    facade.inject(Fault("status", "PUT */points", status=503, times=6))
    outcomes: dict[str, object] = {}

    def run(name: str) -> None:
        store = host(name)
        with store.lock("docs"):
            start.wait(30)
            try:
                made = store.create("docs", SETTINGS)
                made.apply(Batch(upserts=[point(1)]))
                outcomes[name] = "made"
            except Locked as error:
                outcomes[name] = str(error)
            end.wait(30)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    made, locked = sorted(map(str, outcomes.values()), key=lambda text: text != "made")
    assert made == "made"
    assert "was made by another run just now; wait for it to end, then run again" in locked
    assert is_free(facade)
    assert opened(host("c")).count() == 1


@OLD_AND_NEW
def test_a_new_collection_is_held_by_the_run_that_made_it(
    facade: QdrantFacade, host: Hosts
) -> None:
    one, other = host("a"), host("b")
    with one.lock("docs"):
        made = one.create("docs", SETTINGS)
        with pytest.raises(Locked), other.lock("docs"):
            pass
        made.apply(Batch(upserts=[point(1)]))
        one.drop("docs")
        with other.lock("docs"):
            other.create("docs", SETTINGS)
            with pytest.raises(Locked):
                one.create("docs", SETTINGS)
    with other.lock("docs"):
        assert opened(other).count() == 0


def test_a_run_that_locks_before_the_creator_keeps_the_lease(
    facade: QdrantFacade, host: Hosts
) -> None:
    one, other = host("a"), host("b")
    with one.lock("docs"), ExitStack() as stack:
        index = one.index

        def late(name: str, fields: Any) -> None:
            index(name, fields)
            stack.enter_context(other.lock("docs"))

        one.index = late  # type: ignore[method-assign]
        with pytest.raises(Locked, match="is being written by another run"):
            one.create("docs", SETTINGS)
        opened(other).apply(Batch(upserts=[point(1)]))


def test_a_creation_killed_on_an_old_server_is_repeated_after_a_lease(
    tmp_path: Path,
) -> None:
    with QdrantFacade(version="1.15.4") as facade:
        facade.inject(Fault("status", "PUT */points", status=403))
        with closing(ServerStore(facade.url, state=tmp_path / "a", lease=SHORT)) as store:
            with store.lock("docs"), pytest.raises(StoreError, match="key"):
                store.create("docs", SETTINGS)
            with store.lock("docs"):
                assert store.open("docs") is None
                store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
                assert not is_free(facade)


@ALL
def test_a_lock_leaves_foreign_collections_alone(facade: QdrantFacade, host: Hosts) -> None:
    url = f"{facade.url}/collections/theirs"
    httpx.put(url, json={"vectors": {"size": 4, "distance": "Dot"}}).raise_for_status()
    with host("a").lock("theirs"):
        pass
    assert httpx.post(f"{url}/points/count", json={}).json()["result"]["count"] == 0
    assert httpx.get(url).json()["result"]["payload_schema"] == {}


@ALL
def test_the_lease_is_in_no_read_and_changed_by_no_write(facade: QdrantFacade, host: Hosts) -> None:
    store = host("a", lease=LONG)
    made = store.create("docs", SETTINGS)
    with store.lock("docs"):
        held = kept(facade)
        assert held
        assert made.count() == 0
        assert list(made.scroll()) == []
        assert made.retrieve([HIDDEN]) == []
        made.apply(Batch(upserts=[point(1)], merges=[((), {"size": 3})]))
        made.note({"billed": {"jina": 1}})
        assert made.count() == made.count((Match("size", (3,)),)) == 1
        assert [p.id for p in made.scroll()] == [ident(1)]
        assert made.facet("source") == {"d1": 1}
        both = Query(limit=9, dense=axis(1), sparse=SparseVector([1], [1.0]))
        assert [hit.id for hit in made.query(both)] == [ident(1)]
        assert store.names() == ["docs"]
        assert opened(store).settings == made.settings
        assert kept(facade) == held


@OLD_AND_NEW
@pytest.mark.parametrize("lacking", [False, True])
def test_strict_mode_allows_it(facade: QdrantFacade, host: Hosts, lacking: bool) -> None:
    facade.engine.strict_mode = {
        "enabled": True,
        "unindexed_filtering_retrieve": False,
        "unindexed_filtering_update": False,
    }
    one, other = host("a"), host("b")
    one.create("docs", SETTINGS)
    if lacking:
        with one.lock("docs"):
            pass
        forget_lease(facade)
    with one.lock("docs"), pytest.raises(Locked), other.lock("docs"):
        pass
    assert is_free(facade)


@pytest.mark.parametrize("said", ["soon", "0", "0.5", "-3", "nan", "inf", "3601"])
def test_an_invalid_lease_duration_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match=f"RAGCTL_LEASE_SECONDS={said}: seconds, from 1 to 3600"):
        open_store("http://127.0.0.1:1", environ={"RAGCTL_LEASE_SECONDS": said})


def spoil(facade: QdrantFacade, token: object) -> None:
    rubbish = {"lease": token, "host": 7, "who": ["\x1b[2J"], "seconds": "many"}
    body = {"operations": [{"set_payload": {"payload": rubbish, "points": [HIDDEN]}}]}
    httpx.post(f"{facade.url}/collections/docs/points/batch", json=body).raise_for_status()


def test_an_invalid_lease_is_waited_for_like_a_valid_one(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        pass
    spoil(facade, "\x1b[31m")
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        clock[0] = lease.DEFAULT_LEASE_SECONDS

    with store.lock("docs", waiting=tell):
        assert not is_free(facade)
    assert told[0].isprintable()
    spoil(facade, 7)  # which no filter for a word finds
    clock[0] = 0.0
    with pytest.raises(StoreError, match="its lease '7' cannot be taken"):
        store.lock("docs", waiting=tell).__enter__()


# Whole runs


def environment(world: World, state: Path, seconds: float) -> dict[str, str]:
    lease_seconds = {"RAGCTL_LEASE_SECONDS": str(seconds), "XDG_STATE_HOME": str(state)}
    return {**os.environ, **world.environ, **lease_seconds}


@pytest.fixture
def server_world(facade: QdrantFacade, tmp_path: Path) -> Iterator[World]:
    from tests.servers.jina import JinaServer
    from tests.world import KEY

    (tmp_path / "docs").mkdir()
    with JinaServer(KEY) as embedder:
        world = World(tmp_path / "docs", facade.url, embedder)
        for n in range(3):
            world.write(f"{n}.md", paragraphs(f"one {n}", f"two {n}"))
        world.ingest()
        for n in range(3):
            world.write(f"{n}.md", paragraphs(f"three {n}", f"four {n}"))
        yield world


def began(world: World, state: Path, seconds: float) -> "subprocess.Popen[str]":
    """An ingest that waits for its vectors."""
    world.forget()
    world.server.gate.clear()
    process = subprocess.Popen(
        command(world),
        env=environment(world, state, seconds),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: bool(world.server.in_flight))
    return process


@pytest.mark.parametrize("facade", ["1.15.4", "1.17.0"], indirect=True)
def test_an_ingest_killed_on_another_host_is_finished_here(
    server_world: World, tmp_path: Path, facade: QdrantFacade
) -> None:
    process = began(server_world, tmp_path / "a", SHORT)
    process.kill()
    process.communicate()
    server_world.server.gate.set()
    assert not is_free(facade)
    done = subprocess.run(
        command(server_world),
        env=environment(server_world, tmp_path / "b", ALIVE),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert is_free(facade)
    assert counts(server_world.ingest()) == {"unchanged": 3}


def test_a_suspended_ingest_ends_with_9_and_writes_nothing(
    server_world: World, tmp_path: Path, facade: QdrantFacade
) -> None:
    process = began(server_world, tmp_path / "a", SHORT)
    process.send_signal(signal.SIGSTOP)
    server_world.server.gate.set()
    done = subprocess.run(
        command(server_world),
        env=environment(server_world, tmp_path / "b", ALIVE),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state, written = server_world.state(), facade.engine.points_upserted
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == Locked.exit_code, err
    assert "took over collection 'docs'" in err
    assert "Traceback" not in err
    assert facade.engine.points_upserted == written
    assert server_world.state() == state


def test_a_second_ingest_on_another_host_ends_with_9(
    server_world: World, tmp_path: Path, facade: QdrantFacade
) -> None:
    process = began(server_world, tmp_path / "a", ALIVE)
    second = subprocess.run(
        command(server_world),
        env=environment(server_world, tmp_path / "b", ALIVE),
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == Locked.exit_code, second.stderr
    assert f"(process {process.pid} on " in second.stderr
    server_world.server.gate.set()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert is_free(facade)
