"""Shard keys: a shard for each listed tenant, which a filter on the tenant reaches alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ragctl.collection.conditions import AllOf, AnyOf, Match
from ragctl.collection.payload import Point
from ragctl.collection.server_options import FALLBACK_KEY, ServerOptions
from ragctl.collection.shard_keys import ShardKeys
from ragctl.errors import StoreError
from ragctl.pipeline.server import Server
from ragctl.stores.base import Batch, Collection, Fusion, Query
from ragctl.stores.server import ServerStore
from ragctl.stores.server_points import HIDDEN
from tests.searching import searcher
from tests.servers.jina import JinaServer
from tests.servers.qdrant import Fault, QdrantFacade
from tests.servers.qdrant_rights import token
from tests.store_contract import SETTINGS, any_payload, axis, ident, point
from tests.world import World, paragraphs

KEY = "manage-key"
OPTIONS = ServerOptions(tenant="customer", shard_keys=("acme", "globex"))
SHARDED = replace(SETTINGS, fields={"customer": "keyword"}, server=OPTIONS)
SHARDS = ShardKeys("customer", ("acme", "globex"))
TABLE = Server(tenant="customer", shard_keys=("globex", "acme"))
PLACE = "docs@1"

Connect = Callable[..., ServerStore]


@pytest.fixture(params=["1.15.4", "1.19.0"])
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with QdrantFacade(version=request.param, api_key=KEY, distributed=True) as facade:
        yield facade


@pytest.fixture
def connect(facade: QdrantFacade, tmp_path: Path) -> Iterator[Connect]:
    """Return a function: the store of a host with a key."""
    with ExitStack() as stack:

        def store(host: str = "a", key: str = KEY) -> ServerStore:
            options: Any = {"patience": 2.0, "backoff": 0.01, "lease": 3.0}
            made = ServerStore(facade.url, api_key=key, state=tmp_path / host, **options)
            stack.callback(made.close)
            return made

        yield store


def of_tenant(number: int, customer: object) -> Point:
    """Return a point of a customer; None: without the field."""
    meta = {} if customer is None else {"customer": customer}
    made = point(number)
    return replace(made, payload=any_payload(**made.payload, meta=meta))


def stored(facade: QdrantFacade, key: str, place: str = PLACE) -> dict[str, Any]:
    """Return the payloads in the shard of a key, by id."""
    records, _ = facade.engine._local.scroll(f"{place}#{key}", limit=10_000)
    return {str(record.id): record.payload for record in records}


def ids(facade: QdrantFacade, key: str) -> set[str]:
    return set(stored(facade, key)) - {HIDDEN}


def open_docs(store: ServerStore) -> Collection:
    docs = store.open("docs")
    assert docs is not None
    return docs


# The key of a document, and those of a filter


@pytest.mark.parametrize(
    ("meta", "key"),
    [
        ({"customer": "acme"}, "acme"),
        ({"customer": ["globex"]}, "globex"),
        ({"customer": "Acme"}, FALLBACK_KEY),
        ({"customer": "initech"}, FALLBACK_KEY),
        ({"customer": 7}, FALLBACK_KEY),
        ({"customer": None}, FALLBACK_KEY),
        ({"customer": []}, FALLBACK_KEY),
        ({}, FALLBACK_KEY),
        (None, FALLBACK_KEY),
    ],
)
def test_the_key_of_a_document(meta: Any, key: str) -> None:
    assert SHARDS.of({"source": "a", "meta": meta}) == key


def test_a_document_of_several_tenants_has_no_key() -> None:
    with pytest.raises(StoreError, match=r"document 'a': its field 'customer' has 2 values"):
        SHARDS.of({"source": "a", "meta": {"customer": ["acme", "globex"]}})


ACME, BOTH = Match("meta.customer", ("acme",)), Match("meta.customer", ("globex", "acme"))


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        ((), None),
        ((ACME,), ["acme"]),
        ((Match("source", ("a",)), AllOf((ACME,))), ["acme"]),
        ((BOTH,), ["acme", "globex"]),
        ((Match("meta.customer", ("initech",)),), [FALLBACK_KEY]),
        ((AnyOf((ACME, Match("source", ("a",)))),), None),
        ((Match("meta.other", ("acme",)),), None),
    ],
)
def test_the_keys_that_a_filter_reaches(where: Any, keys: list[str] | None) -> None:
    assert SHARDS.reached(where) == keys


# The collection on the server


def test_points_are_in_the_shard_of_their_tenant(facade: QdrantFacade, connect: Connect) -> None:
    store = connect()
    with store.lock("docs"):
        made = store.create("docs", SHARDED)
        made.apply(
            Batch(
                upserts=[of_tenant(1, "acme"), of_tenant(2, "globex"), of_tenant(3, "initech")],
                marks=[of_tenant(4, "acme"), of_tenant(5, None)],
                merges=[((Match("source", ("d1", "d2", "d5")),), {"size": 9})],
            )
        )
        made.apply(Batch(deletes=[ident(3), ident(4)]))
        made.note({"billed": {"jina": 5}})
    assert (ids(facade, "acme"), ids(facade, "globex")) == ({ident(1)}, {ident(2)})
    assert ids(facade, FALLBACK_KEY) == {ident(5)}
    assert HIDDEN in stored(facade, FALLBACK_KEY)
    assert [stored(facade, key)[ident(n)]["size"] for key, n in (("acme", 1), ("other", 5))] == [
        9,
        9,
    ]
    again = open_docs(connect("b"))
    assert again.settings.server == OPTIONS
    assert again.notes() == {"billed": {"jina": 5}}
    assert {each.id for each in again.scroll()} == {ident(n) for n in (1, 2, 5)}
    assert again.count() == 3
    state = again.server_state()
    assert state is not None
    assert state.shards is not None
    assert len(state.shards) == 3
    with connect("b").lock("docs"), closing(again):
        again.apply(Batch(mark_overwrites=[(ident(5), of_tenant(5, None).payload)]))


def test_a_filter_on_the_tenant_reaches_one_shard(facade: QdrantFacade, connect: Connect) -> None:
    made = connect().create("docs", SHARDED)
    made.apply(Batch(upserts=[of_tenant(n, ("acme", "globex", None)[n % 3]) for n in range(30)]))
    sparse = of_tenant(3, "acme").sparse
    queries = [
        Query(5, axis(3)),
        Query(5, None, sparse),
        Query(5, axis(3), sparse),
        Query(5, axis(3), sparse, fusion=Fusion("dbsf")),
        Query(5, axis(3), sparse, exact=True),
        Query(3, axis(3), diversity=0.5),
    ]
    for query in queries:
        everywhere = made.query(replace(query, limit=30))
        facade.engine.shards.reached.clear()
        hits = made.query(replace(query, where=(ACME,)))
        assert set(facade.engine.shards.reached) == {("acme",)}, query
        assert hits
        assert {each.id for each in hits} <= {ident(n) for n in range(0, 30, 3)}
        assert {each.id for each in hits} <= {each.id for each in everywhere}
    facade.engine.shards.reached.clear()
    assert made.count((ACME,)) == 10
    assert len(list(made.scroll((ACME,)))) == 10
    assert set(facade.engine.shards.reached) == {("acme",)}
    made.query(Query(5, axis(3)))
    assert ("acme", "globex", FALLBACK_KEY) in facade.engine.shards.reached


def test_a_document_moves_to_the_shard_of_its_new_tenant(
    facade: QdrantFacade, connect: Connect
) -> None:
    made = connect().create("docs", SHARDED)
    points = [of_tenant(n, "acme") for n in range(4)]
    made.apply(Batch(upserts=points))
    moved = [(each.id, of_tenant(n, "globex").payload) for n, each in enumerate(points)]
    batch = Batch(
        overwrites=moved[1:3], mark_overwrites=moved[:1], upserts=[of_tenant(3, "globex")]
    )
    made.apply(batch)
    made.apply(batch)  # repeated, as after a lost answer
    assert (ids(facade, "acme"), ids(facade, "globex")) == (set(), {ident(n) for n in range(4)})
    (kept,) = made.retrieve([ident(2)], vectors=True)
    assert np.array_equal(kept.dense if kept.dense is not None else [], axis(2))
    with pytest.raises(StoreError, match="No point with id"):
        made.apply(Batch(overwrites=[(ident(99), of_tenant(99, "acme").payload)]))


def test_what_a_killed_move_left_in_the_old_shard_is_deleted(
    facade: QdrantFacade, connect: Connect
) -> None:
    made = connect().create("docs", SHARDED)
    made.apply(Batch(upserts=[of_tenant(1, "acme")]))
    new = of_tenant(1, "globex")
    body = {
        "points": [{"id": new.id, "vector": {"dense": axis(1).tolist()}, "payload": new.payload}],
        "shard_key": "globex",
    }
    url = f"{facade.url}/collections/{PLACE}/points?wait=true"
    httpx.put(url, json=body, headers={"api-key": KEY}).raise_for_status()
    assert made.count() == 2  # the id is in two shards
    made.apply(Batch(overwrites=[(new.id, new.payload)]))
    assert (made.count(), ids(facade, "globex")) == (1, {ident(1)})


def test_the_server_wants_a_key_for_every_write(facade: QdrantFacade, connect: Connect) -> None:
    connect().create("docs", SHARDED)
    url = f"{facade.url}/collections/{PLACE}"
    send = {"headers": {"api-key": KEY}}
    body: dict[str, Any] = {"points": [{"id": 1, "vector": {}}]}
    refused = httpx.put(f"{url}/points", json=body, **send)  # type: ignore[arg-type]
    assert (refused.status_code, "Shard key not specified" in refused.text) == (400, True)
    unknown = httpx.put(f"{url}/points", json={**body, "shard_key": "x"}, **send)  # type: ignore[arg-type]
    assert "Shard key x not found" in unknown.text
    again = httpx.put(f"{url}/shards", json={"shard_key": "acme"}, **send)  # type: ignore[arg-type]
    assert "Sharding key acme already exists" in again.text


def test_a_server_that_is_no_cluster_is_named(tmp_path: Path) -> None:
    with (
        QdrantFacade() as facade,
        closing(ServerStore(facade.url, state=tmp_path)) as store,
        store.lock("docs"),
    ):
        with pytest.raises(StoreError, match=r"shard_keys needs a Qdrant .* cluster\.enabled"):
            store.create("docs", SHARDED)
        assert not facade.engine.configs
        store.create("docs", SETTINGS)


def test_keys_need_manage_rights_once(facade: QdrantFacade, connect: Connect) -> None:
    refusal = "Forbidden: Global access is required"
    facade.inject(Fault("status", "PUT */shards", status=403, message=refusal))
    with pytest.raises(StoreError, match=r"QDRANT_API_KEY; set it to a key with the right to man"):
        connect().create("docs", SHARDED)
    assert not facade.engine.configs
    connect().create("docs", SHARDED)
    writer = connect("b", key=token(KEY, {"docs": "rw"}))
    with writer.lock("docs"):
        open_docs(writer).apply(Batch(upserts=[of_tenant(1, "acme"), of_tenant(2, "initech")]))
    assert ids(facade, "acme") == {ident(1)}


def test_a_lost_answer_to_the_creation_of_a_key_is_no_failure(
    facade: QdrantFacade, connect: Connect
) -> None:
    facade.inject(Fault("cut-after", "PUT */shards", times=2))
    connect().create("docs", SHARDED)
    assert facade.engine.shards.keys[PLACE] == ["acme", "globex", FALLBACK_KEY]


# Runs


@pytest.fixture
def world(facade: QdrantFacade, host: JinaServer, tmp_path: Path) -> World:
    (tmp_path / "docs").mkdir()
    world = World(tmp_path / "docs", facade.url, host)
    facade.api_key = None
    return world


def write(world: World, name: str, customer: str) -> None:
    front = f"---\ncustomer: {customer}\n---\n"
    world.write(name, front + paragraphs(f"valve of {name}", f"pump of {name}"))


def test_runs_and_searches_of_tenants(world: World, facade: QdrantFacade) -> None:
    for name, customer in (("a.md", "acme"), ("g.md", "globex"), ("i.md", "initech")):
        write(world, name, customer)
    write(world, "both.md", "[acme, globex]")
    report = world.ingest(server=TABLE)
    assert report.documents.added == 3
    (failure,) = report.failures
    assert "its field 'customer' has 2 values" in failure.error
    world.root.joinpath("both.md").unlink()
    world.forget()
    assert world.ingest().documents.unchanged == 3
    write(world, "a.md", "globex")  # the same text, of another tenant
    assert world.ingest().documents.updated == 1
    assert world.embedded() == []
    assert len(world.sources()) == 3
    with searcher(world) as found:
        assert {hit.source for hit in found.search("valve")} == {
            "docs/a.md",
            "docs/g.md",
            "docs/i.md",
        }
        facade.engine.shards.reached.clear()
        hits = found.search("valve", where="customer=globex")
        assert {hit.source for hit in hits} == {"docs/a.md", "docs/g.md"}
        if facade.engine.version >= (1, 16):  # before, opening reads the hidden point
            assert set(facade.engine.shards.reached) == {("globex",)}
        assert found.search("valve", where="customer=acme") == []
        assert {hit.source for hit in found.search("valve", where="customer=initech")} == {
            "docs/i.md"
        }
    before = world.state()
    world.root.joinpath("i.md").unlink()
    assert world.ingest(prune_limit=100).documents.removed == 1
    assert len(world.state()) < len(before)
