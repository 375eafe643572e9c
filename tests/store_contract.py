"""The contract of every store; run by test_stores.py and test_server_store.py."""

import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from ragctl.catalog import BackendConfig
from ragctl.collection.conditions import Match
from ragctl.collection.notes import Notes
from ragctl.collection.origin import Origin
from ragctl.collection.payload import Payload, Point, SparseVector
from ragctl.collection.settings import Settings
from ragctl.errors import Locked, StoreError, UsageError
from ragctl.lexical.bm25 import Bm25Config
from ragctl.records import Identity
from ragctl.stores.base import Batch, Collection, Fusion, Query, Store

DIM = 8
SETTINGS = Settings(
    identity=Identity(model="builtin", dimension=DIM, document="Dokument: "),
    sparse=Bm25Config(languages=("ru", "zh"), k=1.1),
    origin=Origin(backends=(BackendConfig("openai", "http://127.0.0.1:1/v1"),), chunk_size=512),
)


def with_dimension(settings: Settings, dim: int) -> Settings:
    """Return the settings with another dimension."""
    return replace(settings, identity=replace(settings.identity, dimension=dim))


def ident(number: int) -> str:
    return str(uuid.UUID(int=number))


def axis(number: int, *, tilt: float = 0.0) -> np.ndarray:
    """Return a vector along one axis, tilted towards the next."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[number % DIM] = 1.0
    vector[(number + 1) % DIM] += tilt
    return vector


def any_payload(**values: object) -> Payload:
    """Return a payload with keys unknown to ragctl; a store must keep every key."""
    return cast(Payload, values)


def point(number: int, **payload: object) -> Point:
    body = any_payload(**{"source": f"d{number}", "text": f"text {number}", **payload})
    return Point(ident(number), body, axis(number), SparseVector([number, 1_000_000], [1.5, 1.0]))


@pytest.fixture
def collection(store: Store) -> Iterator[Collection]:
    made = store.create("docs", SETTINGS)
    yield made
    made.close()


class StoreContract:
    """The tests; a subclass provides the `store` fixture."""

    def test_collections_are_created_opened_listed_and_dropped(self, store: Store) -> None:
        assert store.open("docs") is None
        assert store.names() == []
        store.create("docs", SETTINGS).close()
        store.create("other.v2", SETTINGS).close()
        assert store.names() == ["docs", "other.v2"]
        again = store.open("docs")
        assert again is not None
        assert again.name == "docs"
        assert again.settings == SETTINGS
        again.close()
        store.drop("docs")
        store.drop("docs")
        assert store.names() == ["other.v2"]
        assert store.open("docs") is None

    def test_notes_are_kept_apart_from_the_settings(
        self, store: Store, collection: Collection
    ) -> None:
        collection.apply(Batch(upserts=[point(1)]))
        collection.note(
            {"billed": {"jina": 5}, "spent": {"2026-01-31": {"tokens": 1, "cost": 0.5}}}
        )
        collection.note({"spent": {}})
        again = store.open("docs")
        assert again is not None
        notes: Notes = {"billed": {"jina": 5}, "spent": {}}
        assert again.settings == SETTINGS
        assert collection.notes() == again.notes() == notes
        assert [p.id for p in again.scroll()] == [ident(1)]
        again.close()

    def test_create_refuses_an_existing_name(self, store: Store, collection: Collection) -> None:
        collection.apply(Batch(upserts=[point(1)]))
        with pytest.raises(StoreError, match="exists"):
            store.create("docs", SETTINGS)
        assert collection.count() == 1

    @pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 129, "имя"])
    def test_invalid_collection_names_are_refused(self, store: Store, name: str) -> None:
        with pytest.raises(UsageError, match="collection name"):
            store.open(name)
        with pytest.raises(UsageError, match="collection name"):
            store.create(name, SETTINGS)

    def test_points_are_read_as_written(self, collection: Collection) -> None:
        body: Payload = {
            "source": "файл.md",
            "text": "漢字 \U0001f600 \u0000-free",
            "page": None,
            "mtime_ns": 1_790_000_000_123_456_789,
            "heading": ["Глава", "節"],
            "meta": {"n": 3, "x": 1.5, "t": True, "deep": {"list": [1, "a", None]}},
        }
        body["text"] = str(body["text"]).replace("\u0000", "")
        collection.apply(Batch(upserts=[Point(ident(1), body, axis(1, tilt=0.5))]))
        (read,) = collection.retrieve([ident(1), ident(2)], vectors=True)
        assert read.payload == body
        assert read.dense is not None
        expected = axis(1, tilt=0.5) / np.linalg.norm(axis(1, tilt=0.5))
        np.testing.assert_allclose(read.dense, expected, atol=1e-6)
        assert read.sparse is None or read.sparse.indices == []
        (bare,) = collection.retrieve([ident(1)])
        assert bare.dense is None

    def test_sparse_vectors_are_read_as_written(self, collection: Collection) -> None:
        sparse = SparseVector([3, 7, 4_000_000_000], [1.5, 0.25, 2.0])
        collection.apply(Batch(upserts=[Point(ident(1), {"source": "a"}, axis(0), sparse)]))
        (read,) = collection.retrieve([ident(1)], vectors=True)
        assert read.sparse == sparse

    def test_writes_are_idempotent(self, collection: Collection) -> None:
        batch = Batch(
            upserts=[point(1), point(2), point(3)],
            overwrites=[(ident(1), {"source": "d1", "ordinal": 5})],
            marks=[point(4, mark="whole")],
            merges=[((Match("source", ("d2",)),), {"size": 9})],
            deletes=[ident(3)],
        )
        for _ in range(2):
            collection.apply(batch)
            assert collection.count() == 3
            one, two, four = collection.retrieve([ident(1), ident(2), ident(4)], vectors=True)
            assert one.payload == {"source": "d1", "ordinal": 5}
            assert one.dense is not None
            assert two.payload == {"source": "d2", "text": "text 2", "size": 9}
            assert four.payload["mark"] == "whole"

    def test_the_parts_of_a_batch_are_written_in_order(self, collection: Collection) -> None:
        """Each part overwrites the one before, so only the last one is visible."""
        parts: dict[str, list[Any]] = {
            "upserts": [point(1, step="upserts")],
            "overwrites": [(ident(1), {"source": "d1", "step": "overwrites"})],
            "marks": [point(1, step="marks")],
            "mark_overwrites": [(ident(1), {"source": "d1", "step": "mark_overwrites"})],
            "merges": [((Match("source", ("d1",)),), {"step": "merges"})],
        }
        for count in range(1, len(parts) + 1):
            names = list(parts)[:count]
            collection.apply(Batch(**{name: parts[name] for name in names}))
            (read,) = collection.retrieve([ident(1)])
            assert cast(Any, read.payload)["step"] == names[-1]
        collection.apply(Batch(**parts, deletes=[ident(1)]))
        assert collection.count() == 0

    def test_upsert_replaces_the_whole_point(self, collection: Collection) -> None:
        collection.apply(Batch(upserts=[point(1, extra="old")]))
        collection.apply(Batch(upserts=[Point(ident(1), {"source": "new"}, axis(5))]))
        (read,) = collection.retrieve([ident(1)], vectors=True)
        assert read.payload == {"source": "new"}
        assert read.dense is not None
        assert read.dense[5] == pytest.approx(1.0)

    def test_overwriting_a_missing_point_is_refused(self, collection: Collection) -> None:
        with pytest.raises(StoreError):
            collection.apply(Batch(overwrites=[(ident(9), {"source": "ghost"})]))
        assert collection.count() == 0

    def test_deleting_a_missing_point_does_nothing(self, collection: Collection) -> None:
        collection.apply(Batch(upserts=[point(1)], deletes=[ident(8)]))
        assert collection.count() == 1

    def test_a_point_without_vectors_is_stored_but_never_found(
        self, collection: Collection
    ) -> None:
        collection.apply(Batch(upserts=[Point(ident(1), {"source": "empty"}), point(2)]))
        assert collection.count() == 2
        assert [p.payload["source"] for p in collection.retrieve([ident(1)])] == ["empty"]
        sparse = SparseVector([2], [1.0])
        for query in (
            Query(limit=5, dense=axis(2)),
            Query(limit=5, sparse=sparse),
            Query(limit=5, dense=axis(2), sparse=sparse),
        ):
            assert [hit.id for hit in collection.query(query)] == [ident(2)]

    def test_scroll_returns_every_point_once(self, collection: Collection) -> None:
        for first in range(1, 2400, 400):
            collection.apply(Batch(upserts=[point(n) for n in range(first, first + 400)]))
        ids = [p.id for p in collection.scroll(fields=["source"])]
        assert len(ids) == 2400
        assert set(ids) == {ident(n) for n in range(1, 2401)}
        some = list(collection.scroll((Match("source", ("d7", "d2400", "none")),), vectors=True))
        assert {p.payload["source"] for p in some} == {"d7", "d2400"}
        assert all(p.dense is not None for p in some)
        (bare,) = collection.scroll((Match("source", ("d7",)),), fields=["source", "title"])
        assert bare.payload == {"source": "d7"}

    def test_facet_counts_exactly(self, collection: Collection) -> None:
        assert collection.facet("version") == {}
        batch = [point(n, version=f"v{n % 300}") for n in range(1, 901)]
        collection.apply(Batch(upserts=batch))
        collection.apply(Batch(deletes=[ident(300)]))
        counts = collection.facet("version")
        assert counts == {f"v{n}": 2 if n == 0 else 3 for n in range(300)}
        assert collection.facet("version", of_all=True) == counts
        assert collection.count((Match("version", ("v0",)),)) == 2

    def test_match_distinguishes_types(self, collection: Collection) -> None:
        collection.apply(
            Batch(
                upserts=[
                    point(1, meta={"lang": "ru", "year": 2024, "draft": True, "tags": ["a", "b"]}),
                    point(2, meta={"lang": "zh", "year": 2025, "draft": False, "tags": ["b"]}),
                    point(3, meta={"lang": "2024", "year": 1, "draft": "true"}),
                ]
            )
        )

        def found(*where: Match) -> list[int]:
            return sorted(uuid.UUID(p.id).int for p in collection.scroll(where))

        assert found(Match("meta.lang", ("ru",))) == [1]
        assert found(Match("meta.lang", ("ru", "zh"))) == [1, 2]
        assert found(Match("meta.year", (2024,))) == [1]
        assert found(Match("meta.year", (2024, "2024", 2025))) == [1, 2]
        assert found(Match("meta.draft", (True,))) == [1]
        assert found(Match("meta.draft", (False,))) == [2]
        assert found(Match("meta.tags", ("b",))) == [1, 2]
        assert found(Match("meta.tags", ("b",)), Match("meta.lang", ("zh",))) == [2]
        assert found(Match("meta.none", ("b",))) == []
        assert found(Match("meta.lang", ())) == []

    def test_dense_ranks_by_cosine(self, collection: Collection) -> None:
        collection.apply(
            Batch(
                upserts=[
                    Point(ident(n), {"source": "s"}, axis(0, tilt=tilt) * scale)
                    for n, tilt, scale in [(1, 0.9, 1.0), (2, 0.0, 0.01), (3, 0.3, 50.0)]
                ]
            )
        )
        hits = collection.query(Query(limit=10, dense=axis(0) * 7))
        assert [hit.id for hit in hits] == [ident(2), ident(3), ident(1)]
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)
        assert [h.id for h in collection.query(Query(limit=1, offset=1, dense=axis(0)))] == [
            ident(3)
        ]

    def test_sparse_applies_idf(self, collection: Collection) -> None:
        common, rare = 11, 22
        rows = [(1, [common], [2.0]), (2, [common, rare], [1.0, 1.0]), (3, [common], [1.9])]
        collection.apply(
            Batch(
                upserts=[
                    Point(ident(n), {"source": "s"}, axis(n), SparseVector(i, v))
                    for n, i, v in rows
                ]
            )
        )
        hits = collection.query(Query(limit=10, sparse=SparseVector([common, rare], [1.0, 1.0])))
        assert [hit.id for hit in hits] == [ident(2), ident(1), ident(3)]
        absent = collection.query(Query(limit=10, sparse=SparseVector([99], [1.0])))
        assert absent == []

    def test_fusion_is_weighted_reciprocal_rank(self, collection: Collection) -> None:
        rows = [(1, 0.0, 1.0), (2, 0.2, 3.0), (3, 0.4, 2.0)]  # dense 1 2 3; sparse 2 3 1
        collection.apply(
            Batch(
                upserts=[
                    Point(ident(n), {"source": "s"}, axis(0, tilt=t), SparseVector([5], [w]))
                    for n, t, w in rows
                ]
            )
        )
        sparse = SparseVector([5], [1.0])
        fusion = Fusion(k=60, dense=1.0, sparse=3.0, prefetch=20)
        hits = collection.query(Query(limit=3, dense=axis(0), sparse=sparse, fusion=fusion))

        def share(rank: int, weight: float) -> float:
            return 1 / ((rank + 1) / weight + 60 - 1)

        expected = {
            ident(1): share(0, 1) + share(2, 3),
            ident(2): share(1, 1) + share(0, 3),
            ident(3): share(2, 1) + share(1, 3),
        }
        assert [h.id for h in hits] == sorted(expected, key=lambda i: -expected[i])
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.id], rel=1e-4)

    def test_a_filter_applies_to_both_vectors(self, collection: Collection) -> None:
        collection.apply(
            Batch(
                upserts=[
                    Point(
                        ident(n),
                        {"source": "s", "meta": {"team": "a" if n % 2 else "b"}},
                        axis(0, tilt=n / 10),
                        SparseVector([5], [float(n)]),
                    )
                    for n in range(1, 9)
                ]
            )
        )
        where = (Match("meta.team", ("b",)),)
        sparse = SparseVector([5], [1.0])
        for query in (
            Query(limit=9, dense=axis(0), where=where),
            Query(limit=9, sparse=sparse, where=where),
            Query(limit=9, dense=axis(0), sparse=sparse, where=where),
        ):
            hits = collection.query(query)
            assert {uuid.UUID(hit.id).int for hit in hits} == {2, 4, 6, 8}
            assert all(hit.payload["source"] == "s" for hit in hits)

    def test_a_vector_of_wrong_length_is_refused_and_nothing_is_written(
        self, collection: Collection
    ) -> None:
        wrong = Point(ident(1), {"source": "s"}, np.ones(DIM + 1, dtype=np.float32))
        with pytest.raises(StoreError, match="docs"):
            collection.apply(Batch(upserts=[wrong]))
        assert collection.count() == 0

    def test_the_holder_of_a_lock_is_named(self, store: Store, collection: Collection) -> None:
        assert store.lock_holder("docs") is None
        before = time.time()
        with collection.lock():
            holder = store.lock_holder("docs")
            assert holder is not None
            assert f"process {os.getpid()}" in holder.who
            assert holder.since is not None
            assert before - 1 <= holder.since <= time.time() + 1
            assert store.lock_holder("another") is None
        assert store.lock_holder("docs") is None
        store.create_generation("docs", collection.settings).close()
        with store.lock("docs", generation=2):
            assert store.lock_holder("docs", generation=2) is not None
            assert store.lock_holder("docs") is None

    def test_only_one_writer_holds_the_lock(self, store: Store, collection: Collection) -> None:
        with collection.lock():
            with pytest.raises(Locked, match="docs"), store.lock("docs"):
                pass
            with store.lock("another"):
                pass
        with store.lock("docs"):
            pass

    def test_a_second_writer_waits_and_reports_once(
        self, store: Store, collection: Collection
    ) -> None:
        messages: list[str] = []
        is_waiting, acquired = threading.Event(), threading.Event()

        def on_waiting(line: str) -> None:
            messages.append(line)
            is_waiting.set()

        def wait() -> None:
            with collection.lock(patience=math.inf, waiting=on_waiting):
                acquired.set()

        second = threading.Thread(target=wait)
        with store.lock("docs"):
            second.start()
            assert is_waiting.wait(30)
            with pytest.raises(Locked, match="wait for it to end"):
                store.lock("docs", patience=0.3).__enter__()
            assert not acquired.is_set()
        second.join(30)
        assert acquired.is_set()
        (line,) = messages
        assert "'docs'" in line
        assert f"process {os.getpid()}" in line

    def test_readers_see_whole_points_while_a_thread_writes(
        self, store: Store, collection: Collection
    ) -> None:
        """Readers never see half a point and never block forever."""
        failures: list[str] = []
        done = threading.Event()

        def read() -> None:
            own_handle = store.open("docs")
            assert own_handle is not None
            try:
                while not done.is_set():
                    hits = own_handle.query(Query(limit=5, dense=axis(3)))
                    failures.extend(f"half: {hit}" for hit in hits if "text" not in hit.payload)
            except StoreError as error:
                failures.append(str(error))
            finally:
                own_handle.close()

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for first in range(1, 600, 20):
                collection.apply(Batch(upserts=[point(n) for n in range(first, first + 20)]))
        finally:
            done.set()
        for reader in readers:
            reader.join(30)
        assert failures == []
        assert collection.count() == 600

    def test_finish_keeps_all_points(self, store: Store, collection: Collection) -> None:
        collection.apply(Batch(upserts=[point(n) for n in range(1, 50)]))
        collection.finish()
        collection.close()
        again = store.open("docs")
        assert again is not None
        assert again.count() == 49
        again.close()
