"""Damage of every kind is found, named, and repaired with as few embeddings as possible."""

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


def damage(world: World) -> Damage:
    with closing(world.open()) as collection:
        return inspect_collection(collection)


def repair(world: World, **changes: Any) -> Report:
    job = world.run(**changes)
    job.repair = True
    with closing(job.store):
        return job.ingest()


def points(collection: Collection, source: str) -> dict[int, Point]:
    return {
        int(str(point.payload["ordinal"])): point
        for point in collection.scroll(vectors=True)
        if point.payload.get("source") == source
    }


def corpus(world: World) -> None:
    for name in "abc":
        world.write(f"{name}.md", paragraphs(*(f"{name} {n}" for n in range(5))))
    world.write("empty.md", "")
    world.write("rows.jsonl", '{"id": "x", "text": "one"}\n{"id": "y", "text": "two"}\n')
    world.ingest()
    world.forget()


def _gone(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(deletes=[chunks[2].id]))


def _unmarked(collection: Collection, chunks: dict[int, Point]) -> None:
    row = without_mark(chunks[0].payload)
    collection.apply(Batch(overwrites=[(chunks[0].id, row)]))


def _headless(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(deletes=[chunks[0].id]))


def _no_vector(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(upserts=[replace(chunks[1], dense=None)]))


def _no_words(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(upserts=[replace(chunks[1], sparse=None)]))


def _zero(collection: Collection, chunks: dict[int, Point]) -> None:
    collection.apply(Batch(upserts=[replace(chunks[1], dense=np.zeros(DIM, np.float32))]))


def _other_text(collection: Collection, chunks: dict[int, Point]) -> None:
    row: Payload = {**chunks[1].payload, "text": "something else"}
    collection.apply(Batch(overwrites=[(chunks[1].id, row)]))


def _other_hash(collection: Collection, chunks: dict[int, Point]) -> None:
    row: Payload = {**chunks[1].payload, "text_hash": chunks[3].payload["text_hash"]}
    collection.apply(Batch(overwrites=[(chunks[1].id, row)]))


def _leftover(collection: Collection, chunks: dict[int, Point]) -> None:
    row: Payload = {**without_mark(chunks[1].payload), "version": "0" * 32}
    strange = replace(chunks[1], id="00000000-0000-4000-8000-000000000001", payload=row)
    collection.apply(Batch(upserts=[strange]))


def _double(collection: Collection, chunks: dict[int, Point]) -> None:
    strange = replace(chunks[1], id="00000000-0000-4000-8000-000000000001")
    collection.apply(Batch(upserts=[strange]))


def _stray(collection: Collection, chunks: dict[int, Point]) -> None:
    stray = Point("00000000-0000-4000-8000-000000000002", {"title": "x"}, chunks[1].dense)
    collection.apply(Batch(upserts=[stray]))


Break = Callable[[Collection, dict[int, Point]], None]
# How, the kind of fault, and how many texts its repair embeds.
BREAKS: list[tuple[Break, str, int]] = [
    (_gone, "missing", 1),
    (_unmarked, "unmarked", 0),
    (_headless, "unmarked", 1),
    (_no_vector, "vector", 1),
    (_no_words, "vector", 0),
    (_zero, "vector", 1),
    (_other_text, "payload", 1),
    (_other_hash, "payload", 1),
    (_leftover, "leftover", 0),
    (_double, "leftover", 0),
    (_stray, "stray", 0),
]


def test_an_intact_collection_has_no_fault(world: World) -> None:
    corpus(world)
    found = damage(world)
    assert found.faults == []
    assert found.points == len(world.state()) == 18
    assert counts(repair(world)) == {"unchanged": 6}
    assert world.server.requests == []


@pytest.mark.parametrize(
    ("harm", "kind", "price"), BREAKS, ids=[harm.__name__ for harm, _, _ in BREAKS]
)
def test_damage_is_found_named_and_repaired(
    world: World, harm: Break, kind: str, price: int
) -> None:
    corpus(world)
    before = world.state()
    with closing(world.open()) as collection:
        harm(collection, points(collection, "b.md"))
    found = damage(world)
    assert [fault.kind for fault in found.faults] == [kind]
    assert found.faults[0].source in ("b.md", None)
    report = repair(world)
    assert len(world.embedded()) == report.chunks.embedded == price
    assert damage(world).faults == []
    assert world.state() == before


def test_several_kinds_of_damage_at_once(edge_world: World) -> None:
    world = edge_world
    corpus(world)
    before = world.state()
    with closing(world.open()) as collection:
        for harm in (_gone, _stray):
            harm(collection, points(collection, "a.md"))
        for harm in (_other_hash, _leftover):
            harm(collection, points(collection, "b.md"))
        _headless(collection, points(collection, "c.md"))
    assert {fault.source for fault in damage(world).faults} == {"a.md", "b.md", "c.md", None}
    assert repair(world).chunks.embedded == 3
    assert damage(world).faults == []
    assert world.state() == before


def test_late_chunking_and_metadata_are_no_damage(edge_world: World) -> None:
    world = replace(edge_world, late=True, languages=())
    corpus(world)
    assert damage(world).faults == []
    world.ingest(meta={"team": "ops"})
    assert damage(world).faults == []


def test_a_text_without_bm25_terms_is_no_damage(edge_world: World) -> None:
    edge_world.write("a.md", "!!! ??? ---\n")
    edge_world.write("b.md", "the and of\n")
    edge_world.ingest()
    assert damage(edge_world).faults == []


def test_damage_in_a_document_of_another_folder_is_reported_but_not_repaired(
    edge_world: World, tmp_path: Path
) -> None:
    """Its source is not there to read it from."""
    world = edge_world
    corpus(world)
    other = tmp_path / "other"
    other.mkdir()
    (other / "z.md").write_text(paragraphs("z 0", "z 1"))
    world.ingest(sources=(Source(other),))
    with closing(world.open()) as collection:
        collection.apply(Batch(deletes=[points(collection, "z.md")[1].id]))
    repair(world)
    assert [(f.kind, f.source) for f in damage(world).faults] == [("missing", "z.md")]
    repair(world, sources=(Source(other),))
    assert damage(world).faults == []


class Shortened:
    """A collection whose vectors lost their end, as no store lets one be made."""

    def __init__(self, inner: Collection) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def scroll(self, *given: Any, **named: Any) -> Iterator[Point]:
        for point in self._inner.scroll(*given, **named):
            yield point if point.dense is None else replace(point, dense=point.dense[:-1])


def test_vectors_of_a_wrong_dimension_are_named(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("one"))
    edge_world.ingest()
    with closing(edge_world.open()) as collection:
        (fault,) = inspect_collection(cast(Collection, Shortened(collection))).faults
    assert (fault.kind, fault.source) == ("vector", "a.md")
    assert f"{DIM - 1} dimensions, not {DIM}" in fault.what
