"""The flags of `ingest` and a pipeline file make the same object, through the same parser."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from ragctl.cli.main import app
from ragctl.cli.settings import sources, tables
from ragctl.errors import UsageError
from ragctl.pipeline import Pipeline, from_flags, read_pipeline
from ragctl.pipeline.keys import every

ENVIRON = {"RAGCTL_HOME": "/home", "RAGCTL_CONFIG": "/nowhere"}


def parsed(command: str, *words: str) -> dict[str, Any]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return dict(group.commands[command].make_context(command, list(words)).params)


def told(*words: str) -> Pipeline:
    given = parsed("ingest", *words)
    return from_flags({"sources": sources(given, given["paths"]), **tables(given)}, ENVIRON)


def test_every_flag_of_a_key_is_one_of_ingest_and_has_no_default_of_its_own() -> None:
    given = parsed("ingest", "docs")
    for path, key in every():
        if key.flag and key.flag.startswith("--"):
            name = key.flag.removeprefix("--").replace("-", "_")
            assert given[name] in (None, []), path


def test_flags_and_a_file_make_the_same(tmp_path: Path) -> None:
    flags = told(
        *("/docs", "/more", "-c", "kb", "--store", "/data"),
        *("--model", "jina-embeddings-v3", "--dim", "256", "--task", "text-matching"),
        *("--backend", "jina", "--base-url", "http://127.0.0.1:1", "--truncate"),
        *("--no-late-chunking", "--chunk-size", "300", "--overlap", "30", "--language", "ru"),
        *("--include", "*.md", "--exclude", "old/", "--meta", "team=ops", "--no-prune"),
        *("--prune-limit", "50", "--max-tokens", "9", "--max-cost", "0.5", "--fail-on", "5"),
        *("--wait", "--report-file", "/r.json", "--metrics-file", "/m.prom", "--workers", "3"),
        *("--jsonl-text", "body", "--jsonl-id", "key", "--jsonl-meta", "a", "--jsonl-meta", "b"),
        *("--encoding", "cp1251", "--parse-timeout", "5", "--parse-memory", "512"),
        *("--max-file", "7"),
    )
    file = tmp_path / "p.toml"
    file.write_text(
        """
        collection = "kb"
        store = "/data"
        sources = [
          { path = "/docs", include = ["*.md"], exclude = ["old/"] },
          { path = "/more", include = ["*.md"], exclude = ["old/"] },
        ]
        embedding.model = "jina-embeddings-v3"
        embedding.dimension = 256
        embedding.task = "text-matching"
        embedding.backend = "jina"
        embedding.base_url = "http://127.0.0.1:1"
        embedding.truncate = true
        embedding.late_chunking = false
        chunking = { size = 300, overlap = 30 }
        bm25.languages = ["ru"]
        meta.team = "ops"
        prune = { enabled = false, limit = 50 }
        budget = { max_tokens = 9, max_cost = 0.5 }
        policy = { fail_on = 5, wait = true }
        report = { report_file = "/r.json", metrics_file = "/m.prom" }
        [parsing]
        workers = 3
        timeout = 5
        memory_mb = 512
        max_file_mb = 7
        encoding = "cp1251"
        jsonl_text = "body"
        jsonl_id = "key"
        jsonl_metadata = ["a", "b"]
        """
    )
    assert flags == read_pipeline(file, ENVIRON)


def test_several_backends_are_tried_in_order() -> None:
    many = told("docs", "--model", "bge-m3", "--backend", "tei", "--backend", "ollama")
    assert [choice.name for choice in many.embedding.backends] == ["tei", "ollama"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--chunk-size", "5"), "--chunk-size must be 16 or more, not 5"),
        (("--overlap", "-1"), "--overlap must be 0 or more"),
        (("--prune-limit", "101"), "--prune-limit must be from 0 to 100"),
        (("--fail-on", "-1"), "--fail-on must be from 0 to 100"),
        (("--max-cost", "0"), "--max-cost must be above 0"),
        (("--parse-timeout", "0"), "--parse-timeout must be above 0"),
        (("--include", "!"), "--include: Invalid git pattern"),
        (("--language", "xx"), "--language: language 'xx'"),
        (("--encoding", "x-99"), "--encoding cannot be 'x-99'"),
        (("--base-url", "host"), "--base-url: the base URL 'host' is not"),
        (("--backend", "jinna"), "--backend: no backend is called 'jinna'; did you mean jina"),
        (("--backend", "tei", "--backend", "x"), "--backend: no backend is called 'x'"),
        (("--backend", "tei", "--backend", "jina", "--weights", "x"), "go with one --backend"),
        (("--meta", "team"), "--meta 'team': write key=value"),
        (("--store", "host:6333"), "--store must begin with http://"),
    ],
)
def test_a_wrong_flag_is_named(words: tuple[str, ...], error: str) -> None:
    with pytest.raises(UsageError) as info:
        told("docs", *words)
    assert error in str(info.value)


def test_a_dollar_in_a_flag_is_the_shells_to_see_to() -> None:
    assert told("a${b}", "--store", "/x/${y}").store == "/x/${y}"
