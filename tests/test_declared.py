"""Fields and quantisation declared in a pipeline reach its collection, at creation and later."""

from contextlib import closing

import pytest

from ragctl.collection.conditions import Between, Prefix
from ragctl.errors import UsageError
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow


def test_runs_without_embedding_still_declare_fields(world: World) -> None:
    world.write("a.md", paragraphs("one"))
    world.ingest(meta={"year": 2024}, fields={"year": "integer"})
    world.forget()
    for fields in ({"day": "datetime"}, {}, {"year": "float"}):
        world.ingest(meta={"year": 2024}, fields=fields)
    assert world.embedded() == []
    with closing(world.open()) as collection:
        assert collection.settings.fields == {"year": "float", "day": "datetime"}
        assert collection.count((Between("meta.year", gte=2024),)) == 1
        assert collection.count((Prefix("source", "docs/a"),)) == 1


def test_a_plan_declares_nothing(world: World) -> None:
    world.write("a.md", paragraphs("one"))
    world.ingest()
    world.run(fields={"year": "integer"}).dry_run()
    with closing(world.open()) as collection:
        assert collection.settings.fields == {}


def test_quantisation_is_fixed_when_the_collection_is_created(world: World) -> None:
    world.write("a.md", paragraphs("one", "two"))
    world.ingest(quantization="scalar")
    world.ingest(quantization="scalar")
    world.write("a.md", paragraphs("one", "three"))
    world.ingest()
    with closing(world.open()) as collection:
        assert collection.settings.quantization == "scalar"
    with pytest.raises(UsageError, match="made with scalar, this run says binary; leave it out"):
        world.ingest(quantization="binary")
    plain = world.elsewhere(world.store)
    plain.collection = "plain"
    plain.ingest()
    with pytest.raises(UsageError, match="made with none, this run says binary"):
        plain.ingest(quantization="binary")
