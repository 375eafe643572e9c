"""`rollback`: how long it takes, and what it excludes."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from ragctl.collection.payload import Point, SparseVector
from ragctl.errors import Locked
from ragctl.stores import open_store
from ragctl.stores.base import Batch, Collection, Store
from ragctl.transfer.generations import prune_generations, rollback
from ragctl.transfer.notes import note_switch
from tests.store_contract import DIM, SETTINGS, any_payload, ident
from tests.waiting import within

POINTS = 20_000
BATCH = 1_000


def fill(collection: Collection, points: int) -> None:
    rng = np.random.default_rng(1)
    for first in range(0, points, BATCH):
        upserts = [
            Point(
                ident(number + 1),
                any_payload(source=f"d{number}", version=f"{number:032x}", text=f"text {number}"),
                rng.standard_normal(DIM).astype(np.float32),
                SparseVector([number], [1.0]),
            )
            for number in range(first, min(points, first + BATCH))
        ]
        collection.apply(Batch(upserts=upserts))


@pytest.fixture
def store(store_location: str) -> Iterator[Store]:
    with closing(open_store(store_location, environ={})) as opened:
        yield opened


def two_generations(store: Store, points: int) -> None:
    settings = replace(SETTINGS, namespace="docs")
    with closing(store.create("docs", settings)) as first:
        fill(first, points)
        first.finish()
    with closing(store.create_generation("docs", settings)) as second:
        fill(second, points)
        second.finish()
        with closing_open(store) as first:
            note_switch(first, second)
    with store.lock("docs"):
        store.switch("docs", 2)


def test_it_takes_less_than_a_second(store: Store) -> None:
    two_generations(store, POINTS if "://" not in store.location else POINTS // 10)
    began = time.monotonic()
    assert rollback(store, "docs") == (2, 1)
    took = time.monotonic() - began
    print(f"rollback: {took:.3f} s")
    assert took < within(1)
    with closing_open(store) as current:
        assert current.settings.generation == 1
        assert current.count() > 0


def closing_open(store: Store) -> "closing[Collection]":
    found = store.open("docs")
    assert found is not None
    return closing(found)


def test_a_generation_that_a_migration_fills_is_not_switched_to(store: Store) -> None:
    two_generations(store, 10)
    with closing(open_store(store.location, environ={})) as other:
        with other.lock("docs", generation=1), pytest.raises(Locked):
            rollback(store, "docs")
        with closing_open(store) as current:
            assert current.settings.generation == 2
        with other.lock("docs", generation=1):
            assert prune_generations(store, "docs", keep=0) == []
    assert rollback(store, "docs") == (2, 1)
