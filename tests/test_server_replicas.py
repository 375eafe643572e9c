"""A cluster that loses nodes: the lease stays safe, and no run leaves replicas that differ.

The test server keeps the state of each replica; a node can be switched off and on again.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ragctl.collection.payload import Point
from ragctl.collection.points import version
from ragctl.errors import Locked, StoreError
from ragctl.stores.base import Batch, Collection, Query
from ragctl.stores.server import ServerStore
from ragctl.stores.server_points import HIDDEN
from tests.servers.qdrant import QdrantFacade
from tests.store_contract import SETTINGS, any_payload, axis, ident, point
from tests.waiting import until
from tests.writer_process import writing

pytestmark = pytest.mark.slow

SHORT = 1.0
LONG = 3600.0

Hosts = Callable[..., ServerStore]


def cluster(**options: Any) -> QdrantFacade:
    return QdrantFacade(version="1.18.0", **{"nodes": 3, "replicas": 2, **options})


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with cluster(**getattr(request, "param", {})) as facade:
        yield facade


STRICT = pytest.mark.parametrize("facade", [{"write_consistency": 2}], indirect=True)
"""Both replicas must take a write."""


@pytest.fixture
def host(facade: QdrantFacade, tmp_path: Path) -> Iterator[Hosts]:
    """Return a function: host("a") and host("b") are stores of two hosts; `node`: their address."""
    with ExitStack() as stack:

        def connect(name: str, *, node: int = 0, **options: Any) -> ServerStore:
            settings = {"patience": 5.0, "backoff": 0.01, "lease": SHORT, **options}
            store = ServerStore(facade.urls[node], state=tmp_path / name, **settings)
            stack.callback(store.close)
            return store

        yield connect


def open_docs(store: ServerStore) -> Collection:
    docs = store.open("docs")
    assert docs is not None
    return docs


def stored(facade: QdrantFacade, replica: int) -> dict[str, Any]:
    """Return the payloads of a replica's points, by id."""
    with facade.lock:
        return held(facade, replica)


def held(facade: QdrantFacade, replica: int) -> dict[str, Any]:
    """Return what `stored` does; the server's lock is held."""
    local = facade.cluster.engines[replica]._local
    records, _ = local.scroll(collection_of(facade), limit=10_000, with_vectors=False)
    return {str(record.id): record.payload for record in records}


def collection_of(facade: QdrantFacade) -> str:
    (name,) = facade.engine._local.collections
    return str(name)


def points(facade: QdrantFacade, replica: int = 0) -> set[str]:
    return set(stored(facade, replica)) - {HIDDEN}


def token(facade: QdrantFacade, replica: int) -> str:
    return str(stored(facade, replica)[HIDDEN].get("lease"))


def agree(facade: QdrantFacade) -> bool:
    with facade.lock:  # a heartbeat between two reads would make them differ
        first, *others = (held(facade, n) for n in range(len(facade.cluster.engines)))
    return all(other == first for other in others)


def own_point(number: int, text: str = "text") -> Point:
    """Return a point with the keys by which ragctl knows its own."""
    source, content = f"d{number}", "0" * 32
    payload = any_payload(
        source=source, digest=content, version=version(source, content), text_hash=text, text=text
    )
    return Point(ident(number), payload, axis(number))


def lose_a_beat(facade: QdrantFacade, store: ServerStore, node: int = 1) -> None:
    """Let a run lose a node, so that a beat or the end of its lease is on one replica only."""
    with store.lock("docs"):
        facade.stop(node)
        other = 1 - node
        before = token(facade, other)
        until(lambda: token(facade, other) != before)
    facade.start(node)
    assert token(facade, 0) != token(facade, 1)


# Replicas that disagree


@STRICT
@pytest.mark.parametrize("node", [0, 1, 2])
def test_a_lease_on_which_replicas_disagree_is_waited_out_and_taken(
    facade: QdrantFacade, host: Hosts, node: int
) -> None:
    host("a").create("docs", SETTINGS)
    lose_a_beat(facade, host("a"))
    messages: list[str] = []
    other = host("b", node=node)
    started = time.monotonic()
    with other.lock("docs", waiting=messages.append):
        assert time.monotonic() - started >= 1.5 * SHORT
        assert token(facade, 0).partition(":")[0] == token(facade, 1).partition(":")[0]
        open_docs(other).apply(Batch(upserts=[point(1)]))
    assert "replicas disagree on which run may write" in messages[0]
    assert agree(facade)
    with host("a").lock("docs"):
        pass


@STRICT
def test_a_collection_whose_replicas_disagree_can_be_deleted(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    host("a").create("docs", SETTINGS)
    lose_a_beat(facade, host("a"))
    done = ragctl(
        "delete", "--all", "--yes", "-c", "docs", store=facade.url, state=tmp_path / "state"
    )
    assert done.returncode == 0, done.stderr
    assert host("b").names() == []


@STRICT
def test_of_many_runs_that_find_a_disagreement_one_writes_at_a_time(
    facade: QdrantFacade, host: Hosts
) -> None:
    host("a").create("docs", SETTINGS)
    lose_a_beat(facade, host("a"))
    inside = threading.Lock()
    outcomes: list[str] = []

    def run(store: ServerStore) -> None:
        try:
            with store.lock("docs", patience=60.0):
                if not inside.acquire(blocking=False):
                    outcomes.append("two at once")
                    return
                open_docs(store).apply(Batch(upserts=[point(len(outcomes))]))
                time.sleep(0.3)
                outcomes.append("held")
                inside.release()
        except (Locked, StoreError) as error:
            outcomes.append(str(error))

    threads = [
        threading.Thread(target=run, args=(host(f"h{n}", node=n % 3),), daemon=True)
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == ["held"] * 4
    assert agree(facade)


@STRICT
def test_a_run_that_lost_a_beat_to_a_node_continues_when_it_is_back(
    facade: QdrantFacade, host: Hosts
) -> None:
    store = host("a", lease=4.0)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs = open_docs(store)
        facade.stop(1)
        before = token(facade, 0)
        until(lambda: token(facade, 0) != before)
        facade.start(1)
        until(lambda: token(facade, 0) == token(facade, 1) != before)
        docs.apply(Batch(upserts=[point(1)]))
    assert agree(facade)


# What a lost run left


@STRICT
@pytest.mark.parametrize("node", [0, 1, 2])
def test_writes_that_only_one_replica_has_are_settled_by_the_next_run(
    facade: QdrantFacade, host: Hosts, node: int
) -> None:
    one = host("a", patience=0.3)
    one.create("docs", SETTINGS)
    docs = open_docs(one)
    docs.apply(Batch(upserts=[own_point(n) for n in range(10)]))
    with one.lock("docs"):
        facade.stop(1)
        with pytest.raises(StoreError, match="failed to apply operation"):
            docs.apply(Batch(upserts=[own_point(2, "new"), own_point(20), own_point(21)]))
        with pytest.raises(StoreError, match="failed to apply operation"):
            docs.apply(Batch(deletes=[ident(3), ident(4)]))
        with pytest.raises(StoreError, match="failed to apply operation"):
            docs.apply(Batch(overwrites=[(ident(5), own_point(5, "other").payload)]))
    facade.start(1)
    assert points(facade, 0) != points(facade, 1)
    other = host("b", node=node)
    with other.lock("docs"):
        assert agree(facade)
    old, removed, added = ({ident(n) for n in numbers} for numbers in (range(10), (3, 4), (20, 21)))
    if node == 0:
        assert points(facade) == old - removed | added
    elif node == 1:
        assert points(facade) == old
    else:  # without a replica: it asks any of the others
        assert old - removed <= points(facade) <= old | added


@STRICT
def test_a_replica_that_lost_everything_does_not_empty_the_other(
    facade: QdrantFacade, host: Hosts
) -> None:
    one = host("a", patience=0.3)
    one.create("docs", SETTINGS)
    docs = open_docs(one)
    with one.lock("docs"):
        docs.apply(Batch(upserts=[own_point(n) for n in range(10)]))
        facade.stop(1)
        with pytest.raises(StoreError, match="failed to apply operation"):
            docs.apply(Batch(upserts=[own_point(1)]))
    facade.start(1)
    with facade.lock:
        lost: list[Any] = [ident(n) for n in range(10)]
        facade.engine._local.delete(collection_of(facade), lost)
    with host("b").lock("docs"):
        pass
    assert len(points(facade, 1)) == 10


@STRICT
def test_a_killed_ingest_that_lost_a_node_is_completed(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(200):
        (folder / f"{n}.md").write_text(f"# Pump {n}\n\nPump {n} has {n} valves.\n")
    command = ragctl_command("ingest", folder, "-c", "docs", store=facade.urls[2])
    process = subprocess.Popen(command, env=environment(tmp_path / "a"))
    until(lambda: bool(facade.engine.points_upserted))
    facade.stop(1)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    facade.start(1)
    for node in (1, 0):
        done = ragctl("ingest", folder, "-c", "docs", store=facade.urls[node], state=tmp_path / "b")
        assert done.returncode == 0, done.stderr
        assert agree(facade)
    assert "200 unchanged" in done.stdout + done.stderr


# Clusters that have lost a node


@pytest.mark.parametrize("down", [0, 1])
@pytest.mark.parametrize("entry", [0, 1, 2])
def test_a_run_needs_only_the_replicas_that_a_write_needs(
    facade: QdrantFacade, host: Hosts, down: int, entry: int
) -> None:
    if entry == down:
        pytest.skip("the node that is asked is down")
    host("a", node=entry).create("docs", SETTINGS)
    facade.stop(down)
    store, other = host("a", node=entry), host("b", node=2)
    started = time.monotonic()
    with store.lock("docs"):
        open_docs(store).apply(Batch(upserts=[point(1)]))
        before = token(facade, 1 - down)
        until(lambda: token(facade, 1 - down) != before)  # it is renewed
        with pytest.raises(Locked), other.lock("docs"):
            pass
        facade.start(down)  # in the middle of a run
        open_docs(store).apply(Batch(upserts=[point(2)]))
    assert time.monotonic() - started < 10
    assert agree(facade)
    assert points(facade) == {ident(1), ident(2)}


def test_a_node_lost_in_the_middle_of_a_run_does_not_end_it(
    facade: QdrantFacade, host: Hosts
) -> None:
    store = host("a", node=2)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        docs = open_docs(store)
        for down in (1, 0):
            facade.stop(down)
            before = token(facade, 1 - down)
            until(lambda down=down, before=before: token(facade, 1 - down) != before)  # type: ignore[misc]
            docs.apply(Batch(upserts=[point(down)]))
            facade.start(down)
            assert agree(facade)
    assert points(facade) == {ident(0), ident(1)}


@pytest.mark.parametrize(
    ("facade", "line"),
    [
        ({"write_consistency": 2}, r"shard 0 \(peer 1001 active, peer 1002 active\)"),
        ({"nodes": 2}, r"shard 0 \(peer 1001 active, peer 1002 active\)"),
        ({"replicas": 3, "write_consistency": 3}, r"shard 0 \(peer 1001 .*, peer 1003 active\)"),
    ],
    indirect=["facade"],
)
def test_without_the_replicas_for_a_write_a_run_is_refused_soon(
    facade: QdrantFacade, host: Hosts, line: str
) -> None:
    store = host("a", patience=120.0, lease=45.0)
    store.create("docs", SETTINGS)
    with store.lock("docs"):
        open_docs(store).apply(Batch(upserts=[point(1)]))
    facade.stop(1)
    started = time.monotonic()
    with pytest.raises(StoreError, match=rf"too few replicas answer .*{line}") as caught:
        store.lock("docs").__enter__()
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)
    assert open_docs(store).query(Query(1, axis(1)))[0].id == ident(1)
    facade.start(1)
    with host("b", lease=45.0).lock("docs"):
        assert agree(facade)


@pytest.mark.parametrize(
    ("facade", "line"),
    [
        ({"write_consistency": 2}, r"shard 0 \(peer 1001 active, peer 1002 active\)"),
        ({"nodes": 2}, r"shard 0 \(peer 1001 active, peer 1002 active\)"),
        ({"replicas": 3, "write_consistency": 3}, r"shard 0 \(peer 1001 .*, peer 1003 active\)"),
    ],
    indirect=["facade"],
)
def test_a_node_that_hangs_is_named_soon(facade: QdrantFacade, host: Hosts, line: str) -> None:
    store = host("a", patience=120.0, lease=45.0)
    store.create("docs", SETTINGS)
    facade.hang(1)
    started = time.monotonic()
    with pytest.raises(StoreError, match=rf"no answer within .*{line}"):
        store.lock("docs").__enter__()
    assert time.monotonic() - started < 10
    facade.start(1)
    with host("b", lease=SHORT).lock("docs"):
        assert agree(facade)


def test_a_run_works_once_the_cluster_has_taken_the_hanging_replica_out(
    facade: QdrantFacade, host: Hosts
) -> None:
    store = host("a", lease=45.0)
    store.create("docs", SETTINGS)
    facade.hang(1)
    facade.cluster.dead.add((collection_of(facade), 1))
    started = time.monotonic()
    with store.lock("docs"):
        open_docs(store).apply(Batch(upserts=[point(1)]))
    assert time.monotonic() - started < 10
    facade.start(1)
    assert agree(facade)


def test_an_address_that_hangs_is_named_soon(facade: QdrantFacade, host: Hosts) -> None:
    facade.hang(0)
    started = time.monotonic()
    with pytest.raises(StoreError, match="no answer in time; gave up after 3 tries"):
        host("a", patience=120.0).lock("docs").__enter__()
    assert time.monotonic() - started < 10


@STRICT
def test_an_ingest_without_a_replica_ends_soon_and_searches_work(
    facade: QdrantFacade, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Pump\n\nThe pump has seven valves.\n")
    store, state = facade.urls[0], tmp_path / "state"
    assert ragctl("ingest", folder, "-c", "docs", store=store, state=state).returncode == 0
    facade.stop(1)
    (folder / "b.md").write_text("# Motor\n\nThe motor has two coils.\n")
    done = ragctl("ingest", folder, "-c", "docs", store=store, state=state)
    assert done.returncode == StoreError.exit_code
    (line,) = [line for line in done.stderr.splitlines() if "too few replicas answer" in line]
    assert "shard 0 (peer 1001 active, peer 1002 active)" in line
    (waited,) = re.findall(r"gave up after \d+ tr\w+ in (\d+) s", line)
    assert int(waited) < 8  # the whole command takes as long as a busy machine lets it
    found = ragctl("search", "valves", "-c", "docs", store=store, state=state)
    assert "a.md" in found.stdout
    facade.start(1)
    assert ragctl("ingest", folder, "-c", "docs", store=store, state=state).returncode == 0
    assert agree(facade)


@pytest.mark.parametrize("facade", [{"replicas": 3, "write_consistency": 2}], indirect=True)
@pytest.mark.parametrize("down", [0, 1, 2])
def test_two_of_three_replicas_are_enough(facade: QdrantFacade, host: Hosts, down: int) -> None:
    entry = (down + 1) % 3
    store = host("a", node=entry)
    store.create("docs", SETTINGS)
    facade.stop(down)
    with store.lock("docs"):
        open_docs(store).apply(Batch(upserts=[point(1)]))
    facade.start(down)
    assert agree(facade)


def test_the_lease_of_a_run_killed_elsewhere_is_taken_with_a_node_down(
    facade: QdrantFacade, host: Hosts, tmp_path: Path
) -> None:
    other = host("b", node=2)
    other.create("docs", SETTINGS)
    with writing(facade.urls[0], tmp_path / "a", SHORT) as writer:
        assert writer.write(1) == "written"
        facade.stop(0)
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
    started = time.monotonic()
    with other.lock("docs"):
        assert time.monotonic() - started >= SHORT
        open_docs(other).apply(Batch(upserts=[point(2)]))
    facade.start(0)
    assert agree(facade)


def environment(state: Path) -> dict[str, str]:
    return {**os.environ, "RAGCTL_LEASE_SECONDS": "1", "XDG_STATE_HOME": str(state)}


def ragctl_command(*words: object, store: str) -> list[str]:
    return [sys.executable, "-m", "ragctl", *map(str, words), "--store", store]


def ragctl(*words: object, store: str, state: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ragctl_command(*words, store=store),
        env=environment(state),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
