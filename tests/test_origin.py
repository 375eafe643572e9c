"""What a collection remembers of its providers, and how far that is believed."""

from pathlib import Path

import pytest

from ragctl.catalog import Choice
from ragctl.embedding import connect
from ragctl.errors import StoreError, UsageError
from ragctl.index import origin
from ragctl.records import Json
from ragctl.stores.base import Settings
from tests.world import World, paragraphs

HERE = Choice("vllm", "http://127.0.0.1:1/v1")
THERE = Choice("openai", "http://elsewhere.test/v1")
WEIGHTS = Choice("fastembed", weights="/models/e5")


def test_what_a_run_leaves_out_is_the_collection_s() -> None:
    made = (THERE, HERE)
    assert origin.merged((), made, remote=False) == made
    assert origin.merged((Choice("vllm"),), made, remote=False) == (HERE,)
    assert origin.merged((Choice(concurrency=2),), made, remote=False) == (
        Choice("openai", "http://elsewhere.test/v1", concurrency=2),
    )
    other = Choice("jina", "http://127.0.0.1:2/v1")
    assert origin.merged((other,), made, remote=False) == (other,)


def test_an_address_in_a_collection_on_a_server_gets_no_key() -> None:
    (choice,) = origin.merged((), (THERE,), remote=True)
    key = {"OPENAI_API_KEY": "secret"}
    with pytest.raises(
        UsageError, match=r"openai is at http://elsewhere\.test/v1; to send the key"
    ):
        connect("text-embedding-3-small", choices=(choice,), environ=key)
    (said,) = origin.merged((Choice(base_url="https://elsewhere.test/v1"),), (THERE,), remote=True)
    connect("text-embedding-3-small", choices=(said,), environ=key).close()
    (near,) = origin.merged((), (HERE,), remote=True)
    connect("bge-m3", choices=(near,), environ={"VLLM_API_KEY": "secret"}).close()


def test_a_folder_of_weights_in_a_collection_on_a_server_is_not_taken(tmp_path: Path) -> None:
    """It may hold code that the model's library would run."""
    assert origin.merged((), (WEIGHTS,), remote=False) == (WEIGHTS,)
    assert origin.merged((), (WEIGHTS,), remote=True) == (Choice("fastembed"),)
    assert origin.merged((Choice("fastembed"),), (WEIGHTS,), remote=True) == (Choice("fastembed"),)


def test_canaries_that_cannot_be_read_are_a_named_failure(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    world.ingest()
    collection = world.open()
    settings = collection.settings
    assert origin.canary(collection) is not None
    broken: tuple[Json, ...] = (
        {"documents": ["AA=="], "query": "AAAA"},
        {"documents": []},
        "rubbish",
        5,
    )
    for kept in broken:
        collection.settings = Settings(
            settings.dim, settings.identity, settings.sparse, {"canary": kept}
        )
        with pytest.raises(StoreError, match="docs: its canary vectors"):
            origin.canary(collection)
    collection.close()
