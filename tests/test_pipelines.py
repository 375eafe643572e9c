"""The ready pipelines: each is planned over the sample documents, with no key and no network."""

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
from ragctl.loaders import walk
from ragctl.pipeline import Parsing, Pipeline, Source, read_pipeline
from ragctl.stores import open_store
from tests.command import call

ROOT = Path(__file__).parents[1]
FILES = ROOT / "pipelines"
SAMPLES = ROOT / "sample_docs"
SOME = Source(SAMPLES, include=("*.txt",))  # three documents, in three languages
WHOLE = ("offline", "qwen3-8b-failover")
"""Those that are planned over all sample documents, by the command itself."""

V5 = ("jina-embeddings-v5-text-small", 512, "retrieval.passage", "retrieval.query")
QWEN = (
    "qwen3-embedding-8b",
    1024,
    None,
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
)


@dataclass(frozen=True)
class Notify:
    """What a file says: identity, backends in order, and the first one's $ per million tokens."""

    identity: tuple[str, int, str | None, str | None]
    backends: tuple[str, ...]
    price: float | None
    late_chunking: bool = False


TOLD = {
    "jina-v3": Notify(
        ("jina-embeddings-v3", 512, "retrieval.passage", "retrieval.query"), ("jina",), 0.02
    ),
    "jina-v3-late-chunking": Notify(
        ("jina-embeddings-v3", 512, "retrieval.passage", "retrieval.query"),
        ("jina",),
        0.02,
        late_chunking=True,
    ),
    "jina-v4": Notify(
        ("jina-embeddings-v4", 1024, "retrieval.passage", "retrieval.query"), ("jina",), None
    ),
    "jina-v2-de": Notify(("jina-embeddings-v2-base-de", 768, None, None), ("jina",), None),
    "jina-v5-small-api": Notify(V5, ("jina",), None),
    "jina-v5-small-tei": Notify(V5, ("tei",), 0),
    "jina-v5-small-vllm": Notify(V5, ("vllm",), 0),
    "jina-v5-small-sentence-transformers": Notify(V5, ("sentence-transformers",), 0),
    "jina-v5-small-onnx": Notify(V5, ("fastembed",), 0),
    "jina-v5-small-elastic": Notify(V5, ("elastic",), None),
    "qwen3-8b-failover": Notify(QWEN, ("scaleway", "siliconflow", "deepinfra"), None),
    "qwen3-8b-openrouter": Notify(QWEN, ("openrouter",), 0.01),
    "qwen3-8b-ollama": Notify(QWEN, ("ollama",), 0),
    "qwen3-8b-router": Notify(QWEN, ("router",), None),
    "bge-m3": Notify(("bge-m3", 1024, None, None), ("infinity",), 0),
    "multilingual-e5": Notify(
        ("multilingual-e5-large", 1024, "passage: ", "query: "), ("fastembed",), 0
    ),
    "openai": Notify(("text-embedding-3-small", 512, None, None), ("openai",), 0.02),
    "cohere": Notify(("embed-v4.0", 512, "search_document", "search_query"), ("cohere",), 0.12),
    "voyage": Notify(("voyage-3.5", 512, "document", "query"), ("voyage",), 0.06),
    "offline": Notify(("builtin", 2048, None, None), (), 0),
}


def pipeline(name: str, home: Path) -> Pipeline:
    """A file as it stands, but with a store of the test's own, whatever it names."""
    read = read_pipeline(FILES / f"{name}.toml", environ(home))
    assert all(source.path.resolve() == SAMPLES for source in read.sources)
    return replace(read, store=str(home / "store"), parsing=Parsing(workers=1))


def environ(home: Path) -> dict[str, str]:
    """Neither keys nor a user's own rows."""
    return {"RAGCTL_HOME": str(home / "store"), "RAGCTL_CONFIG": str(home / "config")}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp(name) for name in TOLD}


@pytest.fixture(scope="module")
def plans(homes: dict[str, Path]) -> dict[str, Report]:
    """What each file would do with a few documents. Two at a time: each reads in a process."""
    names = sorted(TOLD.keys() - set(WHOLE))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(lambda name: plan(name, homes[name]), names), strict=True))


def plan(name: str, home: Path) -> Report:
    told = replace(pipeline(name, home), sources=(SOME,))
    with closing(open_store(told.store, environ={})) as store:
        return Run(told, store, told.environ).dry_run()


def check(name: str, found: dict[str, Any]) -> None:
    """Compare the JSON of a dry run with what the file is meant to say."""
    told, identity = TOLD[name], found["identity"]
    got = (identity["model"], identity["dimension"], identity["document"], identity["query"])
    assert got == told.identity
    assert identity["late_chunking"] is told.late_chunking
    assert identity["normalized"] is True
    assert found["documents"]["added"] > 0
    assert found["documents"]["failed"] == 0
    assert found["tokens"] > 0
    assert found["requests"] == 0
    if told.price is None:
        assert found["cost"] is None
    else:
        assert found["cost"] == pytest.approx(found["tokens"] * told.price / 1e6, abs=1e-6)


@pytest.mark.parametrize("name", sorted(TOLD.keys() - set(WHOLE)))
def test_it_plans_documents(name: str, plans: dict[str, Report], homes: dict[str, Path]) -> None:
    check(name, plans[name].to_json())
    assert plans[name].documents.added == 3
    assert not (homes[name] / "store").exists()  # nothing was written


@pytest.mark.parametrize("name", WHOLE)
def test_the_command_plans_all_sample_documents(name: str, tmp_path: Path) -> None:
    """No key is set, and there is nothing to reach: `--dry-run` needs neither."""
    words = ("run", f"pipelines/{name}.toml", "--dry-run", "--json")
    done = call(*words, environ={"PATH": os.environ["PATH"], **environ(tmp_path)}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    check(name, found)
    assert found["documents"]["added"] == 42
    assert found["collection"] == pipeline(name, tmp_path).collection


def test_patterns_of_a_file_find_documents(tmp_path: Path) -> None:
    for name in TOLD:
        told = pipeline(name, tmp_path)
        assert all(list(walk(s.path, s.include, s.exclude)) for s in told.sources)
    german = scan(pipeline("jina-v2-de", tmp_path)).files
    assert {Path(file.file).parts[0] for file in german} == {"de", "en"}


def test_the_documented_set_is_complete() -> None:
    assert {path.name for path in FILES.iterdir()} == {f"{name}.toml" for name in TOLD}


@pytest.mark.parametrize("name", TOLD)
def test_it_names_its_backends(name: str, tmp_path: Path) -> None:
    choices = pipeline(name, tmp_path).embedding.backends
    assert tuple(choice.name for choice in choices) == TOLD[name].backends


def test_each_has_a_collection_of_its_own(tmp_path: Path) -> None:
    collections = [pipeline(name, tmp_path).collection for name in TOLD]
    assert len(set(collections)) == len(collections)


@pytest.mark.parametrize("name", TOLD)
def test_its_head_says_how_to_start_it_and_which_key_it_needs(name: str, tmp_path: Path) -> None:
    text = (FILES / f"{name}.toml").read_text(encoding="utf-8")
    head = text.split("\n\n", 1)[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert re.search(rf"^# .*ragctl run pipelines/{name}\.toml$", head, re.MULTILINE)
    told = pipeline(name, tmp_path)
    for choice in told.embedding.backends:
        row = choice.resolve(told.catalog, told.embedding.model or "")
        if row.key_required:
            assert f"{row.keys[0]}=…" in head
        extra = f"pip install '.[{row.name}]'"
        assert (extra in head) is (row.in_process and row.name != "builtin")


@pytest.mark.parametrize("name", TOLD)
def test_what_is_commented_out_may_be_switched_on(name: str, tmp_path: Path) -> None:
    """Every example line of a file is as right as the file itself."""
    text = (FILES / f"{name}.toml").read_text(encoding="utf-8")
    switched = re.sub(r"^# (?=\[[a-z]|\w+(?:-\w+)* = )", "", text, flags=re.MULTILINE)
    copy = tmp_path / "pipelines" / "copy.toml"
    copy.parent.mkdir()
    copy.write_text(switched, encoding="utf-8")
    told = read_pipeline(copy, environ(tmp_path))
    for choice in told.embedding.backends:
        choice.resolve(told.catalog, told.embedding.model or "")
    lines = [line for line in text.splitlines() if re.match(r"# \S+ = ", line)]
    assert (switched != text) is bool(lines)


def test_each_is_named_in_the_documentation() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    said = "".join(page.read_text(encoding="utf-8") for page in pages)
    unnamed = {name for name in TOLD if f"{name}.toml" not in said}
    assert unnamed == set()
