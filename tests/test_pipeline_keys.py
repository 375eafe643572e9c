"""Each key of a pipeline file has exactly one field, and the field has the type of the key."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest

from ragctl.catalog import BackendConfig, Catalog, Rates, RerankerRow, Runtime
from ragctl.catalog.strict import ConfigSource
from ragctl.errors import UsageError
from ragctl.pipeline import Budget, Embedding, Parsing, Pipeline, Reporting, Source
from ragctl.pipeline.backend_keys import BACKEND, LISTED_BACKEND, RATES, RUNTIME
from ragctl.pipeline.keys import KeySpec, check_bounds, computed, declarations, fill, key, key_tree
from ragctl.pipeline.pipeline import KEYS, TABLES, by_path

SECTIONS = (Pipeline, Source, Embedding, Parsing, Budget, Reporting)
WITHOUT_KEY = {
    Pipeline: {
        "only",
        "retry_failed",
        "moved",
        "checksum",
        "pdf_password",
        "config_source",
        "env_file",
    },
    Source: {"within", "url", "base"},
}
TYPES: Mapping[str, tuple[Any, ...]] = {
    "string": (str, str | None),
    "address": (str, str | None),
    "path": (Path, Path | None),
    "location": (Path | None,),
    "arguments": (tuple[str, ...] | None,),
    "integer": (int, int | None),
    "number": (float, float | None),
    "boolean": (bool, bool | None),
    "strings": (tuple[str, ...], tuple[str, ...] | None),
    "scalars": (Mapping,),
    "choices": (Mapping[str, str],),
}


@pytest.mark.parametrize("cls", SECTIONS)
def test_each_field_has_a_key_of_its_type(cls: type) -> None:
    names = {
        "BackendConfig": BackendConfig,
        "Catalog": Catalog,
        "ConfigSource": ConfigSource,
        "RerankerRow": RerankerRow,
    }
    hints = get_type_hints(cls, localns=names)
    declared = dict(declarations(cls))
    assert {each.name for each in fields(cls)} - set(declared) == WITHOUT_KEY.get(cls, set())
    for name, declaration in declared.items():
        if not declaration.computed and declaration.section is None:
            ((_, spec),) = declaration.keys
            hint = hints[name]
            kept = get_origin(hint) if spec.kind == "scalars" else hint
            assert kept in TYPES[spec.kind], f"{cls.__name__}.{name}: {spec.kind}"


@pytest.mark.parametrize(
    ("cls", "keys", "without_key"),
    [
        (Rates, RATES, set()),
        (Runtime, RUNTIME, set()),
        (BackendConfig, BACKEND, {"remote"}),
        (BackendConfig, LISTED_BACKEND, {"remote"}),
    ],
)
def test_keys_of_a_backend_fill_the_fields_of_the_catalogue(
    cls: type, keys: tuple[KeySpec, ...], without_key: set[str]
) -> None:
    filled = {"name" if spec.name == "backend" else spec.name for spec in keys}
    assert filled == {each.name for each in fields(cls)} - without_key


def test_every_table_has_help() -> None:
    assert {path[0] for path in by_path() if len(path) == 2} >= set(TABLES)
    assert {spec.name for spec in KEYS if spec.kind == "table"} >= set(TABLES)


@dataclass(frozen=True)
class Sample:
    """A section with a plain key and a computed field."""

    size: int = key("size", "integer", "a size", default=3, minimum=1, maximum=9)
    total: int = computed(KeySpec("parts", "strings", "parts"), default=0)


def test_a_computed_field_must_be_given() -> None:
    values = {"size": 5, "parts": ("a", "b")}
    assert fill(Sample, values, total=2) == Sample(5, 2)
    with pytest.raises(AssertionError, match=r"Sample\.total has to be computed"):
        fill(Sample, values)


def test_an_absent_key_keeps_the_default() -> None:
    assert fill(Sample, {"size": None, "parts": None}, total=0).size == 3
    with pytest.raises(KeyError):
        fill(Sample, {"parts": None}, total=0)


def test_bounds_apply_to_values_from_code() -> None:
    assert [spec.name for spec in key_tree(Sample)] == ["size", "parts"]
    with pytest.raises(UsageError, match=r"^size must be from 1 to 9, not 10$"):
        check_bounds(Sample(10))
    with pytest.raises(UsageError, match=r"^chunking\.size must be 16 or more, not 1$"):
        Pipeline((Source(Path()),), "store", chunk_size=1)
