"""The flags of `ingest` and a pipeline file make the same object, through the same parser."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from ragctl.cli.flags import pipeline_flags
from ragctl.cli.main import app
from ragctl.errors import UsageError
from ragctl.pipeline import Pipeline, from_flags, read_pipeline
from ragctl.pipeline.pipeline import by_path

ENVIRON = {"RAGCTL_HOME": "/home", "RAGCTL_CONFIG": "/nowhere"}


def parsed(command: str, *words: str) -> dict[str, Any]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return dict(group.commands[command].make_context(command, list(words)).params)


@pipeline_flags()
def capture(flags: Mapping[str, Any]) -> int:
    """Read the flags of `ingest` as a pipeline."""
    captured.append(from_flags(flags, ENVIRON))
    return 0


captured: list[Pipeline] = []


def from_words(*words: str) -> Pipeline:
    """Return the pipeline that `ingest` makes of these arguments."""
    alone = typer.Typer(add_completion=False)
    alone.command()(capture)
    typer.main.get_command(alone).main(list(words), standalone_mode=False)
    return captured.pop()


def test_every_flag_of_a_key_is_one_of_ingest_and_has_no_default_of_its_own() -> None:
    given = parsed("ingest", "docs")
    flags = [key.flag for path, key in by_path().items() if key.flag and "backends" not in path]
    assert len(flags) > 30
    for flag in flags:
        if flag.startswith("--"):
            assert given.pop(flag.removeprefix("--").replace("-", "_")) in (None, []), flag
    own = {"path", "only", "retry_failed", "moved", "checksum", "dry_run", "quiet", "as_json"}
    assert set(given) == own


def test_a_run_has_the_flags_of_its_tables_only() -> None:
    given = parsed("run", "p.toml")
    assert {"prune", "prune_limit", "max_cost", "fail_on", "wait", "report_file"} <= set(given)
    assert "model" not in given


def test_flags_and_a_file_make_the_same(tmp_path: Path) -> None:
    flags = from_words(
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
    many = from_words("docs", "--model", "bge-m3", "--backend", "tei", "--backend", "ollama")
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
        (("--encoding", "x-99"), "--encoding cannot be 'x-99': no such encoding"),
        (("--base-url", "host"), "--base-url: the base URL 'host' is not"),
        (("--backend", "jinna"), "--backend: no backend is called 'jinna'; did you mean jina"),
        (("--backend", "tei", "--backend", "x"), "--backend: no backend is called 'x'"),
        (("--backend", "tei", "--backend", "jina", "--weights", "x"), "need exactly one --backend"),
        (("--meta", "team"), "--meta 'team': write key=value"),
        (("--store", "host:6333"), "--store must begin with http://"),
    ],
)
def test_a_wrong_flag_is_named(words: tuple[str, ...], error: str) -> None:
    with pytest.raises(UsageError) as info:
        from_words("docs", *words)
    assert error in str(info.value)


def test_a_dollar_in_a_flag_is_the_shells_to_see_to() -> None:
    assert from_words("a${b}", "--store", "/x/${y}").store == "/x/${y}"
