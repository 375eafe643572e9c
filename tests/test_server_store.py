"""The store contract over a real socket, and what is the server store's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragctl.stores.base import Batch, Collection, Match, Store
from ragctl.stores.server import ServerStore
from tests.servers.qdrant import QdrantFacade
from tests.store_contract import SETTINGS, StoreContract, collection, ident, point

__all__ = ["collection"]


@pytest.fixture
def store(facade: QdrantFacade, tmp_path: Path) -> Iterator[Store]:
    store = ServerStore(facade.url, state=tmp_path, patience=10, backoff=0.01)
    yield store
    store.close()


class ServerContract(StoreContract):
    def test_scroll_reads_everything_once(self, collection: Collection) -> None:
        # Without point 1000 of the contract's own case: it has a sparse index twice, which a
        # server refuses.
        numbers = [*range(1, 1000), *range(1001, 2401)]
        for first in range(0, len(numbers), 400):
            some = numbers[first : first + 400]
            collection.apply(Batch(upserts=[point(number) for number in some]))
        ids = [p.id for p in collection.scroll(fields=["source"])]
        assert len(ids) == len(numbers)
        assert set(ids) == {ident(number) for number in numbers}
        two = list(collection.scroll((Match("source", ("d7", "d2400", "none")),), vectors=True))
        assert {p.payload["source"] for p in two} == {"d7", "d2400"}
        assert all(p.dense is not None for p in two)
        (bare,) = collection.scroll((Match("source", ("d7",)),), fields=["source", "absent"])
        assert bare.payload == {"source": "d7"}


class TestServer117(ServerContract):
    @pytest.fixture
    def facade(self) -> Iterator[QdrantFacade]:
        with QdrantFacade(version="1.17.0") as facade:
            yield facade


class TestServer115(ServerContract):
    @pytest.fixture
    def facade(self) -> Iterator[QdrantFacade]:
        with QdrantFacade(version="1.15.4") as facade:
            yield facade
