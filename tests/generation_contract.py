"""The contract of every store's generations; run by test_stores.py and test_server_store.py."""

import threading
from contextlib import closing
from dataclasses import replace

import pytest

from ragctl.errors import GenerationDropped, Locked, StoreError
from ragctl.stores.base import Batch, Collection, Query, Store
from tests.store_contract import SETTINGS, axis, ident, point, with_dimension

OTHER = replace(SETTINGS, identity=replace(SETTINGS.identity, document="Other: "))
"""Settings of another model, with the same dimension."""


def opened(store: Store, name: str = "docs", generation: int | None = None) -> Collection:
    found = store.open(name, generation=generation)
    assert found is not None
    return found


def numbers(store: Store, name: str = "docs") -> list[tuple[int, bool]]:
    """Return the number of each generation, and whether it is the current one."""
    return [(found.number, found.current) for found in store.generations(name)]


def two_generations(store: Store) -> None:
    """Make a collection with point 1 in its first generation and point 2 in its second."""
    with closing(store.create("docs", SETTINGS)) as first:
        first.apply(Batch(upserts=[point(1)]))
        first.note({"billed": {"first": 1}})
    with closing(store.create_generation("docs", OTHER)) as second:
        second.apply(Batch(upserts=[point(2)]))
        second.note({"billed": {"second": 2}})


def ids(collection: Collection) -> list[str]:
    return [found.id for found in collection.scroll()]


class GenerationContract:
    """The tests; a subclass provides the `store` fixture."""

    def test_a_new_collection_has_one_generation(self, store: Store) -> None:
        assert store.generations("docs") == []
        with closing(store.create("docs", SETTINGS)) as made:
            assert made.settings.generation == 1
            assert made.settings.namespace == "docs"
        (only,) = store.generations("docs")
        assert (only.number, only.current, only.error) == (1, True, None)
        assert only.settings == SETTINGS
        with closing(opened(store, generation=1)) as first:
            assert first.name == "docs"
        assert store.open("docs", generation=2) is None
        assert store.open("none", generation=1) is None

    def test_the_next_generation_is_not_seen_until_the_switch(self, store: Store) -> None:
        two_generations(store)
        assert store.names() == ["docs"]
        assert numbers(store) == [(1, True), (2, False)]
        with closing(opened(store)) as current, closing(opened(store, generation=2)) as following:
            assert (ids(current), ids(following)) == ([ident(1)], [ident(2)])
            assert (current.settings, following.settings) == (SETTINGS, OTHER)
            assert (current.settings.generation, following.settings.generation) == (1, 2)
            assert current.settings.creation_id != following.settings.creation_id
            assert current.name == following.name == "docs"
            assert current.notes() == {"billed": {"first": 1}}
            assert following.notes() == {"billed": {"second": 2}}

    def test_a_switch_leads_the_name_to_the_other_generation_and_back(self, store: Store) -> None:
        two_generations(store)
        with closing(opened(store)) as reader:
            assert reader.count() == 1
            for number, settings in ((2, OTHER), (1, SETTINGS), (2, OTHER)):
                with store.lock("docs"):
                    store.switch("docs", number)
                    store.switch("docs", number)
                assert numbers(store) == [(1, number == 1), (2, number == 2)]
                with closing(opened(store)) as current:
                    assert ids(current) == [ident(number)]
                    assert current.settings == settings
                    hits = current.query(Query(limit=5, dense=axis(number)))
                    assert [hit.id for hit in hits] == [ident(number)]
                assert ids(reader) == [ident(1)], "an open generation stays the same"

    def test_generations_have_dimensions_of_their_own(self, store: Store) -> None:
        store.create("docs", SETTINGS).close()
        with closing(store.create_generation("docs", with_dimension(SETTINGS, 4))) as second:
            assert second.settings.dim == 4
            with pytest.raises(StoreError):
                second.apply(Batch(upserts=[point(1)]))
        with closing(opened(store)) as first:
            first.apply(Batch(upserts=[point(1)]))

    def test_a_namespace_that_is_given_is_kept(self, store: Store) -> None:
        given = replace(SETTINGS, namespace="original")
        store.create("docs", given).close()
        store.create_generation("docs", given).close()
        for number in (1, 2):
            with closing(opened(store, generation=number)) as found:
                assert found.settings.namespace == "original"

    def test_a_number_is_one_above_the_highest(self, store: Store) -> None:
        two_generations(store)
        store.switch("docs", 2)
        store.drop_generation("docs", 1)
        assert numbers(store) == [(2, True)]
        with closing(store.create_generation("docs", SETTINGS)) as third:
            assert third.settings.generation == 3
        assert numbers(store) == [(2, True), (3, False)]

    def test_a_generation_of_a_missing_collection_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match="docs"):
            store.create_generation("docs", SETTINGS)
        assert store.names() == []

    def test_a_switch_to_a_missing_generation_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match="docs"):
            store.switch("docs", 1)
        store.create("docs", SETTINGS).close()
        with pytest.raises(StoreError, match="no generation 2"):
            store.switch("docs", 2)
        assert numbers(store) == [(1, True)]

    def test_a_generation_is_dropped_and_the_current_one_is_not(self, store: Store) -> None:
        two_generations(store)
        with pytest.raises(StoreError, match="current"):
            store.drop_generation("docs", 1)
        store.switch("docs", 2)
        with pytest.raises(StoreError, match="current"):
            store.drop_generation("docs", 2)
        store.drop_generation("docs", 1)
        store.drop_generation("docs", 1)
        store.drop_generation("docs", 7)
        store.drop_generation("none", 1)
        assert store.open("docs", generation=1) is None
        with closing(opened(store)) as current:
            assert ids(current) == [ident(2)]
            assert current.notes() == {"billed": {"second": 2}}
        assert store.names() == ["docs"]

    def test_a_reader_of_a_dropped_generation_learns_that(self, store: Store) -> None:
        two_generations(store)
        with closing(opened(store)) as reader:
            assert reader.count() == 1
            store.switch("docs", 2)
            store.drop_generation("docs", 1)
            with pytest.raises(GenerationDropped, match="docs"):
                list(reader.scroll())
            with pytest.raises(GenerationDropped, match="docs"):
                reader.query(Query(limit=1, dense=axis(1)))

    def test_a_reader_does_not_read_a_recreated_collection(self, store: Store) -> None:
        two_generations(store)
        with closing(opened(store)) as reader:
            assert reader.count() == 1
            store.drop("docs")
            with pytest.raises(GenerationDropped, match="docs"):
                reader.count()

    def test_a_drop_deletes_all_generations(self, store: Store) -> None:
        two_generations(store)
        store.switch("docs", 2)
        store.drop("docs")
        assert store.names() == []
        assert store.generations("docs") == []
        assert store.open("docs") is None
        assert store.open("docs", generation=1) is None
        with closing(store.create("docs", SETTINGS)) as again:
            assert again.count() == 0
            assert again.notes() == {}
        assert numbers(store) == [(1, True)]

    def test_create_refuses_a_name_with_several_generations(self, store: Store) -> None:
        two_generations(store)
        store.switch("docs", 2)
        store.drop_generation("docs", 1)
        with pytest.raises(StoreError, match="exists"):
            store.create("docs", SETTINGS)

    def test_the_lock_of_the_current_generation_is_that_of_the_name(self, store: Store) -> None:
        two_generations(store)
        with closing(opened(store)) as first, first.lock():
            with pytest.raises(Locked, match="docs"), store.lock("docs"):
                pass
            with pytest.raises(Locked, match="docs"), store.lock("docs", generation=1):
                pass

    def test_a_generation_is_filled_while_runs_go_on(self, store: Store) -> None:
        two_generations(store)
        with closing(opened(store, generation=2)) as second, second.lock():
            with pytest.raises(Locked, match="docs"), store.lock("docs", generation=2):
                pass
            with store.lock("docs"):
                store.switch("docs", 2)

    def test_a_reader_finds_one_generation_at_every_moment(self, store: Store) -> None:
        two_generations(store)
        seen: set[str | None] = set()
        failures: list[str] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                try:
                    with closing(opened(store)) as found:
                        seen.add(found.settings.identity.document)
                except (AssertionError, StoreError) as error:
                    failures.append(repr(error))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for round_ in range(1000):
                store.switch("docs", 1 + round_ % 2)
                if round_ >= 40 and len(seen) == 2:
                    break
        finally:
            done.set()
            for reader in readers:
                reader.join(30)
        assert failures == []
        assert seen == {SETTINGS.identity.document, OTHER.identity.document}
