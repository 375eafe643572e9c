"""Only one run at a time writes to a collection on a server, also across hosts.

In these tests a host is a folder for lock files; stores with different folders share no file lock.
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
from ragctl.stores.lease_state import DEFAULT_LEASE_SECONDS
from ragctl.stores.server import ServerStore
from ragctl.stores.server_points import HIDDEN
from tests.servers.qdrant import Fault, QdrantFacade
from tests.store_contract import SETTINGS, axis, ident, point
from tests.test_kill import command
from tests.waiting import until
from tests.world import World, counts, paragraphs
from tests.writer_process import writing

pytestmark = pytest.mark.slow

BATCH = "POST /collections/{name}/points/batch"
READ = "POST /collections/{name}/points"
ALL = pytest.mark.parametrize("facade", ["1.15.4", "1.16.0", "1.17.0"], indirect=True)
OLD_AND_NEW = pytest.mark.parametrize("facade", ["1.15.4", "1.17.0"], indirect=True)

LONG = 3600.0  # never expires during a test
ALIVE = 5.0  # renewed often enough even on a busy machine
SHORT = 1.0

Hosts = Callable[..., ServerStore]


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with QdrantFacade(version=getattr(request, "param", "1.17.0")) as facade:
        yield facade


@pytest.fixture
def host(facade: QdrantFacade, tmp_path: Path) -> Iterator[Hosts]:
    """Return a function: host("a") and host("b") are stores of two hosts on one server."""
    with ExitStack() as stack:

        def connect(name: str, **options: Any) -> ServerStore:
            settings = {"patience": 10.0, "backoff": 0.01, "lease": ALIVE, **options}
            url = settings.pop("url", facade.url)
            store = ServerStore(url, state=tmp_path / name, **settings)
            stack.callback(store.close)
            return store

        yield connect


def stored_lease(facade: QdrantFacade) -> dict[str, Any]:
    """Return the stored lease, empty if there is none, without a request to the server."""
    with facade.lock:
        place = facade.engine.aliases.get("docs", "docs")
        known = place in facade.engine._local.collections
        found = facade.engine._local.retrieve(place, [HIDDEN]) if known else []
    payload = found[0].payload or {} if found else {}
    return {key: payload[key] for key in ("lease", "host", "who", "seconds") if key in payload}


def is_free(facade: QdrantFacade) -> bool:
    return str(stored_lease(facade).get("lease", ":free")).endswith(":free")


def open_docs(store: ServerStore) -> Collection:
    docs = store.open("docs")
    assert docs is not None
    return docs


# Live runs


@OLD_AND_NEW
def test_a_run_on_another_host_is_locked_out_while_the_first_is_alive(
    facade: QdrantFacade, host: Hosts
) -> None:
    one, other = host("a"), host("b")
    one.create("docs", SETTINGS)
    who = rf"'docs' at http\S+ is being written by another run \(process {os.getpid()} on .+\)"
    with one.lock("docs"):
        first = stored_lease(facade)["lease"]
        with pytest.raises(Locked, match=who), other.lock("docs"):
            pass
        assert stored_lease(facade)["lease"] != first  # a renewal was seen
        open_docs(one).apply(Batch(upserts=[point(1)]))
    with other.lock("docs"):
        open_docs(other).apply(Batch(upserts=[point(2)]))
    assert is_free(facade)
    assert open_docs(one).count() == 2


@ALL
def test_locking_takes_three_requests_and_releasing_one(facade: QdrantFacade, host: Hosts) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):  # the first lock creates the lease
        pass
    before = facade.requests.copy()
    with store.lock("docs"):
        assert facade.requests - before == {READ: 2, BATCH: 1}
        before = facade.requests.copy()
    assert facade.requests - before == {BATCH: 1}


def test_a_run_waits_for_a_run_on_another_host(facade: QdrantFacade, host: Hosts) -> None:
    one, other = host("a"), host("b")
    one.create("docs", SETTINGS)
    messages: list[str] = []
    acquired = threading.Event()

    def wait() -> None:
        with other.lock("docs", patience=math.inf, waiting=messages.append):
            acquired.set()

    waiter = threading.Thread(target=wait)
    with one.lock("docs"):
        waiter.start()
        until(lambda: bool(messages))
        renewal = stored_lease(facade)["lease"]
        until(lambda: stored_lease(facade)["lease"] != renewal)
        assert not acquired.is_set()
    waiter.join(30)
    assert acquired.is_set()
    (line,) = messages
    assert f"process {os.getpid()} on" in line
    assert "waiting for it to end" in line


def test_two_addresses_of_one_server_share_the_lease(facade: QdrantFacade, host: Hosts) -> None:
    """Their lock files differ, so a lease of the same host may belong to a live run."""
    one = host("a")
    other = host("a", url=facade.url.replace("127.0.0.1", "localhost"))
    one.create("docs", SETTINGS)
    with one.lock("docs"):
        with pytest.raises(Locked), other.lock("docs"):
            pass
        open_docs(one).apply(Batch(upserts=[point(1)]))


# Killed and suspended runs


@OLD_AND_NEW
def test_the_lease_of_a_run_killed_on_another_host_is_taken_when_it_expires(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    other = host("b", lease=LONG)  # the duration stored by the holder counts
    other.create("docs", SETTINGS)
    with writing(facade.url, tmp_path / "a", SHORT) as writer:
        assert writer.write(1) == "written"
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
    assert not is_free(facade)
    started = time.monotonic()
    with other.lock("docs"):
        assert SHORT <= time.monotonic() - started < 30
        open_docs(other).apply(Batch(upserts=[point(2)]))
    assert open_docs(other).count() == 2
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
    started = time.monotonic()
    with store.lock("docs"):
        open_docs(store).apply(Batch(upserts=[point(2)]))
    assert time.monotonic() - started < 30
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
            open_docs(other).apply(Batch(upserts=[point(2)]))
            written = facade.engine.points_upserted
            writer.process.send_signal(signal.SIGCONT)
            answer = writer.write(3)
            assert answer.startswith("Locked: another run (process ")
            assert "took over collection 'docs' at http" in answer
            assert answer.endswith("nothing further is written")
            assert writer.end() == Locked.exit_code
            assert facade.engine.points_upserted == written
            assert not is_free(facade)  # the run that lost the lease did not release it
            open_docs(other).apply(Batch(upserts=[point(4)]))
        assert {p.id for p in open_docs(other).scroll()} == {ident(1), ident(2), ident(4)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock, in seconds, that the test sets for the stores of this process."""
    seconds = [0.0]
    monkeypatch.setattr(lease, "_now", lambda: seconds[0])
    monkeypatch.setattr(lease, "MAX_READ_INTERVAL_SECONDS", 0.01)
    return seconds


@ALL
def test_a_suspended_run_continues_if_no_other_run_took_over(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs, first = open_docs(store), stored_lease(facade)["lease"]
        clock[0] += LONG / 2 - 1
        docs.apply(Batch(upserts=[point(1)]))
        assert stored_lease(facade)["lease"] == first
        for number in (2, 3):
            clock[0] += LONG / 2 + 1
            docs.apply(Batch(upserts=[point(number)]))
            docs.apply(Batch(upserts=[point(number)]))
            assert stored_lease(facade)["lease"] == f"{first[:-1]}{number}"
    assert docs.count() == 3
    assert is_free(facade)


@ALL
def test_every_write_checks_the_lease(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    one, other = host("a", lease=LONG), host("b", lease=LONG)
    one.create("docs", SETTINGS)
    with one.lock("docs"):
        docs = open_docs(one)
        # The lease is first read at 0, and later two lease durations after.
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
            assert docs.count() == 0  # reading is still allowed
    assert open_docs(other).settings == SETTINGS


def test_each_try_of_a_request_checks_the_lease(
    facade: QdrantFacade, host: Hosts, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request may be retried long after it was first allowed."""
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs, first = open_docs(store), stored_lease(facade)["lease"]
        facade.inject(Fault("cut-before", BATCH))
        monkeypatch.setattr(
            "ragctl.stores.server_connection.time.sleep", lambda _: clock.__setitem__(0, LONG)
        )
        docs.apply(Batch(upserts=[point(1)]))
        assert stored_lease(facade)["lease"] != first


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
    facade.inject(Fault(**vars(fault)))  # hits a request that takes the lease
    with store.lock("docs"):
        for _ in range(2):
            renewal = stored_lease(facade)["lease"]
            facade.inject(Fault(**vars(fault)))
            until(lambda before=renewal: stored_lease(facade)["lease"] != before)  # type: ignore[misc]
        open_docs(store).apply(Batch(upserts=[point(1)]))
    assert is_free(facade)
    assert not any(due.times for due in facade.faults)


def test_nothing_is_written_while_the_lease_cannot_be_renewed(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    store = host("a", lease=LONG, patience=0.2)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs = open_docs(store)
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


def test_a_read_only_key_cannot_lock(facade: QdrantFacade, host: Hosts) -> None:
    store = host("a", api_key="reads")
    store.create("docs", SETTINGS)
    facade.inject(Fault("status", f"{BATCH}|PUT *", status=403, times=99, message="Forbidden"))
    with pytest.raises(
        StoreError, match=r"'docs' at .*refused the key.*to a key with the right to write"
    ):
        store.lock("docs").__enter__()


# Creation and removal


def remove_lease(facade: QdrantFacade) -> None:
    """Remove the lease, as in a collection created before leases existed."""
    url = f"{facade.url}/collections/docs/points/batch?wait=true"
    old = facade.engine.version < (1, 16)
    written = {"delete_payload": {"keys": ["lease", "host"], "points": [HIDDEN]}}
    operation = written if old else {"delete": {"points": [HIDDEN]}}
    httpx.post(url, json={"operations": [operation]}).raise_for_status()
    del facade.engine._indexes["docs@1"]["lease"]


@ALL
@pytest.mark.parametrize("without_lease", [False, True])
def test_one_of_many_simultaneous_runs_gets_the_lease(
    facade: QdrantFacade, host: Hosts, without_lease: bool
) -> None:
    stores = [host(f"{n}") for n in range(4)]
    stores[0].create("docs", SETTINGS)
    with stores[0].lock("docs"):
        pass
    for _ in range(2):
        if without_lease:
            remove_lease(facade)
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
def test_one_of_two_hosts_that_create_a_collection_at_once_is_refused(
    facade: QdrantFacade, host: Hosts
) -> None:
    start, end = threading.Barrier(2), threading.Barrier(2)
    # On an old server some time passes between creating the collection and storing its settings.
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
    assert open_docs(host("c")).count() == 1


@OLD_AND_NEW
def test_a_new_collection_is_locked_by_the_run_that_created_it(
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
        assert open_docs(other).count() == 0


def test_a_run_that_locks_before_the_creator_keeps_the_lease(
    facade: QdrantFacade, host: Hosts
) -> None:
    """Without aliases a collection can be seen before its creator has the lease."""
    facade.inject(Fault("status", "POST /collections/aliases", times=99, status=403))
    one, other = host("a"), host("b")
    with one.lock("docs"), ExitStack() as stack:
        index = one._creation.index

        def index_and_lock(name: str, place: str, fields: Any) -> Any:
            done = index(name, place, fields)
            if place == "docs" and other._locks.lease("docs") is None:
                stack.enter_context(other.lock("docs"))
            return done

        one._creation.index = index_and_lock  # type: ignore[method-assign]
        with pytest.raises(Locked, match="is being written by another run"):
            one.create("docs", SETTINGS)
        open_docs(other).apply(Batch(upserts=[point(1)]))


def test_a_failed_creation_on_an_old_server_can_be_repeated(
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
def test_the_lease_is_never_read_or_changed_as_a_point(facade: QdrantFacade, host: Hosts) -> None:
    store = host("a", lease=LONG)
    made = store.create("docs", SETTINGS)
    with store.lock("docs"):
        held = stored_lease(facade)
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
        assert open_docs(store).settings == made.settings
        assert stored_lease(facade) == held


@OLD_AND_NEW
@pytest.mark.parametrize("without_lease", [False, True])
def test_the_lease_works_in_strict_mode(
    facade: QdrantFacade, host: Hosts, without_lease: bool
) -> None:
    facade.engine.strict_mode = {
        "enabled": True,
        "unindexed_filtering_retrieve": False,
        "unindexed_filtering_update": False,
    }
    one, other = host("a"), host("b")
    one.create("docs", SETTINGS)
    if without_lease:
        with one.lock("docs"):
            pass
        remove_lease(facade)
    with one.lock("docs"), pytest.raises(Locked), other.lock("docs"):
        pass
    assert is_free(facade)


@pytest.mark.parametrize("value", ["soon", "0", "0.5", "-3", "nan", "inf", "3601"])
def test_an_invalid_lease_duration_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=f"RAGCTL_LEASE_SECONDS={value}: seconds, from 1 to 3600"):
        open_store("http://127.0.0.1:1", environ={"RAGCTL_LEASE_SECONDS": value})


def write_invalid_lease(facade: QdrantFacade, token: object) -> None:
    invalid = {"lease": token, "host": 7, "who": ["\x1b[2J"], "seconds": "many"}
    body = {"operations": [{"set_payload": {"payload": invalid, "points": [HIDDEN]}}]}
    httpx.post(f"{facade.url}/collections/docs/points/batch", json=body).raise_for_status()


def test_an_invalid_stored_lease_expires_like_a_valid_one(
    facade: QdrantFacade, host: Hosts, clock: list[float]
) -> None:
    store = host("a", lease=LONG)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        pass
    write_invalid_lease(facade, "\x1b[31m")
    messages: list[str] = []

    def on_waiting(line: str) -> None:
        messages.append(line)
        clock[0] = DEFAULT_LEASE_SECONDS

    with store.lock("docs", waiting=on_waiting):
        assert not is_free(facade)
    assert messages[0].isprintable()
    write_invalid_lease(facade, 7)  # no keyword filter matches a number
    clock[0] = 0.0
    with pytest.raises(StoreError, match="its lease '7' cannot be taken"):
        store.lock("docs", waiting=on_waiting).__enter__()


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


def start_waiting_ingest(world: World, state: Path, seconds: float) -> "subprocess.Popen[str]":
    """Start an ingest and return it while it waits for vectors."""
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
def test_an_ingest_killed_on_another_host_is_completed_by_the_next(
    server_world: World, tmp_path: Path, facade: QdrantFacade
) -> None:
    process = start_waiting_ingest(server_world, tmp_path / "a", SHORT)
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


def test_a_suspended_ingest_that_lost_its_lease_exits_9_and_writes_nothing(
    server_world: World, tmp_path: Path, facade: QdrantFacade
) -> None:
    process = start_waiting_ingest(server_world, tmp_path / "a", SHORT)
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


def test_a_second_ingest_on_another_host_exits_9(
    server_world: World, tmp_path: Path, facade: QdrantFacade
) -> None:
    process = start_waiting_ingest(server_world, tmp_path / "a", ALIVE)
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
