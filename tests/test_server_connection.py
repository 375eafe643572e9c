"""Faults between ragctl and a server: the same final state, or a one-line error."""

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragctl.collection.conditions import Match
from ragctl.collection.payload import KEYWORD_INDEXES, SparseVector
from ragctl.errors import StoreError
from ragctl.stores.base import Batch, Collection, Query
from ragctl.stores.server import ServerStore
from tests.servers.qdrant import Fault, QdrantFacade
from tests.store_contract import SETTINGS, axis, ident, point

pytestmark = pytest.mark.slow

WRITES = "PUT *|POST */points/batch|DELETE *"
BATCH = "*/points/batch"
KEY = "key-5f0c1b"

FAULTS = {
    "429 with Retry-After": Fault("status", WRITES, status=429, retry_after="0"),
    "429": Fault("status", WRITES, status=429),
    "429 with an invalid Retry-After": Fault("status", WRITES, status=429, retry_after="soon"),
    "500": Fault("status", WRITES, status=500),
    "503 twice": Fault("status", WRITES, status=503, times=2),
    "408": Fault("status", WRITES, status=408),
    "connection lost before the write": Fault("cut-before", WRITES),
    "connection lost after the write": Fault("cut-after", WRITES),
    "connection lost within the response": Fault("short", WRITES),
    "truncated JSON": Fault("truncated", WRITES),
    "HTML page": Fault("html", WRITES),
    "queued": Fault("queued", "PUT */index|PUT */points|POST */points/batch"),
}


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with QdrantFacade(version=getattr(request, "param", "1.17.0")) as facade:
        yield facade


@pytest.fixture
def connect(facade: QdrantFacade, tmp_path: Path) -> Iterator[Callable[..., ServerStore]]:
    """Return a function that opens stores on the façade, with short pauses."""
    stores = []

    def connected(url: str = facade.url, **options: Any) -> ServerStore:
        short = {"patience": 5.0, "backoff": 0.005, **options}
        stores.append(ServerStore(url, state=tmp_path, **short))
        return stores[-1]

    yield connected
    for store in stores:
        store.close()


def all_points(collection: Collection) -> dict[str, Any]:
    return {
        p.id: (p.payload, None if p.dense is None else p.dense.tolist(), p.sparse)
        for p in collection.scroll(vectors=True)
    }


def write_everything(store: ServerStore) -> dict[str, Any]:
    """Do every kind of write that ragctl does, and return the final points."""
    store.drop("docs")
    collection = store.create("docs", SETTINGS)
    collection.apply(Batch(upserts=[point(n) for n in range(1, 6)], marks=[point(6, mark="whole")]))
    collection.apply(
        Batch(
            upserts=[point(2, text="new"), point(7)],
            overwrites=[(ident(1), {"source": "moved"})],
            mark_overwrites=[(ident(6), {"source": "d6", "mark": "part"})],
            merges=[((Match("source", ("d3",)),), {"size": 5})],
            deletes=[ident(4), ident(5)],
        )
    )
    assert store.names() == ["docs"]
    assert collection.count() == len(all_points(collection))
    return all_points(collection)


@pytest.mark.parametrize("facade", ["1.15.4", "1.17.0"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_every_write_does_not_change_the_result(
    facade: QdrantFacade, connect: Callable[..., ServerStore], fault: str
) -> None:
    store = connect()
    write_everything(store)
    before = facade.requests.copy()
    expected = write_everything(store)
    assert len(expected) == 5
    due = FAULTS[fault]
    writes = sum(n for route, n in (facade.requests - before).items() if due.matches(route))
    assert writes >= len(KEYWORD_INDEXES) + 2  # the indexes and two batches
    for _ in range(writes):
        facade.inject(replace(due), Fault("pass", due.route))  # the second try of each succeeds
    assert write_everything(store) == expected
    assert not any(fault.times for fault in facade.faults), "a write was not hit by its fault"


def test_a_write_that_times_out_is_repeated(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    store = connect(timeout=1)
    expected = write_everything(store)
    facade.inject(Fault("slow", BATCH, seconds=30))
    assert write_everything(store) == expected


def test_retry_after_is_respected(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    collection = connect().create("docs", SETTINGS)
    facade.inject(Fault("status", BATCH, status=429, retry_after="1"))
    started = time.monotonic()
    collection.apply(Batch(upserts=[point(1)]))
    assert 1.0 <= time.monotonic() - started < 4.0
    assert collection.count() == 1


# Giving up


@pytest.mark.parametrize("kind", ["status", "cut-before", "cut-after", "queued"])
def test_giving_up_within_the_patience_is_a_one_line_error(
    facade: QdrantFacade, connect: Callable[..., ServerStore], kind: Any
) -> None:
    collection = connect(patience=0.3).create("docs", SETTINGS)
    facade.inject(Fault(kind, BATCH, status=503, times=10_000, message="shard\nis\x1b[31m away"))
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^collection 'docs' at http.*; gave up after") as caught:
        collection.apply(Batch(upserts=[point(1)]))
    assert time.monotonic() - started < 2.0
    assert str(caught.value).isprintable()
    assert facade.requests["POST /collections/{name}/points/batch"] > 3


def test_a_retry_after_beyond_the_patience_fails_at_once(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    collection = connect().create("docs", SETTINGS)
    facade.inject(Fault("status", BATCH, status=429, retry_after="3600"))
    with pytest.raises(StoreError, match="asks to wait 3600 s; gave up after 1 try in 0 s"):
        collection.apply(Batch(upserts=[point(1)]))


def test_a_permanent_error_is_not_retried(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    collection = connect().create("docs", SETTINGS)
    facade.inject(Fault("status", BATCH, status=507, message="No space left"))
    with pytest.raises(StoreError, match=r"'docs' at http.*: No space left \(HTTP 507\)"):
        collection.apply(Batch(upserts=[point(1)]))
    assert facade.requests["POST /collections/{name}/points/batch"] == 1


def test_using_a_dropped_collection_is_an_error(connect: Callable[..., ServerStore]) -> None:
    store = connect()
    collection = store.create("docs", SETTINGS)
    connect().drop("docs")
    for use in (collection.count, lambda: collection.apply(Batch(upserts=[point(1)]))):
        with pytest.raises(StoreError, match=r"'docs' at http\S+ it was deleted or replaced after"):
            use()
    assert store.open("docs") is None


def test_a_search_while_the_collection_is_dropped_answers_or_says_so(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    writer, reader = connect(), connect()
    outcomes: list[str] = []
    ended = threading.Event()

    def search() -> None:
        while not ended.is_set():
            try:
                found = reader.open("docs")
                if found is not None:
                    found.query(Query(3, axis(1), SparseVector([1], [1.0])))
                    found.facet("source")
                outcomes.append("answered")
            except StoreError as error:
                outcomes.append(str(error))

    searcher = threading.Thread(target=search)
    searcher.start()
    for _ in range(10):
        writer.create("docs", SETTINGS).apply(Batch(upserts=[point(n) for n in range(9)]))
        writer.drop("docs")
    ended.set()
    searcher.join(30)
    refused = [line for line in outcomes if line != "answered"]
    assert len(refused) < len(outcomes)
    for line in refused:
        assert (
            "it was deleted or replaced after it was opened" in line
            or "does not exist (any" in line
        )


# No server, or not a Qdrant server


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_missing_server_is_reported_quickly(
    connect: Callable[..., ServerStore], closed_port: int
) -> None:
    store = connect(f"http://127.0.0.1:{closed_port}", patience=120.0)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"no Qdrant at http://127\S+ \(.*refused.*--store$"):
        store.names()
    assert time.monotonic() - started < 5.0


def test_a_lost_server_is_retried_within_the_patience(tmp_path: Path) -> None:
    with QdrantFacade() as facade:
        store = ServerStore(facade.url, state=tmp_path, patience=0.4, backoff=0.01)
        collection = store.create("docs", SETTINGS)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"'docs' at .*refused; gave up after \d+ tries"):
        collection.count()
    assert time.monotonic() - started > 0.15
    store.close()


def test_a_server_that_is_not_qdrant_is_reported(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    facade.inject(Fault("html", "GET /", times=99))
    with pytest.raises(StoreError, match="not from Qdrant"):
        connect(patience=60.0).names()
    assert facade.requests["GET /"] == 3


@pytest.mark.parametrize("facade", ["1.9.2"], indirect=True)
def test_a_server_that_is_too_old_is_refused(connect: Callable[..., ServerStore]) -> None:
    store = connect()
    too_old = r"Qdrant 1\.9 at .* is too old; ragctl needs 1\.12"
    with pytest.raises(StoreError, match=too_old):
        store.names()
    with pytest.raises(StoreError, match=too_old):
        store.open("docs")
    with pytest.raises(StoreError, match=too_old):
        store.create("docs", SETTINGS)


# Keys


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "wants a key; set it in QDRANT_API_KEY"),
        (KEY, "refused the key in QDRANT_API_KEY; set it to a key with that right"),
    ],
)
def test_a_missing_key_is_reported(
    facade: QdrantFacade, connect: Callable[..., ServerStore], key: str | None, message: str
) -> None:
    facade.api_key = "another"
    with pytest.raises(StoreError, match=message):
        connect(api_key=key).open("docs")
    assert facade.requests["GET /collections/{name}"] == 0


def test_errors_never_show_the_key(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    """Even if the server, or a proxy, sends it back."""
    facade.api_key = KEY
    store = connect(api_key=KEY, patience=0.1)
    collection = store.create("docs", SETTINGS)
    for status in (400, 401, 403, 404, 413, 429, 500):
        echo = Fault("status", "*", status=status, times=99, message=f"api-key: {KEY} is bad")
        for fault in (echo, replace(echo, retry_after="1")):
            facade.faults = [fault]
            with pytest.raises(StoreError) as caught:
                collection.query(Query(limit=1, dense=axis(0)))
            shown = "".join(traceback.format_exception(caught.value, chain=True))
            assert KEY not in shown
            assert "***" in str(caught.value)
    assert KEY not in f"{store!r} {collection!r} {collection._connection!r}"
    facade.faults = []
    assert collection.count() == 0


def test_a_read_only_key_can_search(
    facade: QdrantFacade, connect: Callable[..., ServerStore]
) -> None:
    facade.inject(Fault("status", "PUT */index", times=99, status=403))
    connect().create("docs", SETTINGS)
    facade.inject(Fault("status", WRITES, times=99, status=403, message="Forbidden"))
    reader = connect(api_key=KEY).open("docs")
    assert reader is not None
    assert reader.query(Query(limit=1, dense=axis(0))) == []
    with pytest.raises(StoreError, match="refused the key"):
        reader.apply(Batch(upserts=[point(1)]))
