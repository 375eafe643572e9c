"""Limits of a server: the size of a request, strict mode, rate limits; and what is no server."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.collection.conditions import Match
from ragctl.collection.payload import Point, SparseVector
from ragctl.errors import StoreError
from ragctl.stores.base import Batch, Query, Rescore
from ragctl.stores.server import ServerStore
from tests.servers.qdrant import MAX_BODY, Fault, QdrantFacade
from tests.store_contract import SETTINGS, any_payload, axis, ident, point, with_dimension

pytestmark = pytest.mark.slow

BATCH = "POST /collections/{name}/points/batch"
PROXY_LIMIT = 1_000_000  # bytes

Connect = Callable[..., ServerStore]


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade(version="1.18.0") as facade:
        yield facade


@pytest.fixture
def connect(facade: QdrantFacade, tmp_path: Path) -> Iterator[Connect]:
    """Return a function that opens stores on the façade, with short pauses."""
    stores = []

    def connected(url: str = facade.url, **options: Any) -> ServerStore:
        settings = {"patience": 5.0, "backoff": 0.005, **options}
        stores.append(ServerStore(url, state=tmp_path / "state", **settings))
        return stores[-1]

    yield connected
    for store in stores:
        store.close()


def large_points(count: int, text: int = 4000) -> list[Point]:
    """Return points of about 20 kB and `text` bytes each."""
    random = np.random.default_rng(3)
    return [
        Point(
            ident(n),
            any_payload(source=f"d{n}", text="x" * text),
            random.normal(size=2048).astype(np.float32),
        )
        for n in range(count)
    ]


# The size of a request


def test_a_proxys_limit_is_learned_and_kept_with_the_collection(
    facade: QdrantFacade, connect: Connect
) -> None:
    store = connect()
    made = store.create("docs", with_dimension(SETTINGS, 2048))
    facade.proxy_limit = PROXY_LIMIT
    made.apply(Batch(upserts=large_points(300), marks=[point_of_2048(900)], deletes=[ident(0)]))
    assert made.count() == 300
    (learned,) = made.notes()["request_bytes"].values()
    assert PROXY_LIMIT / 4 < learned <= PROXY_LIMIT
    assert list(made.notes()["request_bytes"]) == [facade.url]

    facade.largest_body = 0
    again = connect().open("docs")
    assert again is not None
    again.apply(Batch(upserts=large_points(300)))
    assert 0 < facade.largest_body <= learned  # no request was refused on the way

    other = connect(facade.url.replace("127.0.0.1", "localhost")).open("docs")
    assert other is not None
    facade.proxy_limit = None
    other.apply(Batch(upserts=large_points(300)))
    assert facade.largest_body > 4 * PROXY_LIMIT  # another address has its own limit


def point_of_2048(number: int) -> Point:
    (one,) = large_points(1)
    return replace(one, id=ident(number))


def test_a_server_that_closes_the_connection_gets_smaller_requests(
    facade: QdrantFacade, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.servers.qdrant.MAX_BODY", 2_000_000)
    made = connect().create("docs", with_dimension(SETTINGS, 2048))
    made.apply(Batch(upserts=large_points(300)))
    assert made.count() == 300
    assert facade.largest_body <= 2_000_000
    (learned,) = made.notes()["request_bytes"].values()
    assert 500_000 < learned <= 2_000_000


@pytest.mark.parametrize("limit", [10_000, MAX_BODY])
def test_a_chunk_that_is_too_large_is_named(
    facade: QdrantFacade, connect: Connect, limit: int
) -> None:
    """By a proxy, which says 413; by the server, which closes the connection."""
    made = connect().create("docs", with_dimension(SETTINGS, 2048))
    facade.proxy_limit = limit if limit < MAX_BODY else None
    huge = large_points(2, text=limit)
    line = r"document 'd0' has a chunk of [\d,]+ bytes, which the server, or a proxy before it,"
    with pytest.raises(StoreError, match=line) as caught:
        made.apply(Batch(upserts=huge))
    assert "<" not in str(caught.value)
    assert "request_bytes" not in made.notes()
    assert made.count() == 0


def test_a_lost_connection_does_not_make_requests_smaller(
    facade: QdrantFacade, connect: Connect
) -> None:
    made = connect().create("docs", with_dimension(SETTINGS, 2048))
    facade.inject(Fault("cut-before", BATCH), Fault("pass", BATCH), Fault("cut-after", BATCH))
    for _ in range(2):
        made.apply(Batch(upserts=large_points(100)))
    assert "request_bytes" not in made.notes()


def test_an_ingest_through_a_proxy_stores_everything(
    facade: QdrantFacade, tmp_path: Path, connect: Connect
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(30):
        (folder / f"{n}.md").write_text("\n\n".join(f"{n} paragraph {m} " * 30 for m in range(9)))
    facade.proxy_limit = PROXY_LIMIT
    done = ragctl("ingest", folder, "--dim", "2048", "--chunk-size", "64", store=facade.url)
    assert done.returncode == 0, done.stderr
    found = connect().open("docs")
    assert found is not None
    assert len(found.facet("source")) == 30


# Strict mode


STRICT = {
    "enabled": True,
    "search_allow_exact": False,
    "unindexed_filtering_retrieve": False,
    "unindexed_filtering_update": False,
    "max_query_limit": 40,
    "search_max_hnsw_ef": 64,
    "search_max_oversampling": 1.5,
    "search_max_batchsize": 1,
    "upsert_max_batchsize": 50,
    "filter_max_conditions": 4,
    "condition_max_size": 7,
    "max_payload_index_count": 20,
}


def test_everything_works_in_strict_mode(facade: QdrantFacade, connect: Connect) -> None:
    facade.engine.strict_mode = STRICT
    made = connect().create("docs", replace(SETTINGS, quantization="scalar"))
    points = [point(n, source=f"d{n % 30}", version=f"v{n % 60}") for n in range(1, 251)]
    made.apply(Batch(upserts=points))
    assert facade.engine.largest_upsert == 50
    assert made.count() == 250
    many = Match("source", tuple(f"d{n}" for n in range(20)))
    expected = sum(point.payload["source"] in many.values for point in points)
    assert made.count((many,)) == expected
    assert len({point.id for point in made.scroll((many,))}) == expected
    for of_all in (False, True):
        counts = made.facet("version", of_all=of_all)
        assert len(counts) == 60
        assert sum(counts.values()) == 250
    made.apply(Batch(merges=[((many,), {"size": 77})]))
    assert sum(point.payload.get("size") == 77 for point in made.scroll()) == expected
    both = Query(5, axis(3), SparseVector([3], [1.0]), rescore=Rescore(oversampling=9.0))
    assert made.query(both)[0].id == ident(3)
    with pytest.raises(StoreError, match=r"\(search_allow_exact\); search without --exact"):
        made.query(replace(both, exact=True))


def test_every_command_works_in_strict_mode(facade: QdrantFacade, tmp_path: Path) -> None:
    facade.engine.strict_mode = STRICT
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(12):
        (folder / f"{n}.md").write_text(f"# Pump {n}\n\nPump {n} has {n} valves and a motor.\n")

    def run(*words: object) -> str:
        done = ragctl(*words, store=facade.url)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    run("ingest", folder)
    (folder / "3.md").write_text("# Pump 3\n\nIt has seven valves now.\n")
    (folder / "4.md").unlink()
    run("ingest", folder)
    assert json.loads(run("status", "--json"))["documents"] == 11
    assert "3.md" in run("search", "pump with seven valves", "--limit", "3")
    run("verify")
    run("delete", "5.md", "--yes")
    run("delete", "--all", "--yes")


LIMITED: dict[str, tuple[dict[str, object], str]] = {
    "points": (
        {"max_points_count": 100},
        r"sets max_points_count = 100: .*raise it with PATCH .*ragctl delete frees points",
    ),
    "vectors": (
        {"max_collection_vector_size_bytes": 1000},
        r"sets max_collection_vector_size_bytes = [\d.e-]+MB: ",
    ),
    "payload": (
        {"max_collection_payload_size_bytes": 1000},
        r"sets max_collection_payload_size_bytes = [\d.e-]+MB: ",
    ),
}


@pytest.mark.parametrize("limited", LIMITED)
def test_a_full_collection_is_a_clear_error(
    facade: QdrantFacade, connect: Connect, limited: str
) -> None:
    setting, message = LIMITED[limited]
    made = connect().create("docs", SETTINGS)
    facade.engine.strict_mode = {"enabled": True, **setting}
    points = [point(n) for n in range(600)]  # two requests
    with pytest.raises(StoreError, match=message) as caught:
        made.apply(Batch(upserts=points))
    assert "\n" not in str(caught.value)
    made.apply(Batch(deletes=[ident(n) for n in range(100)]))


def test_too_many_indexes_are_a_clear_error(facade: QdrantFacade, connect: Connect) -> None:
    facade.engine.strict_mode = {"enabled": True, "max_payload_index_count": 3}
    with pytest.raises(StoreError, match="sets max_payload_index_count = 3: raise it"):
        connect().create("docs", SETTINGS)
    assert not facade.engine.configs  # nothing is left behind
    with connect().lock("docs"), pytest.raises(StoreError, match="max_payload_index_count"):
        connect().create("docs", SETTINGS)
    assert not facade.engine.configs
    facade.engine.strict_mode = {}
    connect().create("docs", SETTINGS)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(507, "Insufficient storage"), (400, "Bad request: disk usage quota exceeded")],
)
def test_a_quota_is_a_clear_error(
    facade: QdrantFacade, connect: Connect, status: int, reason: str
) -> None:
    made = connect().create("docs", SETTINGS)
    facade.inject(Fault("status", BATCH, status=status, message=reason))
    with pytest.raises(StoreError, match=r"a quota of the server is used up: .*delete still works"):
        made.apply(Batch(upserts=[point(1)]))


# Rate limits


def test_writes_stay_within_a_rate_limit(facade: QdrantFacade, connect: Connect) -> None:
    store = connect(patience=1.0)
    store.create("docs", SETTINGS)
    facade.engine.strict_mode = {"enabled": True, "write_rate_limit": 1200}  # 20 a second
    made = store.open("docs")
    assert made is not None
    started = time.monotonic()
    made.apply(Batch(upserts=[point(n) for n in range(1180)]))
    made.apply(Batch(upserts=[point(n) for n in range(1180, 1240)]))
    assert made.count() == 1240
    assert 1.0 <= time.monotonic() - started < 20  # longer than the patience


def test_writes_by_filter_stay_within_a_rate_limit(facade: QdrantFacade, connect: Connect) -> None:
    store = connect()
    made = store.create("docs", SETTINGS)
    made.apply(Batch(upserts=[point(n, source="one") for n in range(100)]))
    facade.engine.strict_mode = {"enabled": True, "write_rate_limit": 90}
    limited = store.open("docs")
    assert limited is not None
    sizes = [
        len(list(limited.scroll(where)))
        for where, _ in limited._merges(Batch(merges=[((Match("source", ("one",)),), {"size": 1})]))
    ]
    assert sizes == [90, 10]


def test_waits_that_the_server_asks_for_do_not_use_up_the_patience(
    facade: QdrantFacade, connect: Connect
) -> None:
    made = connect(patience=0.5).create("docs", SETTINGS)
    facade.inject(Fault("status", BATCH, status=429, retry_after="1", times=2))
    made.apply(Batch(upserts=[point(1)]))
    assert made.count() == 1


def test_waits_that_the_server_asks_for_end(facade: QdrantFacade, connect: Connect) -> None:
    made = connect(patience=0.5).create("docs", SETTINGS)
    facade.inject(Fault("status", BATCH, status=429, retry_after="1", times=10_000))
    line = r"asks to wait 1 s; gave up after 3 tries in 2 s, of which it asked to wait 2 s$"
    with pytest.raises(StoreError, match=line):
        made.apply(Batch(upserts=[point(1)]))


# What is no Qdrant server


def http(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

STRANGERS = {
    "brackets": http(b"[" * 200_000),
    "a list": http(b"[1, 2]"),
    "a number": http(b"7"),
    "an object": http(b'{"hello": "world"}'),
    "a wrong version": http(b'{"version": [1, 18]}'),
    "nested objects": http(b'{"version": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001),
    "not UTF-8": http(b'{"version": "\xff\xfe"}'),
    "nothing": http(b""),
    "HTML": http(b"<html><body>Welcome to nginx!</body></html>", "text/html"),
    "a page not found": http(b"<html>Not Found</html>", "text/html", "404 Not Found"),
    "text": http(b"OK", "text/plain"),
    "a redirect": http(b"", status="301 Moved Permanently"),
    "endless": ENDLESS,
}


@contextmanager
def stranger(answer: bytes) -> Iterator[str]:
    """Answer every request with these bytes, and ENDLESS with a body without end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(answer)
                while answer == ENDLESS:
                    connection.sendall(b" " * 65536)
            except OSError:
                return

    def listen() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@pytest.mark.parametrize("answer", STRANGERS)
def test_what_is_no_qdrant_server_is_named_so(connect: Connect, answer: str) -> None:
    with stranger(STRANGERS[answer]) as url:
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"^http\S+: this is no Qdrant server \(.*\); check"):
            connect(url, patience=60.0).open("docs")
        assert time.monotonic() - started < 10


def test_an_answer_without_end_from_a_qdrant_server_ends(
    facade: QdrantFacade, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = connect().create("docs", SETTINGS)
    made.apply(Batch(upserts=[point(n, text="x" * 100) for n in range(200)]))
    monkeypatch.setattr("ragctl.stores.server_http.MAX_ANSWER_BYTES", 10_000)
    with pytest.raises(StoreError, match=r"'docs' at .*the answer does not end"):
        list(made.scroll())


def ragctl(*words: object, store: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ragctl", *map(str, words), "-c", "docs", "--store", store]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
