"""The store contract over a real socket, and tests of the server store's own features.

Set RAGCTL_TEST_QDRANT_URL to also run the contract on a real server that has no collection of
ragctl .
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

from ragctl.collection.conditions import Between, Match, Prefix
from ragctl.collection.payload import Point, SparseVector
from ragctl.errors import Locked, StoreError, UsageError
from ragctl.stores import open_store
from ragctl.stores.base import Batch, Fusion, Query, Rescore, Store
from ragctl.stores.edge import EdgeStore
from ragctl.stores.server import ServerStore
from tests.generation_contract import GenerationContract
from tests.search_contract import SearchContract, check_quantised_search, equal_scores, typed
from tests.servers.qdrant import Fault, QdrantFacade
from tests.store_contract import (
    DIM,
    SETTINGS,
    StoreContract,
    any_payload,
    axis,
    collection,
    ident,
    point,
    with_dimension,
)

pytestmark = pytest.mark.slow

__all__ = ["collection", "equal_scores", "typed"]

REAL = os.environ.get("RAGCTL_TEST_QDRANT_URL")
OLD_AND_NEW = pytest.mark.parametrize("facade", ["1.12.0", "1.15.4", "1.17.0"], indirect=True)


@pytest.fixture
def facade(request: pytest.FixtureRequest) -> Iterator[QdrantFacade]:
    with QdrantFacade(version=getattr(request, "param", "1.17.0")) as facade:
        yield facade


def server(facade: QdrantFacade, state: Path, **options: Any) -> ServerStore:
    return ServerStore(facade.url, state=state, **{"patience": 10.0, "backoff": 0.01, **options})


@pytest.fixture
def store(facade: QdrantFacade, tmp_path: Path) -> Iterator[Store]:
    store = server(facade, tmp_path)
    yield store
    store.close()


@pytest.mark.parametrize("facade", ["1.15.4", "1.17.0"], indirect=True)
class TestServer(StoreContract):
    pass


@pytest.mark.parametrize("facade", ["1.12.0", "1.15.4", "1.16.0", "1.19.0"], indirect=True)
class TestServerGenerations(GenerationContract):
    pass


@pytest.mark.parametrize("facade", ["1.15.4", "1.19.0"], indirect=True)
class TestServerSearch(SearchContract):
    pass


@pytest.mark.skipif(not REAL, reason="RAGCTL_TEST_QDRANT_URL names no server")
class TestRealServer(StoreContract, SearchContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = open_store(str(REAL), environ=os.environ)
        if found := store.names():
            pytest.skip(f"the server has collections of ragctl: {found}")
        yield store
        for name in ("docs", "other.v2", "typed", "equal_scores", "copies", "small"):
            store.drop(name)
        store.close()


# Collections that are foreign or unfinished


OTHER = {"vectors": {"size": 4, "distance": "Dot"}}
SIMILAR = {
    "vectors": {"dense": {"size": DIM, "distance": "Cosine"}},
    "sparse_vectors": {"bm25": {"modifier": "idf"}},
}


@pytest.mark.parametrize(
    ("facade", "body", "points"),
    [
        ("1.12.0", OTHER, 0),
        ("1.17.0", OTHER, 0),
        ("1.15.4", SIMILAR, 1),
        ("1.17.0", SIMILAR, 0),
    ],
    indirect=["facade"],
)
def test_a_collection_not_made_by_ragctl_is_left_alone(
    facade: QdrantFacade, store: Store, body: dict[str, Any], points: int
) -> None:
    url = f"{facade.url}/collections/theirs"
    httpx.put(url, json=body).raise_for_status()
    if points:
        one = {"points": [{"id": 1, "vector": {}, "payload": {}}]}
        httpx.put(f"{url}/points", json=one).raise_for_status()
    assert store.names() == []
    for forbidden in (store.open, store.drop):
        with pytest.raises(StoreError, match=r"'theirs' at http.*not made by ragctl; choose"):
            forbidden("theirs")
    with pytest.raises(StoreError, match="'theirs' exists already"):
        store.create("theirs", SETTINGS)
    listed = httpx.get(f"{facade.url}/collections").json()["result"]["collections"]
    assert listed == [{"name": "theirs"}]
    assert httpx.post(f"{url}/points/count", json={}).json()["result"]["count"] == points


@pytest.mark.parametrize("facade", ["1.12.0", "1.15.4"], indirect=True)
def test_the_hidden_point_is_never_returned(facade: QdrantFacade, store: Store) -> None:
    made = store.create("docs", SETTINGS)
    raw = httpx.post(f"{facade.url}/collections/docs/points/scroll", json={}).json()
    (hidden,) = raw["result"]["points"]
    assert made.count() == 0
    assert list(made.scroll()) == []
    assert made.retrieve([hidden["id"]]) == []
    made.apply(Batch(upserts=[point(1), Point(ident(2), {"source": "bare"})]))
    made.apply(Batch(merges=[((), {"size": 3})]))
    assert made.count() == 2
    assert {p.id for p in made.scroll()} == {ident(1), ident(2)}
    assert made.facet("source") == {"d1": 1, "bare": 1}
    both = Query(limit=9, dense=axis(1), sparse=SparseVector([1], [1.0]))
    assert [hit.id for hit in made.query(both)] == [ident(1)]
    again = store.open("docs")
    assert again is not None
    assert again.settings == SETTINGS


def test_a_collection_of_an_old_server_works_after_its_upgrade(tmp_path: Path) -> None:
    with QdrantFacade(version="1.15.4") as facade:
        store = server(facade, tmp_path)
        store.create("docs", SETTINGS).apply(Batch(upserts=[point(1)]))
        store.close()
        facade.version, facade.engine.version = "1.17.0", (1, 17)
        store = server(facade, tmp_path)
        assert store.names() == ["docs"]
        collection = store.open("docs")
        assert collection is not None
        assert collection.settings == SETTINGS
        assert collection.count() == 1
        store.close()


@pytest.mark.parametrize("dim", [DIM, 2 * DIM])
def test_an_interrupted_creation_on_an_old_server_is_repeated(tmp_path: Path, dim: int) -> None:
    with QdrantFacade(version="1.15.4") as facade:
        facade.inject(Fault("status", "PUT */points", status=403))
        store = server(facade, tmp_path)
        with pytest.raises(StoreError, match="key"):
            store.create("docs", SETTINGS)
        assert store.names() == []
        assert store.open("docs") is None
        settings = with_dimension(SETTINGS, dim)
        made = store.create("docs", settings)
        made.apply(Batch(upserts=[Point(ident(1), {"source": "s"}, np.ones(dim, np.float32))]))
        assert made.count() == 1
        assert store.names() == ["docs"]
        store.close()


@OLD_AND_NEW
def test_opening_a_collection_creates_missing_indexes(facade: QdrantFacade, store: Store) -> None:
    facade.inject(Fault("status", "PUT */index", times=99, status=400))
    with pytest.raises(StoreError, match="injected"):
        store.create("docs", SETTINGS)
    facade.faults.clear()
    assert store.open("docs") is None
    store.create("docs", SETTINGS)
    facade.engine._indexes["docs@1"].clear()
    collection = store.open("docs")
    assert collection is not None
    assert collection.facet("source") == {}
    before = facade.requests["PUT /collections/{name}/index"]
    store.open("docs")
    assert facade.requests["PUT /collections/{name}/index"] == before


# Fusion


def test_all_server_versions_give_the_same_fusion(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    points = [
        Point(
            ident(n),
            {"source": f"d{n % 3}"},
            random.normal(size=DIM).astype(np.float32),
            SparseVector([1, 2, n + 10], random.uniform(1, 9, 3).round(3).tolist()),
        )
        for n in range(1, 80)
    ]
    sparse = SparseVector([1, 2, 20], [1.0, 2.0, 3.0])
    answers = []
    for version in ("1.12.0", "1.15.4", "1.16.3", "1.17.0"):
        with QdrantFacade(version=version) as facade:
            store = server(facade, tmp_path)
            made = store.create("docs", SETTINGS)
            made.apply(Batch(upserts=points))
            answers.append(
                [
                    (hit.id, round(hit.score, 6), hit.payload)
                    for fusion in (Fusion(), Fusion(k=5, dense=0.3, sparse=2.5, prefetch=30))
                    for where in ((), (Match("source", ("d1", "d2")),))
                    for hit in made.query(
                        Query(12, points[4].dense, sparse, where, fusion, offset=2)
                    )
                ]
            )
            store.close()
    assert len(answers[0]) == 48
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("facade", ["1.15.4", "1.17.0"], indirect=True)
def test_a_server_with_weighted_fusion_gets_one_request(facade: QdrantFacade, store: Store) -> None:
    """Its response includes the payloads of the page; other servers need a second request."""
    made = store.create("docs", SETTINGS)
    points = [
        Point(ident(n), any_payload(n=n), axis(0, tilt=n / 9), SparseVector([5], [1 + 1 / n]))
        for n in range(1, 30)
    ]
    made.apply(Batch(upserts=points))
    both = Query(5, axis(0), SparseVector([5], [1.0]))
    for query, requests in ((both, 1), (replace(both, fusion=Fusion(kind="dbsf")), 0)):
        facade.requests.clear()
        assert [cast(Any, hit.payload)["n"] for hit in made.query(query)] == [1, 2, 3, 4, 5]
        later = requests if facade.version == "1.15.4" else 0
        assert facade.requests == {
            "POST /collections/{name}/points/query/batch": 1,
            **({"POST /collections/{name}/points": later} if later else {}),
        }


# Search parameters


def test_a_search_sets_ef_and_rescoring(facade: QdrantFacade, store: Store) -> None:
    made = store.create("docs", replace(SETTINGS, quantization="scalar"))
    made.apply(Batch(upserts=[point(1)]))
    query = Query(3, dense=axis(1))
    for asked, expected in (
        (query, {"hnsw_ef": 256, "quantization": {"rescore": True, "oversampling": 2.0}}),
        (
            replace(query, ef=32, rescore=Rescore(rescore=False, oversampling=1.5)),
            {"hnsw_ef": 32, "quantization": {"rescore": False, "oversampling": 1.5}},
        ),
        (replace(query, exact=True), {"exact": True}),
    ):
        facade.engine.searches.clear()
        made.query(asked)
        (params,) = facade.engine.searches
        assert params.model_dump(exclude_unset=True, exclude_none=True) == expected


@pytest.mark.parametrize(
    ("version", "kind", "needs"),
    [
        ("1.12.0", "scalar", None),
        ("1.12.0", "binary", None),
        ("1.14.1", "binary2", "1.15"),
        ("1.15.0", "binary2", None),
        ("1.17.0", "turbo1", "1.18"),
        ("1.18.0", "turbo1", None),
        ("1.18.0", "turbo4", None),
    ],
)
def test_quantisation_kinds_require_a_server_version(
    tmp_path: Path, version: str, kind: str, needs: str | None
) -> None:
    with QdrantFacade(version=version) as facade:
        store = server(facade, tmp_path)
        if needs is None:
            check_quantised_search(store, kind)
        else:
            with pytest.raises(StoreError, match=rf"'{kind}'; it needs {needs} or newer"):
                store.create("small", replace(SETTINGS, quantization=kind))
            assert store.names() == []
        store.close()


def test_a_prefix_condition_needs_no_index(store: Store) -> None:
    made = store.create("docs", replace(SETTINGS, fields={"year": "integer"}))
    made.apply(Batch(upserts=[point(1, meta={"a": {"b": "xyz"}, "year": "x"}), point(2, meta={})]))
    assert made.count((Prefix("meta.a.b", "xy"),)) == 1
    assert made.count((Prefix("meta.year", "x"),)) == 1


def test_declared_fields_are_indexed_by_type(facade: QdrantFacade, store: Store) -> None:
    facade.engine.strict_mode = {"enabled": True, "unindexed_filtering_retrieve": False}
    fields = {"a": "keyword", "b": "integer", "c": "float", "d": "bool", "e": "datetime"}
    made = store.create("docs", replace(SETTINGS, fields=fields))
    url = f"{facade.url}/collections/docs"

    def indexed() -> dict[str, str]:
        schema = httpx.get(url).json()["result"]["payload_schema"]
        return {key[5:]: row["data_type"] for key, row in schema.items() if key[:5] == "meta."}

    assert indexed() == fields
    assert made.count((Between("meta.b", gte=1), Match("meta.a", ("x",)))) == 0
    made.declare({"b": "float", "f": "keyword"})
    assert indexed() == {**fields, "b": "float", "f": "keyword"}
    before = facade.requests["PUT /collections/{name}/index"]
    made.declare({"a": "keyword"})
    assert store.open("docs") is not None
    assert facade.requests["PUT /collections/{name}/index"] == before


# Sizes


def test_one_request_holds_many_writes(facade: QdrantFacade, store: Store) -> None:
    made = store.create("docs", SETTINGS)
    made.apply(Batch(upserts=[point(n) for n in range(1, 401)]))
    made.apply(
        Batch(
            overwrites=[(ident(n), {"source": "x", "ordinal": n}) for n in range(1, 401)],
            merges=[((Match("source", ("x",)),), {"size": 1})],
            deletes=[ident(n) for n in range(1, 51)],
        )
    )
    assert facade.requests["POST /collections/{name}/points/batch"] == 2
    assert made.count((Match("size", (1,)),)) == 350


def test_requests_stay_under_the_servers_limit(facade: QdrantFacade, tmp_path: Path) -> None:
    store = server(facade, tmp_path)
    settings = with_dimension(SETTINGS, 4096)
    made = store.create("docs", settings)
    random = np.random.default_rng(1)
    made.apply(
        Batch(
            upserts=[
                Point(ident(n), {"text": "Ж" * 3000}, random.normal(size=4096).astype(np.float32))
                for n in range(600)
            ]
        )
    )
    assert facade.requests["POST /collections/{name}/points/batch"] == 2
    assert 15_000_000 < facade.largest_body < 26_000_000
    assert made.count() == 600
    store.close()


def test_a_point_that_is_too_large_is_a_clear_error(facade: QdrantFacade, store: Store) -> None:
    made = store.create("docs", SETTINGS)
    with pytest.raises(StoreError, match=r"'docs'.*(larger than allowed|connection lost)"):
        made.apply(Batch(upserts=[Point(ident(1), {"text": "x" * 33_600_000})]))
    assert made.count() == 0


def test_limits_of_strict_mode_are_respected(facade: QdrantFacade, store: Store) -> None:
    facade.engine.strict_mode = {
        "enabled": True,
        "upsert_max_batchsize": 100,
        "max_query_limit": 40,
        "search_max_hnsw_ef": 64,
        "unindexed_filtering_retrieve": False,
    }
    made = store.create("docs", SETTINGS)
    made.apply(Batch(upserts=[point(n, version=f"v{n % 60}") for n in range(1, 251)]))
    assert facade.engine.largest_upsert == 100
    assert len(list(made.scroll(vectors=True))) == made.count() == 250
    counts = made.facet("version")
    assert len(counts) == 60
    assert sum(counts.values()) == 250
    both = Query(limit=5, dense=axis(3), sparse=SparseVector([3], [1.0]))
    assert made.query(both)[0].id == ident(3)
    with pytest.raises(StoreError, match=r"Index required but not found for .meta\.lang"):
        made.count((Match("meta.lang", ("ru",)),))


def test_a_facet_with_more_values_than_the_first_limit_is_complete(
    facade: QdrantFacade, store: Store
) -> None:
    made = store.create("docs", SETTINGS)
    made.apply(Batch(upserts=[Point(ident(n), {"source": f"d{n}"}) for n in range(10_001)]))
    assert len(made.facet("source", of_all=True)) == 10_001
    assert facade.requests["POST /collections/{name}/facet"] == 2
    made.apply(Batch(deletes=[ident(1)]))  # the façade's index still counts it
    assert "d1" not in made.facet("source", of_all=True)
    assert facade.requests["POST /collections/{name}/facet"] == 6


# Locks


def test_a_lock_covers_one_collection_on_one_server(tmp_path: Path) -> None:
    with QdrantFacade() as facade, QdrantFacade() as elsewhere:
        one, same, other = (server(f, tmp_path) for f in (facade, facade, elsewhere))
        with one.lock("docs"):
            with pytest.raises(Locked, match="'docs' at http"), same.lock("docs"):
                pass
            with other.lock("docs"), same.lock("docs2"):
                pass
        for store in (one, same, other):
            store.close()


# open_store


def test_open_store_distinguishes_folders_and_addresses(tmp_path: Path) -> None:
    assert isinstance(open_store(str(tmp_path), environ={}), EdgeStore)
    opened = open_store("HTTPS://qdrant.example/db/", environ={})
    assert isinstance(opened, ServerStore)
    assert opened.location == "https://qdrant.example:6333/db"
    opened.close()


@pytest.mark.parametrize(
    ("location", "environ", "message"),
    [
        ("localhost:6333", {}, "write http://localhost:6333"),
        ("qdrant://host", {}, "http://…"),
        ("http://", {}, "write http://host:port"),
        ("http://host:port", {}, "Port could not be cast"),
        ("http://host/?a=1", {}, "no '\\?' or '#'"),
        ("http://me:secret-word@host", {}, "use QDRANT_API_KEY"),
        ("http://host", {"QDRANT_API_KEY": "ключ"}, "QDRANT_API_KEY holds characters"),
        (
            "https://host",
            {"RAGCTL_QDRANT_CA_FILE": "nowhere.pem"},
            r"certificates for https://host:6333 \(nowhere.pem\)",
        ),
    ],
)
def test_open_store_refuses_invalid_locations_and_keys(
    location: str, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_store(location, environ=environ)
    assert "secret-word" not in str(caught.value)
    assert "ключ" not in str(caught.value)


def test_open_store_takes_the_key_from_the_environment() -> None:
    with QdrantFacade(api_key="right-key") as facade:
        for environ in (
            {"QDRANT_API_KEY": "right-key\n"},
            {"RAGCTL_QDRANT_API_KEY": "right-key", "QDRANT_API_KEY": "wrong"},
        ):
            store = open_store(facade.url, environ=environ)
            assert store.names() == []
            assert "right-key" not in repr(store)
            store.close()


@pytest.mark.parametrize("variable", ["RAGCTL_QDRANT_API_KEY", "QDRANT_API_KEY"])
def test_an_error_names_the_environment_variable_of_the_key(variable: str) -> None:
    with (
        QdrantFacade(api_key="right-key") as facade,
        closing(open_store(facade.url, environ={variable: "wrong"})) as store,
        pytest.raises(StoreError, match=f"refused the key in {variable};"),
    ):
        store.names()
    with pytest.raises(UsageError, match=f"^{variable} holds characters"):
        open_store("http://host", environ={variable: "ключ"})


def test_importing_stores_loads_no_client() -> None:
    code = (
        "import sys, ragctl.stores\n"
        "print(sorted({'numpy', 'qdrant_client', 'qdrant_edge'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
