"""The ready pipelines: each can plan the sample documents without API keys or a network."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ragctl.index.report import Report
from ragctl.index.run import Run
from ragctl.index.scan import scan
from ragctl.pipeline import Parsing, Pipeline, Source, read_pipeline
from ragctl.sources import walk
from ragctl.stores import open_store
from tests.command import call

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FILES = ROOT / "pipelines"
SAMPLES = ROOT / "sample_docs"
TEXT_FILES = Source(SAMPLES, include=("*.txt",))  # three documents, in three languages
PLANNED_BY_COMMAND = ("offline", "qwen3-8b-failover")
"""Pipelines that a test plans over all sample documents, with the command."""

V5 = ("jina-embeddings-v5-text-small", 512, "retrieval.passage", "retrieval.query")
QWEN = (
    "qwen3-embedding-8b",
    1024,
    None,
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
)


@dataclass(frozen=True)
class ExpectedPipeline:
    """What a file sets: identity, backends, and dollars per million tokens of the first one."""

    identity: tuple[str, int, str | None, str | None]
    backends: tuple[str, ...]
    price: float | None
    late_chunking: bool = False


EXPECTED = {
    "jina-v3": ExpectedPipeline(
        ("jina-embeddings-v3", 512, "retrieval.passage", "retrieval.query"), ("jina",), 0.02
    ),
    "jina-v3-late-chunking": ExpectedPipeline(
        ("jina-embeddings-v3", 512, "retrieval.passage", "retrieval.query"),
        ("jina",),
        0.02,
        late_chunking=True,
    ),
    "jina-v4": ExpectedPipeline(
        ("jina-embeddings-v4", 1024, "retrieval.passage", "retrieval.query"), ("jina",), None
    ),
    "jina-v2-de": ExpectedPipeline(
        ("jina-embeddings-v2-base-de", 768, None, None), ("jina",), None
    ),
    "jina-v5-small-api": ExpectedPipeline(V5, ("jina",), None),
    "jina-v5-small-tei": ExpectedPipeline(V5, ("tei",), 0),
    "jina-v5-small-vllm": ExpectedPipeline(V5, ("vllm",), 0),
    "jina-v5-small-sentence-transformers": ExpectedPipeline(V5, ("sentence-transformers",), 0),
    "jina-v5-small-onnx": ExpectedPipeline(V5, ("fastembed",), 0),
    "jina-v5-small-elastic": ExpectedPipeline(V5, ("elastic",), None),
    "qwen3-8b-failover": ExpectedPipeline(QWEN, ("scaleway", "siliconflow", "deepinfra"), None),
    "qwen3-8b-openrouter": ExpectedPipeline(QWEN, ("openrouter",), 0.01),
    "qwen3-8b-ollama": ExpectedPipeline(QWEN, ("ollama",), 0),
    "qwen3-8b-router": ExpectedPipeline(QWEN, ("router",), None),
    "bge-m3": ExpectedPipeline(("bge-m3", 1024, None, None), ("infinity",), 0),
    "multilingual-e5": ExpectedPipeline(
        ("multilingual-e5-large", 1024, "passage: ", "query: "), ("fastembed",), 0
    ),
    "openai": ExpectedPipeline(("text-embedding-3-small", 512, None, None), ("openai",), 0.02),
    "cohere": ExpectedPipeline(
        ("embed-v4.0", 512, "search_document", "search_query"), ("cohere",), 0.12
    ),
    "voyage": ExpectedPipeline(("voyage-3.5", 512, "document", "query"), ("voyage",), 0.06),
    "offline": ExpectedPipeline(("builtin", 2048, None, None), (), 0),
}


def load_pipeline(name: str, home: Path) -> Pipeline:
    """Read a pipeline file, and replace its store with a temporary one."""
    read = read_pipeline(FILES / f"{name}.toml", environ(home))
    assert all(source.folder.resolve() == SAMPLES for source in read.sources)
    return replace(read, store=str(home / "store"), parsing=Parsing(workers=1))


def environ(home: Path) -> dict[str, str]:
    """Return an environment without API keys or a user catalogue."""
    return {"RAGCTL_HOME": str(home / "store"), "RAGCTL_CONFIG": str(home / "config")}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp(name) for name in EXPECTED}


@pytest.fixture(scope="module")
def plans(homes: dict[str, Path]) -> dict[str, Report]:
    """Plan three documents with each file, two files at a time: each starts a process."""
    names = sorted(EXPECTED.keys() - set(PLANNED_BY_COMMAND))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(lambda name: plan(name, homes[name]), names), strict=True))


def plan(name: str, home: Path) -> Report:
    plan_pipeline = replace(load_pipeline(name, home), sources=(TEXT_FILES,))
    with closing(open_store(plan_pipeline.store, environ={})) as store:
        return Run(plan_pipeline, store, plan_pipeline.environ).dry_run()


def check_dry_run(name: str, report: dict[str, Any]) -> None:
    """Compare the JSON of a dry run with the expected values of the file."""
    expected, identity = EXPECTED[name], report["identity"]
    got = (identity["model"], identity["dimension"], identity["document"], identity["query"])
    assert got == expected.identity
    assert identity["late_chunking"] is expected.late_chunking
    assert identity["normalized"] is True
    assert report["documents"]["added"] > 0
    assert report["documents"]["failed"] == 0
    assert report["tokens"] > 0
    assert report["requests"] == 0
    if expected.price is None:
        assert report["cost"] is None
    else:
        assert report["cost"] == pytest.approx(report["tokens"] * expected.price / 1e6, abs=1e-6)


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - set(PLANNED_BY_COMMAND)))
def test_a_pipeline_plans_documents(
    name: str, plans: dict[str, Report], homes: dict[str, Path]
) -> None:
    check_dry_run(name, plans[name].to_json())
    assert plans[name].documents.added == 3
    assert not (homes[name] / "store").exists()  # nothing was written


@pytest.mark.parametrize("name", PLANNED_BY_COMMAND)
def test_the_command_plans_all_sample_documents(name: str, tmp_path: Path) -> None:
    """`--dry-run` needs no API key and no network."""
    words = ("run", f"pipelines/{name}.toml", "--dry-run", "--json")
    done = call(*words, environ={"PATH": os.environ["PATH"], **environ(tmp_path)}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check_dry_run(name, report)
    assert report["documents"]["added"] == 42
    assert report["collection"] == load_pipeline(name, tmp_path).collection


def test_sources_of_a_pipeline_have_documents(tmp_path: Path) -> None:
    for name in EXPECTED:
        config = load_pipeline(name, tmp_path)
        assert all(list(walk(s.folder, s.include, s.exclude)) for s in config.sources)
    german = scan(load_pipeline("jina-v2-de", tmp_path)).files
    assert {Path(file.source).parts[0] for file in german} == {"de", "en"}


def test_every_pipeline_file_has_an_expectation() -> None:
    assert {path.name for path in FILES.iterdir()} == {f"{name}.toml" for name in EXPECTED}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pipeline_names_its_backends(name: str, tmp_path: Path) -> None:
    choices = load_pipeline(name, tmp_path).embedding.backends
    assert tuple(choice.name for choice in choices) == EXPECTED[name].backends


def test_pipelines_have_different_collections(tmp_path: Path) -> None:
    collections = [load_pipeline(name, tmp_path).collection for name in EXPECTED]
    assert len(set(collections)) == len(collections)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_header_has_the_command_and_the_required_key(name: str, tmp_path: Path) -> None:
    text = (FILES / f"{name}.toml").read_text(encoding="utf-8")
    head = text.split("\n\n", 1)[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert re.search(rf"^# .*ragctl run pipelines/{name}\.toml$", head, re.MULTILINE)
    config = load_pipeline(name, tmp_path)
    for choice in config.embedding.backends:
        row = choice.resolve(config.catalog, config.embedding.model or "")
        if row.key_required:
            assert f"{row.keys[0]}=…" in head
        extra = f"pip install '.[{row.name}]'"
        assert (extra in head) is (row.in_process and row.name != "builtin")


@pytest.mark.parametrize("name", EXPECTED)
def test_commented_out_settings_are_valid(name: str, tmp_path: Path) -> None:
    """The file is still valid with all its example settings enabled."""
    text = (FILES / f"{name}.toml").read_text(encoding="utf-8")
    switched = re.sub(r"^# (?=\[[a-z]|\w+(?:-\w+)* = )", "", text, flags=re.MULTILINE)
    copy = tmp_path / "pipelines" / "copy.toml"
    copy.parent.mkdir()
    copy.write_text(switched, encoding="utf-8")
    config = read_pipeline(copy, environ(tmp_path))
    for choice in config.embedding.backends:
        choice.resolve(config.catalog, config.embedding.model or "")
    lines = [line for line in text.splitlines() if re.match(r"# \S+ = ", line)]
    assert (switched != text) is bool(lines)


def test_each_pipeline_is_mentioned_in_the_documentation() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    unnamed = {name for name in EXPECTED if f"{name}.toml" not in text}
    assert unnamed == set()
