"""The backends stored with a collection, and how far they are trusted."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ragctl.catalog import BackendConfig
from ragctl.collection.origin import fill_in_backends
from ragctl.embedding import connect
from ragctl.errors import StoreError, UsageError
from ragctl.records import Json
from tests.world import World, paragraphs

HERE = BackendConfig("vllm", "http://127.0.0.1:1/v1")
THERE = BackendConfig("openai", "http://elsewhere.test/v1")
WEIGHTS = BackendConfig("fastembed", weights="/models/e5")


def test_backends_are_completed_from_the_collection() -> None:
    made = (THERE, HERE)
    assert fill_in_backends((), made, remote=False) == made
    assert fill_in_backends((BackendConfig("vllm"),), made, remote=False) == (HERE,)
    assert fill_in_backends((BackendConfig(concurrency=2),), made, remote=False) == (
        BackendConfig("openai", "http://elsewhere.test/v1", concurrency=2),
    )
    other = BackendConfig("jina", "http://127.0.0.1:2/v1")
    assert fill_in_backends((other,), made, remote=False) == (other,)


def test_an_address_in_a_collection_on_a_server_gets_no_key() -> None:
    (config,) = fill_in_backends((), (THERE,), remote=True)
    key = {"OPENAI_API_KEY": "secret"}
    with pytest.raises(
        UsageError, match=r"openai is at http://elsewhere\.test/v1; to send the key"
    ):
        connect("text-embedding-3-small", backends=(config,), environ=key)
    (said,) = fill_in_backends(
        (BackendConfig(base_url="https://elsewhere.test/v1"),), (THERE,), remote=True
    )
    connect("text-embedding-3-small", backends=(said,), environ=key).close()
    (near,) = fill_in_backends((), (HERE,), remote=True)
    connect("bge-m3", backends=(near,), environ={"VLLM_API_KEY": "secret"}).close()


def test_a_folder_of_weights_in_a_collection_on_a_server_is_not_taken(tmp_path: Path) -> None:
    """It may hold code that the model's library would run."""
    assert fill_in_backends((), (WEIGHTS,), remote=False) == (WEIGHTS,)
    assert fill_in_backends((), (WEIGHTS,), remote=True) == (BackendConfig("fastembed"),)
    assert fill_in_backends((BackendConfig("fastembed"),), (WEIGHTS,), remote=True) == (
        BackendConfig("fastembed"),
    )


def test_unreadable_canaries_are_a_clear_error(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    world.ingest()
    collection = world.open()
    origin, dim = collection.settings.origin, collection.settings.dim
    assert origin.read_canary(dim) is not None
    broken: tuple[Json, ...] = (
        {"documents": ["AA=="], "query": "AAAA"},
        {"documents": []},
        "rubbish",
        5,
    )
    for kept in broken:
        broken_origin = replace(origin, canary=cast(Any, kept))
        with pytest.raises(StoreError, match="the collection's canary vectors"):
            broken_origin.read_canary(dim)
    with pytest.raises(StoreError, match="canary vectors have"):
        origin.read_canary(dim + 1)
    collection.close()
