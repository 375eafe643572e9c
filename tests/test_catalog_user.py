"""User rows merged into the catalogue: files of the configuration folder, and pipelines."""

from pathlib import Path

import pytest

from ragctl.catalog import Catalog, Layer, config_folder
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.errors import UsageError

MODEL = """
[our-embedder]
dim = 8
normalized = true
distance = "cosine"
licence = "proprietary"
languages = "de"
backend = "our-host"
document = { prompt = "" }
query = { prompt = "q: " }
"""
BACKEND = """
[our-host]
wire = "openai"
base_url = "https://host.test/v1"
keys = ["OUR_KEY"]
dimensions = false
limits = { texts = 4 }
models = { our-embedder = "embedder-2", bge-m3 = "bge" }
"""


def with_files(folder: Path, models: str = "", backends: str = "") -> Catalog:
    if models:
        (folder / "models.toml").write_text(models, encoding="utf-8")
    if backends:
        (folder / "backends.toml").write_text(backends, encoding="utf-8")
    return user_catalog({"RAGCTL_CONFIG": str(folder)})


def test_catalogue_without_user_files_is_the_shipped_one(tmp_path: Path) -> None:
    assert with_files(tmp_path) is package_catalog()
    assert user_catalog({"RAGCTL_CONFIG": str(tmp_path / "none")}) is package_catalog()


def test_config_folder_defaults_to_the_platform_one() -> None:
    assert config_folder({"RAGCTL_CONFIG": "/etc/rag"}) == Path("/etc/rag")
    assert config_folder({}).name == "ragctl"
    assert config_folder({"RAGCTL_CONFIG": ""}).is_absolute()


def test_user_model_and_backend_are_added(tmp_path: Path) -> None:
    found = with_files(tmp_path, MODEL, BACKEND)
    assert found.model("our-embedder").query.prompt == "q: "
    assert found.serving("our-embedder") == ["our-host"]
    assert "our-host" in found.serving("bge-m3")
    assert len(found.models) == len(package_catalog().models) + 1
    assert "our-host" not in package_catalog().backends


def test_one_key_of_a_shipped_backend_can_be_changed(tmp_path: Path) -> None:
    row = '[voyage]\nrates = { requests = 3, tokens = 10_000 }\nkey_command = ["pass", "voyage"]'
    shipped, found = package_catalog().backend("voyage"), with_files(tmp_path, backends=row)
    changed = found.backend("voyage")
    assert (changed.rates.requests, changed.rates.tokens) == (3, 10_000)
    assert changed.key_command == ("pass", "voyage")
    assert (changed.models, changed.limits, changed.keys) == (
        shipped.models,
        shipped.limits,
        shipped.keys,
    )
    assert shipped.rates.requests == 2000


def test_model_can_be_added_to_a_shipped_backend(tmp_path: Path) -> None:
    rows = '[ollama.models]\nmultilingual-e5-large = "our-e5"\nbge-m3 = { id = "b", context = 512 }'
    changed = with_files(tmp_path, backends=rows).backend("ollama")
    assert changed.models["multilingual-e5-large"].id == "our-e5"
    assert (changed.models["bge-m3"].id, changed.models["bge-m3"].context) == ("b", 512)
    assert changed.models["qwen3-embedding-8b"].id == "qwen3-embedding:8b"


def test_one_key_of_a_shipped_model_can_be_changed(tmp_path: Path) -> None:
    changed = with_files(tmp_path, '[bge-m3]\nbackend = "ollama"').model("bge-m3")
    assert (changed.backend, changed.dim) == ("ollama", 1024)


def test_pipeline_rows_override_user_files(tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text("[jina]\nconcurrency = 2\nlimits = { texts = 8 }\n")
    layer = Layer("p, table [models]", {}, "p, table [backends]", {"jina": {"concurrency": 1}})
    found = user_catalog({"RAGCTL_CONFIG": str(tmp_path)}, layer).backend("jina")
    assert (found.concurrency, found.limits.texts) == (1, 8)


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        ("models.toml", "[m", r"models\.toml, line 1: is not valid TOML"),
        (
            "models.toml",
            "[bge-m3]\ndimension = 5",
            r"models\.toml, line 2, table \[bge-m3\]: unknown key",
        ),
        (
            "models.toml",
            "[bge-m3]\ndim = '5'",
            r"models\.toml, line 2, table \[bge-m3\]: dim must be a wh",
        ),
        ("models.toml", "bge-m3 = 1", r"models\.toml, line 1: bge-m3 must be a table, not a wh"),
        (
            "models.toml",
            "[bge-m3]\nbackend = 'x'",
            r"toml, line 2: model bge-m3: no backend is called 'x'",
        ),
        ("models.toml", "[bge-m3]\nbackend = 'jina'", "its backend jina does not serve it"),
        ("models.toml", "[voyage-3]\nquery = {}", "the voyage wire needs the task of each side"),
        (
            "backends.toml",
            "[jina]\nlimit = {}",
            r"backends\.toml, line 2, table \[jina\]: unknown key",
        ),
        (
            "backends.toml",
            "[jina]\napi_key = 'sk'",
            r"backends\.toml, line 2, table \[jina\]: a key do",
        ),
        (
            "backends.toml",
            "[mine]\nwire = 'jina'\ndimensions = true\nlimits = {texts = 1}",
            r"backends\.toml, line 1, table \[mine\]: base_url",
        ),
        (
            "backends.toml",
            "[jina.models]\nbge-m4 = 'x'",
            "line 2: backend jina, model 'bge-m4': no such",
        ),
    ],
)
def test_error_names_the_file_of_a_wrong_row(
    tmp_path: Path, file: str, text: str, error: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(UsageError, match=error) as info:
        user_catalog({"RAGCTL_CONFIG": str(tmp_path)})
    assert str(info.value).startswith(str(tmp_path / file))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_bytes(b"[caf\xe9]")
    with pytest.raises(UsageError, match=r"models\.toml: cannot be read .*utf-8"):
        user_catalog({"RAGCTL_CONFIG": str(tmp_path)})
