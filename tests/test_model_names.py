"""Models under other names: of the Hugging Face hub, of a backend, in any case."""

from pathlib import Path

import pytest

from ragctl.catalog import BackendConfig, Catalog
from ragctl.embedding import connect
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import UsageError
from ragctl.pipeline import from_flags, read_pipeline

OTHER_NAMES = {
    "jinaai/jina-embeddings-v3": "jina-embeddings-v3",
    "JinaAI/Jina-Embeddings-V3": "jina-embeddings-v3",
    "Qwen/Qwen3-Embedding-8B": "qwen3-embedding-8b",
    "qwen3-embedding:8b": "qwen3-embedding-8b",
    "intfloat/multilingual-e5-large": "multilingual-e5-large",
    "https://huggingface.co/BAAI/bge-m3": "bge-m3",
    "sentence-transformers/all-MiniLM-L6-v2": "all-minilm-l6-v2",
    "jinaai/jina-clip-v2": "jina-clip-v2",
    "BGE-M3": "bge-m3",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return package_catalog()


@pytest.mark.parametrize(("given", "row"), OTHER_NAMES.items())
def test_another_name_leads_to_the_row(given: str, row: str, catalog: Catalog) -> None:
    assert catalog.model(given).name == row
    resolved = BackendConfig().resolve(catalog, given)
    assert row in resolved.models


def test_every_hub_name_in_the_catalogue_is_known(catalog: Catalog) -> None:
    named = {
        (served.id, name)
        for backend in catalog.backends.values()
        if backend.in_process
        for name, served in backend.models.items()
    }
    assert len(named) > 20
    for given, name in named:
        assert catalog.model(given.upper()).name == name


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("someone/bge-m3", "did you mean bge-m3?"),  # perhaps another model of the same name
        ("jinaai/jina-embeddings-v33", "did you mean jina-embeddings-v3 or "),
        ("Jina-V3", "did you mean jina-embeddings-v3?"),
        ("nothing/like-it", "ragctl models lists all"),
        ("", "ragctl models lists all"),
        ("/", "ragctl models lists all"),
    ],
)
def test_an_unknown_name_is_refused(given: str, advice: str, catalog: Catalog) -> None:
    with pytest.raises(UsageError) as info:
        catalog.model(given)
    assert f"no model is called {given!r}; {advice}" in str(info.value)


def test_a_name_of_two_rows_leads_to_neither(tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text(
        '[jina.models]\njina-embeddings-v3 = "the-same"\njina-embeddings-v2-base-en = "the-same"\n'
    )
    with pytest.raises(UsageError, match="no model is called 'the-same'"):
        user_catalog({"RAGCTL_CONFIG": str(tmp_path)}).model("the-same")


def test_flags_and_files_take_the_name_of_the_row(tmp_path: Path) -> None:
    environ = {"RAGCTL_HOME": str(tmp_path), "RAGCTL_CONFIG": str(tmp_path)}
    flags = from_flags(
        {"sources": [{"path": "."}], "embedding": {"model": "Qwen/Qwen3-Embedding-8B"}}, environ
    )
    assert flags.embedding.model == "qwen3-embedding-8b"
    file = tmp_path / "p.toml"
    file.write_text(
        'sources = [{ path = "." }]\n'
        '[embedding]\nmodel = "jinaai/jina-embeddings-v3"\ndimension = 256\nbackend = "jina"\n'
    )
    assert read_pipeline(file, environ).embedding.model == "jina-embeddings-v3"
    file.write_text('sources = [{ path = "." }]\n[embedding]\nmodel = "x/bge-m3"\n')
    with pytest.raises(UsageError, match=r"p\.toml, line 3.*did you mean bge-m3"):
        read_pipeline(file, environ)


def test_a_backend_of_the_user_serves_a_model_under_its_hub_name(tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text(
        '[ours]\nwire = "tei"\nbase_url = "http://host.test"\ndimensions = false\n'
        "limits = { texts = 4 }\n"
        '[ours.models]\n"BAAI/bge-m3" = "m3"\n"intfloat/multilingual-e5-large" = { id = "e5" }\n'
    )
    found = user_catalog({"RAGCTL_CONFIG": str(tmp_path)})
    assert set(found.backend("ours").models) == {"bge-m3", "multilingual-e5-large"}
    assert found.model("m3").name == "bge-m3"


def test_a_model_of_the_user_with_a_repository(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[bge-m3]\nhub = "us/our-m3"\n')
    assert user_catalog({"RAGCTL_CONFIG": str(tmp_path)}).model("us/our-m3").name == "bge-m3"


def test_an_embedder_has_the_identity_of_the_row() -> None:
    with (
        connect("Qwen/Qwen3-Embedding-0.6B", environ={}, dry_run=True) as given,
        connect("qwen3-embedding-0.6b", environ={}, dry_run=True) as row,
    ):
        assert given.identity == row.identity
        assert given.identity.model == "qwen3-embedding-0.6b"
