"""Pipeline files: strict, relative to themselves, the same object as the flags."""

from pathlib import Path

import pytest

from ragctl import catalog
from ragctl.catalog import Choice
from ragctl.errors import UsageError
from ragctl.pipeline import Embedding, Parsing, Pipeline, Source, default_store, read_pipeline

ROOT = Path(__file__).parents[1]
HOME = {"RAGCTL_HOME": "/somewhere"}


def read(tmp_path: Path, text: str) -> Pipeline:
    path = tmp_path / "p.toml"
    path.write_text(text, encoding="utf-8")
    return read_pipeline(path, HOME)


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.toml")), ids=lambda p: p.name)
def test_every_shipped_pipeline_is_right(path: Path) -> None:
    pipeline = read_pipeline(path, HOME)
    assert all(source.path.is_dir() for source in pipeline.sources)
    model = catalog.builtin().model(pipeline.embedding.model or "builtin")
    assert model.size(pipeline.embedding.dim) == (pipeline.embedding.dim or model.dim)
    for choice in pipeline.embedding.providers:
        choice.row(pipeline.catalog, model.name)


def test_all_keys(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        collection = "kb"
        store = "data"
        [[sources]]
        path = "docs"
        include = ["*.md"]
        exclude = ["old/"]
        [[sources]]
        path = "/abs"
        [embedding]
        model = "jina-embeddings-v3"
        dimension = 256
        backend = "jina"
        base_url = "http://127.0.0.1:1"
        [chunking]
        size = 300
        overlap = 30
        [bm25]
        languages = ["ru", "de"]
        [meta]
        team = "ops"
        level = 3
        draft = false
        [prune]
        enabled = false
        limit = 50
        [parsing]
        workers = 3
        timeout = 5
        memory_mb = 512
        max_file_mb = 9
        encoding = "cp1251"
        jsonl_text = "body"
        jsonl_id = "key"
        jsonl_metadata = ["a"]
        """,
    )
    assert pipeline == Pipeline(
        sources=(Source(tmp_path / "docs", ("*.md",), ("old/",)), Source(Path("/abs"))),
        store=str(tmp_path / "data"),
        collection="kb",
        embedding=Embedding("jina-embeddings-v3", 256, (Choice("jina", "http://127.0.0.1:1"),)),
        chunk_size=300,
        overlap=30,
        languages=("ru", "de"),
        meta={"team": "ops", "level": 3, "draft": False},
        prune=False,
        prune_limit=50.0,
        parsing=Parsing(3, 5.0, 512, 9, "cp1251", "body", "key", ("a",)),
    )


def test_defaults_are_those_of_the_flags(tmp_path: Path) -> None:
    pipeline = read(tmp_path, '[[sources]]\npath = "."\n')
    assert pipeline == Pipeline(sources=(Source(tmp_path),), store="/somewhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sources is missing"),
        ("sources = []", "no documents named"),
        ('[[sources]]\npath = "."\n[embeding]\n', "'embeding'; did you mean embedding"),
        ('[[sources]]\npaht = "."\n', "'paht'; did you mean path"),
        ('[[sources]]\npath = "."\n[embedding]\ndimension = "many"\n', "dimension must be a whole"),
        ('[[sources]]\npath = "."\n[chunking]\nsize = 0\n', "size must be 1 or more"),
        ('[[sources]]\npath = "."\n[prune]\nlimit = 120\n', "percentage from 0 to 100"),
        ('[[sources]]\npath = "."\n[meta]\nx = [1]\n', "x must be a text, a number"),
        ('[[sources]]\npath = "."\n[parsing]\ntimeout = -1\n', "a time above zero"),
        ("[[sources]\n", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml: cannot read"):
        read_pipeline(tmp_path / "nothing.toml", HOME)


def test_the_store_is_where_the_platform_keeps_data() -> None:
    assert default_store(HOME) == "/somewhere"
    assert default_store({}).endswith("ragctl")
