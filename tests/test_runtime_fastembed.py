"""fastembed in this process, on tiny ONNX exports with the file layout of the hub's."""

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, Catalog, Layer, Runtime
from ragctl.cli.main import main
from ragctl.embedding import Embedder, Options, connect
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.embedding.wires.fastembed import cache_folder
from ragctl.errors import BackendError, DocumentError, UsageError
from tests import runtime_models
from tests.runtime_models import summed

pytestmark = pytest.mark.slow

V5 = "jina-embeddings-v5-text-small"
TEXTS = ["red apples", "a", "a much longer text, of several words", "pears"]


def local(
    model: str,
    weights: Path | None,
    dim: int | None = None,
    *,
    truncate: bool = False,
    runtime: Runtime | None = None,
    rows: Catalog | None = None,
) -> Embedder:
    folder = None if weights is None else str(weights)
    return connect(
        model,
        dim=dim,
        backends=[BackendConfig("fastembed", weights=folder, runtime=runtime)],
        catalog=rows,
        environ={},
        options=Options(truncate=truncate),
    )


def rows(**models: object) -> Catalog:
    """Return the catalogue with these models added to, or changed in, the fastembed row."""
    layer = Layer("test", {}, "test", {"fastembed": {"models": models}})
    return user_catalog({"RAGCTL_CONFIG": "/nowhere"}, layer)


def catalog_with_onnx(**onnx: object) -> Catalog:
    """Return the catalogue with another ONNX description of jina v5."""
    return rows(**{V5: {"id": "jinaai/x", "onnx": {"file": "onnx/model.onnx", **onnx}}})


@pytest.fixture(scope="module")
def v5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model as the catalogue's jina v5 row describes it."""
    runtime_models.need("fastembed", "onnx")
    return runtime_models.onnx_model(tmp_path_factory.mktemp("v5") / "model", 1024)


def test_jina_v5_uses_prompts_and_the_pooled_output(v5: Path) -> None:
    with local(V5, v5) as embedder:
        documents, query = embedder.documents(TEXTS), embedder.query("red apples")
        assert embedder.usage.tokens == sum(len("Document: " + text) + 2 for text in TEXTS) + 19
        assert (embedder.usage.requests, embedder.usage.texts) == (0, len(TEXTS) + 1)
    expected = np.stack([summed(v5, "Document: " + text) for text in TEXTS])
    np.testing.assert_allclose(documents, expected, atol=1e-5)
    np.testing.assert_allclose(query, summed(v5, "Query: red apples"), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-6)
    assert np.abs(query - summed(v5, "red apples")).max() > 1e-3  # without the prompt
    assert np.abs(query - summed(v5, "Query: red apples", "mean")).max() > 1e-3


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
def test_pooling_of_token_vectors(pooling: str, padding: str, tmp_path: Path) -> None:
    """Texts of different lengths in one batch: padding does not affect the vectors."""
    runtime_models.need("fastembed", "onnx")
    weights = runtime_models.onnx_model(tmp_path / "model", 1024, padding=padding)
    changed = catalog_with_onnx(output="last_hidden_state", pooling=pooling)
    with local(V5, weights, rows=changed, runtime=Runtime(batch=4)) as embedder:
        documents = embedder.documents(TEXTS)
    expected = np.stack([summed(weights, "Document: " + text, pooling) for text in TEXTS])
    if pooling == "cls" and padding == "left":
        # The first position is padding then; fastembed pools it regardless.
        np.testing.assert_allclose(documents[2], expected[2], atol=1e-5)
        assert np.abs(documents[1] - expected[1]).max() > 1e-3
    else:
        np.testing.assert_allclose(documents, expected, atol=1e-5)


def test_smaller_dimension_is_truncated_and_normalised(v5: Path) -> None:
    with local(V5, v5, 64) as embedder:
        vector = embedder.documents(["red apples"])[0]
    prefix = summed(v5, "Document: red apples")[:64]
    np.testing.assert_allclose(vector, prefix / np.linalg.norm(prefix), atol=1e-5)


def test_model_known_to_fastembed_is_normalised(tmp_path: Path) -> None:
    runtime_models.need("fastembed", "onnx")
    weights = runtime_models.onnx_model(tmp_path / "model", 1024, file="model.onnx")
    with local("multilingual-e5-large", weights) as embedder:
        document, query = embedder.documents(["pears"])[0], embedder.query("pears")
    np.testing.assert_allclose(document, summed(weights, "passage: pears", "mean"), atol=1e-5)
    np.testing.assert_allclose(query, summed(weights, "query: pears", "mean"), atol=1e-5)


def test_jina_v3_uses_adapter_and_prompt_of_each_side(tmp_path: Path) -> None:
    runtime_models.need("fastembed", "onnx")
    weights = runtime_models.onnx_model(tmp_path / "model", 1024, tasks=5, context=200)
    model = package_catalog().model("jina-embeddings-v3")
    served = rows(**{"jina-embeddings-v3": "jinaai/jina-embeddings-v3"})
    with local("jina-embeddings-v3", weights, rows=served) as embedder:
        document, query = embedder.documents(["pears"])[0], embedder.query("pears")
    assert model.document.prompt
    assert model.query.prompt
    expected_document = summed(weights, model.document.prompt + "pears", "mean", 1)
    expected_query = summed(weights, model.query.prompt + "pears", "mean", 0)
    np.testing.assert_allclose(document, expected_document, atol=1e-5)
    np.testing.assert_allclose(query, expected_query, atol=1e-5)
    assert np.abs(query - summed(weights, model.query.prompt + "pears", "mean", 1)).max() > 1e-3


def test_text_over_the_context_is_refused(v5: Path) -> None:
    max_letters = 64 - 2 - len("Document: ")
    with local(V5, v5) as embedder:
        embedder.documents(["a" * max_letters])
        with pytest.raises(DocumentError, match=r"65 tokens are more than the 64 .* --truncate"):
            embedder.documents(["short", "a" * (max_letters + 1)])
    with local(V5, v5, truncate=True) as embedder:
        truncated, short = embedder.documents(["a" * max_letters + "bcd", "short"])
        assert embedder.usage.tokens == 64 + len("Document: short") + 2
        assert embedder.usage.usages[0].cut == 1
    # [SEP] stays at the end of a truncated text.
    np.testing.assert_allclose(truncated, summed(v5, "Document: " + "a" * max_letters), atol=1e-5)
    np.testing.assert_allclose(short, summed(v5, "Document: short"), atol=1e-5)


def test_context_of_the_row_limits_texts(v5: Path) -> None:
    onnx = {"file": "onnx/model.onnx", "output": "sentence_embedding"}
    smaller = rows(**{V5: {"id": "jinaai/x", "context": 20, "onnx": onnx}})
    with local(V5, v5, rows=smaller, truncate=True) as embedder:
        truncated = embedder.documents(["abcdefghijkl"])[0]
    np.testing.assert_allclose(truncated, summed(v5, "Document: abcdefgh"), atol=1e-5)


def test_export_loaded_several_times_in_one_process(v5: Path) -> None:
    expected = summed(v5, "Query: pears")

    def query(_: int) -> np.ndarray:
        with local(V5, v5) as embedder:
            return embedder.query("pears")

    with ThreadPoolExecutor(4) as threads:
        for vector in threads.map(query, range(8)):
            np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_concurrent_queries(v5: Path) -> None:
    texts = [f"{name} {n}" for n in range(8) for name in ("pump", "valve", "door")]
    with local(V5, v5, runtime=Runtime("cpu", threads=1)) as embedder:
        with ThreadPoolExecutor(8) as threads:
            together = [*threads.map(embedder.query, texts)]
        for text, vector in zip(texts, together, strict=True):
            np.testing.assert_allclose(vector, summed(v5, f"Query: {text}"), atol=1e-5)


def test_ingest_and_search(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runtime_models.need("fastembed", "onnx")
    weights = runtime_models.onnx_model(tmp_path / "model", 384, file="model.onnx", context=200)
    docs, store = tmp_path / "docs", str(tmp_path / "store")
    docs.mkdir()
    for name in ("zebra zoo", "cold milk", "iron ore"):
        (docs / f"{name}.txt").write_text(name)
    where = ["--store", store, "--json"]
    flags = ["--model", "all-minilm-l6-v2", "--backend", "fastembed"]
    with pytest.raises(SystemExit) as ended:
        main(["ingest", str(docs), *flags, "--weights", str(weights), *where])
    output = capfd.readouterr()
    assert (ended.value.code, output.err) == (0, "")
    assert json.loads(output.out)["documents"]["added"] == 3
    with pytest.raises(SystemExit) as ended:  # the collection stores its model and folder
        main(["search", "cold milk", "--mode", "dense", *where])
    output = capfd.readouterr()
    assert (ended.value.code, output.err) == (0, "")
    assert json.loads(output.out)["hits"][0]["source"] == "docs/cold milk.txt"


# ---- Errors


@pytest.mark.parametrize(
    ("onnx", "message"),
    [
        ({"output": "embedding"}, "cannot be loaded from .*'embedding' not found in the model"),
        (
            {"output": "last_hidden_state"},
            r"called with prompt 'Document: ' \(fastembed .*pooling",
        ),
        ({"file": "model.onnx"}, "has no model.onnx, which jina-embeddings-v5"),
    ],
    ids=["no such output", "token vectors, not pooled", "no such file"],
)
def test_export_that_differs_from_its_description_raises(
    onnx: dict[str, object], message: str, v5: Path
) -> None:
    with local(V5, v5, rows=catalog_with_onnx(**onnx)) as embedder:
        for _ in range(2):
            with pytest.raises(BackendError, match=message) as raised:
                embedder.documents(["text"])
            assert "\n" not in str(raised.value)


def test_weights_of_another_model_raise(tmp_path: Path) -> None:
    runtime_models.need("fastembed", "onnx")
    weights = runtime_models.onnx_model(tmp_path / "model", 32)
    with (
        local(V5, weights) as embedder,
        pytest.raises(BackendError, match=f"vectors of 32 dimensions, and {V5} has 1024"),
    ):
        embedder.query("text")


def test_model_unknown_to_fastembed_raises(v5: Path) -> None:
    with (
        local(V5, v5, rows=rows(**{V5: "jinaai/unheard-of"})) as embedder,
        pytest.raises(BackendError, match="does not know jinaai/unheard-of; describe its export"),
    ):
        embedder.query("text")


def test_missing_model_without_a_network_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime_models.need("fastembed")
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path / "cache"))
    with (
        local(V5, None) as embedder,
        pytest.raises(BackendError, match="cannot be loaded from jinaai/jina-embeddings-v5-text-s"),
    ):
        embedder.query("text")
    assert (tmp_path / "cache").is_dir()


def test_cache_folder_is_not_temporary() -> None:
    assert cache_folder({"FASTEMBED_CACHE_PATH": "/models"}) == Path("/models")
    own = cache_folder({})
    assert own.parts[-2:] == ("ragctl", "fastembed")
    assert not own.is_relative_to(tempfile.gettempdir())


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        (Runtime(device="mps"), "runs on cpu, cuda or cuda:N, not 'mps'"),
        (Runtime(device="cuda:x"), "not 'cuda:x'"),
        (Runtime(dtype="bfloat16"), "no dtype to choose"),
    ],
)
def test_unsupported_settings_are_refused(runtime: Runtime, message: str, v5: Path) -> None:
    with pytest.raises(UsageError, match=message):
        local(V5, v5, runtime=runtime)


def test_missing_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    with pytest.raises(UsageError, match=r"pip install '\S*\[fastembed\]'$"):
        connect("multilingual-e5-large", backends=[BackendConfig("fastembed")], environ={})


def test_nothing_is_loaded_before_the_first_text() -> None:
    runtime_models.need("fastembed")
    code = (
        "import sys; from ragctl.catalog import BackendConfig; "
        "from ragctl.embedding import connect; "
        "connect('multilingual-e5-large', backends=[BackendConfig('fastembed')], environ={}); "
        "print({'fastembed', 'onnxruntime'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
