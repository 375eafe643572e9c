"""The façade refuses what a real server refuses, so that the store tests are meaningful."""

import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any

import httpx
import pytest

from tests.servers.qdrant import Fault, QdrantFacade
from tests.store_contract import ident

pytestmark = pytest.mark.slow

DOCS = "/collections/docs"
VECTORS = {
    "vectors": {"dense": {"size": 2, "distance": "Cosine"}},
    "sparse_vectors": {"bm25": {"modifier": "idf"}},
}
POINT = {"id": ident(1), "vector": {"dense": [1.0, 0.0]}, "payload": {"source": "a"}}


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade() as facade:
        yield facade


@pytest.fixture
def client(facade: QdrantFacade) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=facade.url) as client:
        client.put(DOCS, json=VECTORS).raise_for_status()
        yield client


def upsert(**changes: Any) -> dict[str, Any]:
    return {"operations": [{"upsert": {"points": [{**POINT, **changes}]}}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nonsense", None, 404),
        ("POST", f"{DOCS}/points/search", {"vector": [1.0]}, 404),
        ("POST", "/collections/none/points/count", {}, 404),
        ("POST", f"{DOCS}/points/count?wait=true", {}, 400),
        ("PUT", DOCS, VECTORS, 409),
        ("PUT", "/collections/x", {"vectors": {"dense": {"size": 2, "distnce": "Dot"}}}, 400),
        ("PUT", "/collections/x", {**VECTORS, "metdata": {}}, 400),
        ("POST", f"{DOCS}/points/count", {"filtr": {}}, 400),
        ("POST", f"{DOCS}/points/count", {"filter": {"must": [{"key": "a", "mach": 1}]}}, 400),
        ("POST", f"{DOCS}/points/scroll", {"with_vectors": True}, 400),
        ("POST", f"{DOCS}/points/scroll", {"limit": 0}, 422),
        ("POST", f"{DOCS}/points/query", {"query": [1.0, 0.0]}, 400),
        ("POST", f"{DOCS}/points/query", {"query": [1.0], "using": "dense"}, 400),
        ("POST", f"{DOCS}/facet", {"key": "source", "exact": True}, 400),
        ("POST", f"{DOCS}/points/batch", upsert(vectr={}), 400),
        ("POST", f"{DOCS}/points/batch", upsert(id="not-a-uuid"), 400),
        ("POST", f"{DOCS}/points/batch", upsert(vector={"dense": [1.0]}), 400),
        ("POST", f"{DOCS}/points/batch", upsert(vector={"dnse": [1.0, 0.0]}), 400),
        (
            "POST",
            f"{DOCS}/points/batch",
            upsert(vector={"bm25": {"indices": [1, 1], "values": [1.0, 1.0]}}),
            422,
        ),
        (
            "POST",
            f"{DOCS}/points/batch",
            {"operations": [{"overwrite_payload": {"payload": {}, "points": [ident(9)]}}]},
            404,
        ),
        ("POST", f"{DOCS}/points/batch", {"operations": [{"set_payload": {"payload": {}}}]}, 422),
    ],
)
def test_invalid_requests_are_refused(
    client: httpx.Client, method: str, path: str, body: Any, status: int
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    if "nonsense" not in path and "search" not in path:
        assert answer.json()["status"]["error"]
    assert client.post(f"{DOCS}/points/count", json={}).json()["result"] == {"count": 0}


def test_a_write_that_does_not_wait_is_only_acknowledged(client: httpx.Client) -> None:
    for query, status in (("", "acknowledged"), ("?wait=true", "completed")):
        answer = client.post(f"{DOCS}/points/batch{query}", json=upsert()).json()
        assert [result["status"] for result in answer["result"]] == [status]


def test_operations_before_an_invalid_one_are_kept(client: httpx.Client) -> None:
    bad = upsert(id=ident(2), vector={"dense": [1.0]})
    both = {"operations": upsert()["operations"] + bad["operations"]}
    assert client.post(f"{DOCS}/points/batch", json=both).status_code == 400
    assert client.post(f"{DOCS}/points/count", json={}).json()["result"] == {"count": 1}


def test_values_that_look_like_a_uuid_are_counted_as_written(client: httpx.Client) -> None:
    schema = {"field_name": "text_hash", "field_schema": {"type": "keyword"}}
    client.put(f"{DOCS}/index", json=schema).raise_for_status()
    digest = "0123456789abcdef0123456789abcdef"
    client.post(f"{DOCS}/points/batch", json=upsert(payload={"text_hash": digest}))
    found = client.post(f"{DOCS}/facet", json={"key": "text_hash"}).json()
    assert found["result"]["hits"] == [{"value": digest, "count": 1}]


@pytest.mark.parametrize(
    ("version", "keeps_metadata", "best"),
    [("1.15.4", False, None), ("1.16.0", True, 1), ("1.17.0", True, 3)],
)
def test_versions_differ_in_metadata_and_fusion(
    version: str, keeps_metadata: bool, best: int | None
) -> None:
    """Before 1.16, metadata is lost and RRF has no settings; before 1.17, weights are ignored."""
    with QdrantFacade(version=version) as facade, httpx.Client(base_url=facade.url) as client:
        assert client.get("/").json()["version"] == version
        client.put(DOCS, json={**VECTORS, "metadata": {"a": 1}}).raise_for_status()
        info = client.get(DOCS).json()["result"]
        assert ("metadata" in info["config"]) is keeps_metadata
        points = [
            {
                "id": ident(n),
                "vector": {"dense": v, "bm25": {"indices": [7], "values": [float(n)]}},
            }
            for n, v in ((1, [1.0, 0.0]), (2, [1.0, 0.2]), (3, [1.0, 0.1]))
        ]
        client.post(f"{DOCS}/points/batch", json={"operations": [{"upsert": {"points": points}}]})
        sides = [
            {"query": [1.0, 0.0], "using": "dense", "limit": 1},
            {"query": {"indices": [7], "values": [1.0]}, "using": "bm25", "limit": 1},
        ]
        rrf = {"k": 60, "weights": [0.1, 9.0]}
        body = {"prefetch": sides, "query": {"rrf": rrf}, "limit": 1}
        answer = client.post(f"{DOCS}/points/query", json=body)
        found = [hit["id"] for hit in (answer.json()["result"] or {"points": []})["points"]]
        assert found == ([] if best is None else [ident(best)])


@pytest.mark.parametrize(("version", "kept"), [("1.15.4", "c"), ("1.16.0", "a"), ("1.17.0", "a")])
def test_an_update_filter_keeps_points_that_do_not_match(version: str, kept: str) -> None:
    """Before 1.16 the filter is ignored, and every point is overwritten."""
    with QdrantFacade(version=version) as facade, httpx.Client(base_url=facade.url) as client:
        client.put(DOCS, json=VECTORS).raise_for_status()
        client.post(f"{DOCS}/points/batch", json=upsert())
        condition = {"must": [{"key": "source", "match": {"value": "b"}}]}
        points = [{**POINT, "id": ident(n), "payload": {"source": "c"}} for n in (1, 2)]
        written = {"points": points, "update_filter": condition}
        answer = client.post(f"{DOCS}/points/batch", json={"operations": [{"upsert": written}]})
        assert answer.status_code == 200
        found = client.post(f"{DOCS}/points/scroll", json={}).json()["result"]["points"]
        assert [point["payload"]["source"] for point in found] == [kept, "c"]


def test_update_mode_is_supported_from_1_17() -> None:
    for version, kept in (("1.16.0", "c"), ("1.17.0", "a")):
        with QdrantFacade(version=version) as facade, httpx.Client(base_url=facade.url) as client:
            client.put(DOCS, json=VECTORS).raise_for_status()
            client.post(f"{DOCS}/points/batch", json=upsert())
            again = upsert(payload={"source": "c"})
            again["operations"][0]["upsert"]["update_mode"] = "insert_only"
            client.post(f"{DOCS}/points/batch", json=again).raise_for_status()
            (found,) = client.post(f"{DOCS}/points/scroll", json={}).json()["result"]["points"]
            assert found["payload"]["source"] == kept


def test_keys_are_checked_except_for_the_version(
    facade: QdrantFacade, client: httpx.Client
) -> None:
    facade.api_key = "right"
    assert client.get("/").status_code == 200
    for headers in ({}, {"api-key": "wrong"}):
        assert client.get("/collections", headers=headers).status_code == 401
    assert client.get("/collections", headers={"api-key": "right"}).status_code == 200


def test_a_body_over_the_limit_ends_the_connection(facade: QdrantFacade) -> None:
    connection = HTTPConnection(facade.url.removeprefix("http://"))
    connection.putrequest("POST", f"{DOCS}/points/count")
    connection.putheader("Content-Length", str(33 * 1024 * 1024))
    connection.endheaders()
    with pytest.raises(RemoteDisconnected):
        connection.getresponse()
    connection.close()


def test_faults_are_injected_in_order_and_once(facade: QdrantFacade, client: httpx.Client) -> None:
    facade.inject(
        Fault("status", "*/count", status=503, skip=1), Fault("status", "*/count", status=429)
    )
    statuses = [client.post(f"{DOCS}/points/count", json={}).status_code for _ in range(4)]
    assert sorted(statuses) == [200, 200, 429, 503]
    facade.inject(Fault("cut-before", "*/batch"), Fault("cut-after", "*/batch"))
    for done in (0, 1):
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(f"{DOCS}/points/batch", json=upsert())
        counted = client.post(f"{DOCS}/points/count", json={}).json()["result"]
        assert counted == {"count": done}
    assert facade.engine.points_upserted == 1


def test_the_facade_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.servers.qdrant", "--port", "0", "--version", "1.16.0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert httpx.get(url).json()["version"] == "1.16.0"
        finally:
            process.terminate()
