"""Filters on fields that no document has, or that have no index."""

import json
import warnings

import pytest

from ragctl.search.fields import _paths, filter_keys
from ragctl.search.where import parse_where
from tests.searching import searcher
from tests.world import World


def test_the_keys_of_a_filter() -> None:
    where = parse_where(["team=ops", "year>=2024 or not has(meta.city)", "source^=en/"])
    assert filter_keys(where) == {"meta.team", "meta.year", "meta.city", "source"}


def test_the_names_of_nested_metadata() -> None:
    assert list(_paths({"a": {"b": 1, "c": {"d": 2}}})) == ["a", "a.b", "a.c", "a.c.d"]


def test_a_field_that_no_document_has_is_named_once(world: World) -> None:
    rows = [
        {"id": "a", "text": "a valve", "team": "ops", "empty": None},
        {"id": "b", "text": "a pump", "year": 2024},
    ]
    world.write("r.jsonl", "\n".join(map(json.dumps, rows)))
    world.ingest(fields={"year": "integer", "colour": "keyword"})
    with searcher(world) as found:

        def warned(where: str) -> list[str]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found.search("valve", where=where, mode="sparse")
            return [str(each.message) for each in caught]

        missing = "no document has the field"
        assert warned("taem=ops") == [f"{missing} 'taem': did you mean team?"]
        assert warned("taem=ops") == []
        assert warned("taem!=ops and soruce=x") == [f"{missing} 'soruce': did you mean source?"]
        assert warned("page=3 or not has(title)") == []  # ragctl's own
        assert warned("year=2024") == []
        (line,) = warned("empty=x")
        assert line.startswith(f"{missing} 'empty'")
        (line,) = warned("zzz=1")
        assert line.startswith(f"{missing} 'zzz': known: ")
        for name in ("year", "team", "source"):
            assert name in line
        (line,) = warned("source=docs/r.jsonl#a and lang=en and colour=red")
        assert line.startswith(f"{missing} 'colour': ")
        assert warned("team=ops") == [
            "the filter on 'team' reads every point; an index needs the type of the field, "
            "under [fields] of a pipeline file"
        ]


def test_the_python_caller_gets_the_warning(edge_world: World) -> None:
    edge_world.write("a.txt", "a valve")
    edge_world.ingest()
    with (
        searcher(edge_world) as found,
        pytest.warns(UserWarning, match="no document has the field 'team'") as caught,
    ):
        found.search("valve", where="team=ops", mode="sparse")
    assert caught[0].filename
