"""Every kind of damage is found, reported, and repaired with as few embeddings as possible."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from ragctl.collection.payload import Payload, Point, without_mark
from ragctl.index.report import Report
from ragctl.index.verify import Damage, inspect_collection
from ragctl.pipeline import Source
from ragctl.stores.base import Batch, Collection
from tests.world import DIM, World, counts, paragraphs

pytestmark = pytest.mark.slow


def damage(world: World) -> Damage:
    with closing(world.open()) as collection:
        return inspect_collection(collection)


def repair(world: World, **changes: Any) -> Report:
    job = world.run(**changes)
    job.repair = job.remove_foreign = True
    with closing(job.store):
        return job.ingest()


def points(collection: Collection, source: str) -> dict[int, Point]:
    return {
        int(str(point.payload["ordinal"])): point
        for point in collection.scroll(vectors=True)
        if point.payload.get("source") == source
    }


def write_corpus(world: World) -> None:
    for name in "abc":
        world.write(f"{name}.md", paragraphs(*(f"{name} {n}" for n in range(5))))
    world.write("empty.md", "")
    world.write("rows.jsonl", '{"id": "x", "text": "one"}\n{"id": "y", "text": "two"}\n')
    world.ingest()
    world.forget()


def _missing_chunk(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(deletes=[chunks[2].id]))


def _missing_mark(collection: Collection, chunks: dict[int, Point]) -> None:
    payload = without_mark(chunks[0].payload)
    collection.apply(Batch(overwrites=[(chunks[0].id, payload)]))


def _missing_first_point(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(deletes=[chunks[0].id]))


def _missing_dense_vector(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(upserts=[replace(chunks[1], dense=None)]))


def _missing_sparse_vector(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(upserts=[replace(chunks[1], sparse=None)]))


def _zero_vector(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(upserts=[replace(chunks[1], dense=np.zeros(DIM, np.float32))]))


def _changed_text(collection: Collection, chunks: dict[int, Point]) -> None:
    payload: Payload = {**chunks[1].payload, "text": "something else"}
    collection.apply(Batch(overwrites=[(chunks[1].id, payload)]))


def _changed_text_hash(collection: Collection, chunks: dict[int, Point]) -> None:
    payload: Payload = {**chunks[1].payload, "text_hash": chunks[3].payload["text_hash"]}
    collection.apply(Batch(overwrites=[(chunks[1].id, payload)]))


def _point_of_an_old_version(collection: Collection, chunks: dict[int, Point]) -> None:
    payload: Payload = {**without_mark(chunks[1].payload), "version": "0" * 32}
    extra = replace(chunks[1], id="00000000-0000-4000-8000-000000000001", payload=payload)
    collection.apply(Batch(upserts=[extra]))


def _duplicate_point(collection: Collection, chunks: dict[int, Point]) -> None:
    extra = replace(chunks[1], id="00000000-0000-4000-8000-000000000001")
    collection.apply(Batch(upserts=[extra]))


def _unknown_point(collection: Collection, chunks: dict[int, Point]) -> None:
    stray = Point("00000000-0000-4000-8000-000000000002", {"title": "x"}, chunks[1].dense)
    collection.apply(Batch(upserts=[stray]))


Corruption = Callable[[Collection, dict[int, Point]], None]
# The corruption, the kind of fault, and the number of texts embedded by its repair.
CORRUPTIONS: list[tuple[Corruption, str, int]] = [
    (_missing_chunk, "missing", 1),
    (_missing_mark, "unmarked", 0),
    (_missing_first_point, "unmarked", 1),
    (_missing_dense_vector, "vector", 1),
    (_missing_sparse_vector, "vector", 0),
    (_zero_vector, "vector", 1),
    (_changed_text, "payload", 1),
    (_changed_text_hash, "payload", 1),
    (_point_of_an_old_version, "leftover", 0),
    (_duplicate_point, "leftover", 0),
    (_unknown_point, "stray", 0),
]


def test_an_intact_collection_has_no_fault(world: World) -> None:
    write_corpus(world)
    found = damage(world)
    assert found.faults == []
    assert found.points == len(world.state()) == 18
    assert counts(repair(world)) == {"unchanged": 6}
    assert world.server.requests == []


@pytest.mark.parametrize(
    ("corrupt", "kind", "embedded"),
    CORRUPTIONS,
    ids=[corrupt.__name__ for corrupt, _, _ in CORRUPTIONS],
)
def test_damage_is_found_reported_and_repaired(
    world: World, corrupt: Corruption, kind: str, embedded: int
) -> None:
    write_corpus(world)
    before = world.state()
    with closing(world.open()) as collection:
        corrupt(collection, points(collection, "docs/b.md"))
    found = damage(world)
    assert [fault.kind for fault in found.faults] == [kind]
    assert found.faults[0].source in ("docs/b.md", None)
    report = repair(world)
    assert len(world.embedded()) == report.chunks.embedded == embedded
    assert damage(world).faults == []
    assert world.state() == before


def test_several_kinds_of_damage_are_repaired_at_once(edge_world: World) -> None:
    world = edge_world
    write_corpus(world)
    before = world.state()
    with closing(world.open()) as collection:
        for corrupt in (_missing_chunk, _unknown_point):
            corrupt(collection, points(collection, "docs/a.md"))
        for corrupt in (_changed_text_hash, _point_of_an_old_version):
            corrupt(collection, points(collection, "docs/b.md"))
        _missing_first_point(collection, points(collection, "docs/c.md"))
    assert {fault.source for fault in damage(world).faults} == {
        "docs/a.md",
        "docs/b.md",
        "docs/c.md",
        None,
    }
    assert repair(world).chunks.embedded == 3
    assert damage(world).faults == []
    assert world.state() == before


def test_late_chunking_and_metadata_are_not_damage(edge_world: World) -> None:
    world = replace(edge_world, late=True, languages=())
    write_corpus(world)
    assert damage(world).faults == []
    world.ingest(meta={"team": "ops"})
    assert damage(world).faults == []


def test_a_text_without_bm25_terms_is_not_damage(edge_world: World) -> None:
    edge_world.write("a.md", "!!! ??? ---\n")
    edge_world.write("b.md", "the and of\n")
    edge_world.ingest()
    assert damage(edge_world).faults == []


def test_damage_in_a_document_of_another_folder_is_reported_but_not_repaired(
    edge_world: World, tmp_path: Path
) -> None:
    """The run does not scan that folder, so it cannot read the document again."""
    world = edge_world
    write_corpus(world)
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.md").write_text(paragraphs("z 0", "z 1"))
    world.ingest(sources=(Source(other),))
    with closing(world.open()) as collection:
        collection.apply(Batch(deletes=[points(collection, "other/z.md")[1].id]))
    repair(world)
    assert [(f.kind, f.source) for f in damage(world).faults] == [("missing", "other/z.md")]
    repair(world, sources=(Source(other),))
    assert damage(world).faults == []


class ShortenedVectors:
    """A collection whose dense vectors lack their last value, which no store accepts."""

    def __init__(self, inner: Collection) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def scroll(self, *args: Any, **kwargs: Any) -> Iterator[Point]:
        for point in self._inner.scroll(*args, **kwargs):
            yield point if point.dense is None else replace(point, dense=point.dense[:-1])


def test_vectors_of_a_wrong_dimension_are_reported(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("one"))
    edge_world.ingest()
    with closing(edge_world.open()) as collection:
        (fault,) = inspect_collection(cast(Collection, ShortenedVectors(collection))).faults
    assert (fault.kind, fault.source) == ("vector", "docs/a.md")
    assert f"{DIM - 1} dimensions, not {DIM}" in fault.what
