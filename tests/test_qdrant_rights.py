"""The test server answers about aliases and keys as a real server does."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.servers.qdrant import QdrantFacade
from tests.servers.qdrant_rights import token

KEY, READ_ONLY = "write-key", "read-key"
BODY = {"vectors": {"dense": {"size": 2, "distance": "Cosine"}}}


@pytest.fixture
def facade() -> Iterator[QdrantFacade]:
    with QdrantFacade(api_key=KEY, read_only_key=READ_ONLY) as facade:
        for name in ("docs@1", "docs@2", "other"):
            assert ask(facade, "PUT", f"/collections/{name}", BODY) == (200, True)
        alias(facade, "docs", "docs@1")
        yield facade


def ask(
    facade: QdrantFacade, method: str, path: str, body: Any = None, *, key: str | None = KEY
) -> tuple[int, Any]:
    """Return the status and the result of a request, or the error's text."""
    headers = {} if key is None else {"api-key": key}
    answer = httpx.request(method, facade.url + path, json=body, headers=headers)
    if "json" not in answer.headers["content-type"]:
        return answer.status_code, answer.text
    found = answer.json()
    return answer.status_code, found["result"] if answer.is_success else found["status"]["error"]


def alias(facade: QdrantFacade, name: str, target: str) -> None:
    created = {"create_alias": {"collection_name": target, "alias_name": name}}
    assert ask(facade, "POST", "/collections/aliases", {"actions": [created]}) == (200, True)


def write(facade: QdrantFacade, name: str, **options: Any) -> tuple[int, Any]:
    point = {"id": 1, "vector": {"dense": [1, 0]}, "payload": {}}
    path = f"/collections/{name}/points?wait=true"
    return ask(facade, "PUT", path, {"points": [point]}, **options)


def count(facade: QdrantFacade, name: str, **options: Any) -> Any:
    status, result = ask(facade, "POST", f"/collections/{name}/points/count", {}, **options)
    return result["count"] if status == 200 else result


def test_points_are_read_and_written_through_an_alias(facade: QdrantFacade) -> None:
    assert write(facade, "docs")[0] == 200
    assert (count(facade, "docs"), count(facade, "docs@1")) == (1, 1)
    alias(facade, "docs", "docs@2")
    assert (count(facade, "docs"), count(facade, "docs@1")) == (0, 1)
    listed = ask(facade, "GET", "/collections")[1]["collections"]
    assert [each["name"] for each in listed] == ["docs@1", "docs@2", "other"]
    pair = {"alias_name": "docs", "collection_name": "docs@2"}
    assert ask(facade, "GET", "/aliases") == (200, {"aliases": [pair]})
    assert ask(facade, "GET", "/collections/docs@2/aliases") == (200, {"aliases": [pair]})
    for name in ("docs", "docs@1", "missing"):
        assert ask(facade, "GET", f"/collections/{name}/aliases") == (200, {"aliases": []})


def test_an_alias_is_neither_deleted_nor_created_as_a_collection(facade: QdrantFacade) -> None:
    assert ask(facade, "DELETE", "/collections/docs") == (200, False)
    assert count(facade, "docs") == 0
    assert ask(facade, "PUT", "/collections/docs", BODY) == (
        400,
        "Wrong input: Can't create collection with name docs. "
        "Alias with the same name already exists",
    )
    assert ask(facade, "DELETE", "/collections/docs@1") == (200, True)
    assert ask(facade, "GET", "/aliases") == (200, {"aliases": []})
    assert ask(facade, "GET", "/collections/docs") == (
        404,
        "Not found: Collection `docs` doesn't exist!",
    )


def test_alias_changes_before_a_failing_one_stay_done(facade: QdrantFacade) -> None:
    actions: list[Any] = [
        {"delete_alias": {"alias_name": "docs"}},
        {"create_alias": {"collection_name": "missing", "alias_name": "docs"}},
    ]
    changed = ask(facade, "POST", "/collections/aliases", {"actions": actions})
    assert changed == (404, "Not found: Collection `missing` doesn't exist!")
    assert ask(facade, "GET", "/aliases") == (200, {"aliases": []})
    actions = [{"create_alias": {"collection_name": "docs@1", "alias_name": "other"}}]
    changed = ask(facade, "POST", "/collections/aliases", {"actions": actions})
    assert changed == (409, "Wrong input: Collection `other` already exists!")
    actions = [{"rename_alias": {"old_alias_name": "docs", "new_alias_name": "new"}}]
    changed = ask(facade, "POST", "/collections/aliases", {"actions": actions})
    assert changed == (404, "Not found: Alias docs does not exists!")


def test_keys_are_checked_first(facade: QdrantFacade) -> None:
    must = "Must provide an API key or an Authorization bearer token"
    assert ask(facade, "GET", "/collections", key=None) == (401, must)
    assert ask(facade, "GET", "/nowhere", key=None) == (401, must)
    for wrong in ("wrong", "a.b.c"):
        assert ask(facade, "GET", "/collections", key=wrong) == (401, "Invalid API key or JWT")
    expired = token(KEY, "m", expires=time.time() - 60)
    assert ask(facade, "GET", "/collections", key=expired) == (403, "ExpiredSignature")
    other = token("another key", "m")
    assert ask(facade, "GET", "/collections", key=other) == (403, "InvalidSignature")
    valid = token(KEY, "m", expires=time.time() + 60)
    bearer = {"authorization": f"Bearer {valid}"}
    assert httpx.get(f"{facade.url}/collections", headers=bearer).status_code == 200


def test_a_read_only_key_writes_nothing(facade: QdrantFacade) -> None:
    refused = (403, "Forbidden: Global manage access is required")
    assert write(facade, "docs", key=READ_ONLY) == refused
    assert ask(facade, "DELETE", "/collections/docs@1", key=READ_ONLY) == refused
    index = {"field_name": "x", "field_schema": {"type": "keyword"}}
    assert ask(facade, "PUT", "/collections/docs/index", index, key=READ_ONLY) == refused
    assert count(facade, "docs", key=READ_ONLY) == 0
    assert ask(facade, "GET", "/aliases", key=READ_ONLY)[1]["aliases"]


def test_the_rights_on_one_collection_are_those_on_the_name_in_the_request(
    facade: QdrantFacade,
) -> None:
    reads, writes = token(KEY, {"docs": "r"}), token(KEY, {"docs": "rw"})
    points = token(KEY, {"docs": "prw"})
    assert count(facade, "docs", key=reads) == 0
    needed = "Forbidden: Access to collection docs@1 is required"
    assert count(facade, "docs@1", key=reads) == needed
    assert count(facade, "other", key=writes) == "Forbidden: Access to collection other is required"
    assert write(facade, "docs", key=reads) == (
        403,
        "Forbidden: Write access to collection docs is required",
    )
    assert write(facade, "docs", key=writes)[0] == 200
    assert write(facade, "docs", key=points)[0] == 200
    index = {"field_name": "x", "field_schema": {"type": "keyword"}}
    assert ask(facade, "PUT", "/collections/docs/index?wait=true", index, key=writes)[0] == 200
    assert ask(facade, "PUT", "/collections/docs/index", index, key=points) == (
        403,
        "Forbidden: Only points access is allowed for collection docs",
    )
    for method, path, body in (
        ("PUT", "/collections/new", BODY),
        ("PATCH", "/collections/docs", {"metadata": {"a": 1}}),
        ("DELETE", "/collections/docs", None),
        ("POST", "/collections/aliases", {"actions": []}),
    ):
        refused = (403, "Forbidden: Global access is required")
        assert ask(facade, method, path, body, key=writes) == refused
    assert ask(facade, "GET", "/collections", key=writes) == (200, {"collections": []})
    assert ask(facade, "GET", "/aliases", key=writes) == (200, {"aliases": []})
    both = token(KEY, {"docs": "r", "docs@1": "r"})
    listed = ask(facade, "GET", "/collections", key=both)[1]["collections"]
    assert listed == [{"name": "docs@1"}]
    assert len(ask(facade, "GET", "/aliases", key=both)[1]["aliases"]) == 1
