"""The JSON Schema: shipped as it is made, and of one mind with the reader."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from ragctl import catalog
from ragctl.catalog import backend_table, model_table, reranker_table
from ragctl.errors import UsageError
from ragctl.pipeline import read_pipeline, rows
from ragctl.pipeline.pipeline import by_path
from ragctl.pipeline.schema import FILE, pipeline_schema

ROOT = Path(__file__).parents[1]
PACKAGE = Path(catalog.__file__).parent
LEAST = "[[sources]]\npath = '.'\n"
CHECK = jsonschema.Draft7Validator(pipeline_schema())


def test_it_is_a_schema_and_the_file_is_it() -> None:
    jsonschema.Draft7Validator.check_schema(pipeline_schema())
    assert json.loads(FILE.read_text(encoding="utf-8")) == pipeline_schema(), (
        "write it anew: python -m ragctl schema > ragctl/pipeline/schema.json"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_pipeline_is_valid_and_names_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    CHECK.validate(tomllib.loads(text))
    directive, _, location = text.split("\n", 1)[0].partition(" ")
    assert directive == "#:schema"
    assert (path.parent / location).resolve() == FILE.resolve()


def test_the_packages_own_rows_are_valid() -> None:
    own = {
        name: tomllib.loads((PACKAGE / f"{name}.toml").read_text(encoding="utf-8"))
        for name in ("models", "backends", "rerankers")
    }
    CHECK.validate({"sources": [{"path": "."}], **own})


def test_rows_have_the_keys_of_their_readers() -> None:
    assert tuple(rows.MODEL) == model_table.MODEL_KEYS
    assert tuple(rows.BACKEND) == backend_table.BACKEND_KEYS
    assert tuple(rows.RERANKER) == reranker_table._KEYS
    assert tuple(rows.SERVED) == backend_table.SERVED_MODEL_KEYS


def test_every_key_says_what_it_is() -> None:
    for path, key in by_path().items():
        assert key.help, path
        assert not key.help.endswith("."), path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sources = []",
        "[[sources]]\npaht = '.'",
        "[[sources]]\ninclude = ['*.md']",
        LEAST + "color = 'red'",
        LEAST + "[embeding]\nmodel = 'builtin'",
        LEAST + "[embedding]\ndimesion = 5",
        LEAST + "[embedding]\ndimension = '5'",
        LEAST + "[embedding]\ncanary = 1.5",
        LEAST + "[embedding]\ntruncate = 'yes'",
        LEAST + "[embedding]\nruntime = { dtype = 'int8' }",
        LEAST + "[[embedding.backends]]\nbase_url = 'http://h'",
        LEAST + "[embedding]\nbackends = []",
        LEAST + "[chunking]\nsize = 15",
        LEAST + "[chunking]\noverlap = -1",
        LEAST + "[bm25]\nlanguages = ['xx']",
        LEAST + "[bm25]\nlanguages = ['de', 'de']",
        LEAST + "[meta]\nx = [1]",
        LEAST + "[prune]\nlimit = 101",
        LEAST + "[budget]\nmax_tokens = 0",
        LEAST + "[budget]\nmax_cost = 0",
        LEAST + "[policy]\nfail_on = -1",
        LEAST + "[policy]\nwait = 1",
        LEAST + "[report]\nurl = 'x'",
        LEAST + "[report]\nreport_file = ''",
        LEAST + "[parsing]\ntimeout = 0",
        LEAST + "[parsing]\nmemory_mb = 1.5",
        LEAST + "[models.bge-m3]\ndimension = 5",
        LEAST + "[backends.jina]\napi_key = 'x'",
        LEAST + "[backends.jina]\nlimits = { text = 5 }",
        LEAST + "[rerankers.jina]\nwires = 'jina'",
        LEAST + "[rerankers.jina]\nwire = 'jinna'",
        LEAST + "[rerankers.jina]\ndocuments = 0",
        LEAST + "[rerankers.jina]\napi_key = 'x'",
        LEAST + "[rerankers.jina]\nrates = { texts = 5 }",
        LEAST + "[rerankers]\njina = 5",
        LEAST.replace("[[", "rerankers = 5\n[["),
    ],
)
def test_schema_and_reader_refuse_the_same(tmp_path: Path, text: str) -> None:
    text = text.removeprefix(LEAST) + "\n" + LEAST if text.startswith(LEAST) else text
    assert not CHECK.is_valid(tomllib.loads(text))
    file = tmp_path / "p.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"p\.toml"):
        read_pipeline(file, {"RAGCTL_CONFIG": str(tmp_path), "RAGCTL_HOME": "/home"})
