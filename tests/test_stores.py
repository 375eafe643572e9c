"""The store contract on the embedded engine, and tests of its own features."""

import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl.collection.payload import Point
from ragctl.errors import Locked, StoreError, UnreadableCollection
from ragctl.stores.base import Batch, Store
from ragctl.stores.edge import EdgeStore
from ragctl.stores.edge_layout import SETTINGS_FILES
from ragctl.stores.locks import FairLock
from tests.generation_contract import GenerationContract, opened
from tests.search_contract import SearchContract, check_quantised_search, equal_scores, typed
from tests.store_contract import SETTINGS, StoreContract, collection, ident, point

pytestmark = pytest.mark.slow

__all__ = ["collection", "equal_scores", "typed"]


class TestEdge(StoreContract, GenerationContract, SearchContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return EdgeStore(tmp_path / "store")


@pytest.mark.parametrize("kind", ["turbo1", "turbo2", "turbo4"])
def test_turbo_quantised_collections_are_searched(tmp_path: Path, kind: str) -> None:
    check_quantised_search(EdgeStore(tmp_path), kind)


def test_two_handles_of_a_collection_take_turns(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    first = store.create("docs", SETTINGS)
    second = store.open("docs")
    assert second is not None
    for number in range(1, 6):
        first.apply(Batch(upserts=[point(number)]))
        assert second.count() == number
    first.close()
    second.close()


def test_a_scroll_of_one_field_reads_every_page(tmp_path: Path) -> None:
    made = EdgeStore(tmp_path).create("docs", SETTINGS)
    made.apply(Batch(upserts=[Point(ident(n), {"source": f"d{n % 7}"}) for n in range(12_000)]))
    assert len({found.id for found in made.scroll(fields=["source"])}) == 12_000
    made.close()


def test_a_busy_shard_is_an_error_after_the_patience(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path, patience=0.05)
    one = store.create("docs", SETTINGS)
    holder = FairLock(store.lock_path("docs", "shard"), "held by the test", patience=0)
    holder.acquire()
    with pytest.raises(Locked, match=r"'docs' stayed busy"):
        one.count()
    holder.release()
    holder.close()
    assert one.count() == 0
    one.close()


def test_a_collection_in_use_is_not_dropped(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path, patience=0.05)
    store.create("docs", SETTINGS).close()
    holder = FairLock(store.lock_path("docs", "shard"), "held by the test", patience=0)
    holder.acquire()
    with pytest.raises(Locked, match=r"'docs' stayed busy"):
        store.drop("docs")
    assert store.names() == ["docs"]
    holder.close()
    store.drop("docs")
    assert store.names() == []


def test_leftovers_of_a_killed_creation_are_removed(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    leftover = tmp_path / "collections" / ".docs.12345.new" / "shard"
    leftover.mkdir(parents=True)
    assert store.names() == []
    store.create("docs", SETTINGS).close()
    assert [path.name for path in (tmp_path / "collections").iterdir()] == ["docs"]


def test_settings_are_read_from_their_second_copy(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    with closing(store.create("docs", SETTINGS)) as made:
        made.declare({"year": "integer"})
    for damaged in SETTINGS_FILES:
        path = tmp_path / "collections" / "docs" / damaged
        whole = path.read_bytes()
        for content in (b"", b"{", whole.replace(b"builtin", b"another"), None, b"[" * 100_000):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
            with closing(opened(store)) as found:
                assert found.settings == replace(SETTINGS, fields={"year": "integer"})
        path.write_bytes(whole)


def test_a_run_restores_a_damaged_copy_of_the_settings(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.create("docs", SETTINGS).close()
    paths = [tmp_path / "collections" / "docs" / name for name in SETTINGS_FILES]
    paths[0].write_text("rubbish")
    with closing(opened(store)) as found:
        found.finish()
    assert paths[0].read_bytes() == paths[1].read_bytes() != b"rubbish"


def test_what_killed_deletions_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    for name in ("docs", "other"):
        store.create(name, SETTINGS).close()
        store.create_generation(name, SETTINGS).close()
    folder = tmp_path / "collections"
    left = [
        folder / f".gone.{int(dead.stdout)}.dropped",
        folder / "docs" / f".7.{int(dead.stdout)}.dropped",
    ]
    live = folder / f".gone.{os.getppid()}.dropped"
    for path in (*left, live):
        (path / "shard").mkdir(parents=True)
    store.drop_generation("docs", 2)
    store.drop("other")
    assert not any(path.exists() for path in left)
    assert live.exists()


def test_settings_with_both_copies_damaged_are_reported(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.create("docs", SETTINGS).close()
    paths = [tmp_path / "collections" / "docs" / name for name in SETTINGS_FILES]
    for content, reason in (
        ("{", r"collection\.json: the settings of .* cannot be read"),
        ('{"format": 99}', "format 99, and this version of ragctl reads format 4"),
    ):
        for path in paths:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(UnreadableCollection, match=reason):
            store.open("docs")
        (found,) = store.generations("docs")
        assert found.settings is None
        assert found.current
        assert re.search(reason, found.error or "")
    for path in paths:
        path.unlink()
    with pytest.raises(UnreadableCollection, match="No such file"):
        store.open("docs")
    assert store.names() == ["docs"]
    store.drop("docs")
    assert store.names() == []


def test_a_broken_shard_is_reported(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.create("docs", SETTINGS).close()
    (tmp_path / "collections" / "docs" / "shard" / "edge_config.json").write_text("rubbish")
    broken = store.open("docs")
    assert broken is not None
    with pytest.raises(StoreError, match="'docs'"):
        broken.count()
    broken.close()


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--store"):
        EdgeStore(tmp_path / "file" / "store").create("docs", SETTINGS)
