"""sentence-transformers in this process: real weights, and tiny models with Jina's tasks.

The expected vectors of the tiny models are computed without the library, from the
exact text and the adapter that a side must use.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.catalog import BackendConfig, Catalog, Layer, Runtime, backend_table
from ragctl.cli.main import main
from ragctl.embedding import Embedder, Options, connect
from ragctl.embedding.base import EmbeddingRequest
from ragctl.embedding.catalogs import package_catalog, user_catalog
from ragctl.embedding.wires.sentence_transformers import SentenceTransformers
from ragctl.errors import BackendError, DocumentError, Interrupted, UsageError
from ragctl.hosts.usage import Usage
from tests import runtime_models
from tests.runtime_models import expected
from tests.servers import minilm as minilm_server
from tests.servers.minilm import Way

pytestmark = pytest.mark.slow

CPU = Runtime(device="cpu")
V3 = (
    "Represent the document for retrieval: ",
    "Represent the query for retrieving evidence documents: ",
)
V3_TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
TOPICS = {
    "The heat pump must not exceed sixty degrees.": "how hot may the pump become",
    "Employees have twenty-eight days of vacation.": "how long is the annual leave",
    "The museum opens at nine in the morning.": "when can I visit the exhibition",
    "Bread is baked from flour, water and salt.": "what do I need for a loaf",
}


def local(
    model: str,
    weights: Path,
    dim: int | None = None,
    *,
    task: str | None = None,
    truncate: bool = False,
    runtime: Runtime = CPU,
    rows: Catalog | None = None,
) -> Embedder:
    return connect(
        model,
        dim=dim,
        task=task,
        backends=[BackendConfig("sentence-transformers", weights=str(weights), runtime=runtime)],
        catalog=rows,
        environ={},
        options=Options(truncate=truncate),
    )


@pytest.fixture(scope="module")
def minilm() -> Path:
    return runtime_models.minilm()


@pytest.fixture(scope="module")
def real(minilm: Path) -> Iterator[Embedder]:
    with local("all-minilm-l6-v2", minilm) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime_models.need("sentence_transformers")
    names = {"retrieval.passage": V3[0], "retrieval.query": V3[1]}
    return runtime_models.sentence_model(
        tmp_path_factory.mktemp("v3") / "model",
        1024,
        prompts={task: names.get(task, f"{task} text: ") for task in V3_TASKS},
        code="Transformer",
        tasks=V3_TASKS,
        kwargs=("task",),
        context=160,
        memory=200,
    )


@pytest.fixture(scope="module")
def v4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime_models.need("sentence_transformers")
    return runtime_models.sentence_model(
        tmp_path_factory.mktemp("v4") / "model",
        2048,
        prompts={"query": "Query: ", "passage": "Passage: "},
        code="MultimodalTransformer",
        tasks=("retrieval", "text-matching", "code"),
        kwargs=("task", "truncate_dim"),
    )


@pytest.fixture(scope="module")
def v5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime_models.need("sentence_transformers")
    return runtime_models.sentence_model(
        tmp_path_factory.mktemp("v5") / "model",
        1024,
        code="DeclaringTransformer",
        tasks=("retrieval", "text-matching", "clustering", "classification"),
    )


# ---- Real weights


def test_variants_are_those_of_a_wrongly_set_up_server(real: Embedder) -> None:
    texts = list(TOPICS)
    real.query("load it")
    wire = real.backends[0].wire
    assert isinstance(wire, SentenceTransformers)
    for vectors, way in (
        (wire.variant(texts), Way()),
        (wire.variant(texts, ending=False), Way(eos=False)),
        (wire.variant(texts, pooling="cls"), Way(pooling="cls")),
        (wire.variant(texts, pooling="last"), Way(pooling="last")),
    ):
        right = minilm_server.embed(texts, way)
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        assert np.sum(vectors * right, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("runtime", "nvidia_driver", "texts"),
    [
        (Runtime(), False, 256),
        (Runtime(), True, 1024),
        (CPU, True, 256),
        (Runtime("cuda:1"), False, 1024),
        (Runtime("mps"), True, 256),
    ],
)
def test_requests_are_larger_on_a_gpu(
    runtime: Runtime,
    nvidia_driver: bool,
    texts: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = tmp_path / "nvidiactl"
    if nvidia_driver:
        driver.touch()
    monkeypatch.setattr(backend_table, "NVIDIA_DEVICE_FILE", driver)
    config = BackendConfig("sentence-transformers", runtime=runtime)
    with connect("all-minilm-l6-v2", backends=[config], environ={}) as embedder:
        assert embedder.limits.texts == texts


def test_nearest_document_is_the_relevant_one(real: Embedder) -> None:
    before = real.usage.tokens
    vectors = real.documents([*TOPICS])
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    # WordPiece tokens of the model's own vocabulary, with [CLS] and [SEP] around each text.
    assert real.usage.tokens - before == 11 + 11 + 11 + 12
    found = [int(np.argmax(vectors @ real.query(query))) for query in TOPICS.values()]
    assert found == [0, 1, 2, 3]


def test_vectors_equal_those_of_the_library_in_text_order(real: Embedder, minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [("red " * n + "apples").strip() for n in (60, 1, 200, 3, 1, 90)]
    plain = SentenceTransformer(str(minilm), device="cpu").encode(texts)
    np.testing.assert_allclose(real.documents(texts), plain, atol=1e-5)


def test_text_over_the_context_is_refused(real: Embedder) -> None:
    long = "apple " * 300
    with pytest.raises(DocumentError, match=r"302 tokens are more than the 256 .* --truncate"):
        real.documents(["short", long])
    with pytest.raises(UsageError, match="302 tokens"):
        real.query(long)
    with real.stream() as stream:
        for key, text in enumerate(["short", long, "apple " * 254]):
            stream.add(key, text)
        outcomes = dict(stream.completed(block=True))
        while stream.pending:
            outcomes |= dict(stream.completed(block=True))
    kinds = [type(outcomes[key]) for key in range(3)]
    assert kinds == [np.ndarray, DocumentError, np.ndarray]


def test_text_is_truncated_on_request(real: Embedder, minilm: Path) -> None:
    with local("all-minilm-l6-v2", minilm, truncate=True) as embedder:
        truncated, short = embedder.documents(["apple " * 254 + "pear " * 100, "pear"])
        assert embedder.usage.tokens == 256 + 3
        assert embedder.usage.usages[0].cut == 1
    np.testing.assert_allclose(truncated, real.documents(["apple " * 254])[0], atol=1e-5)
    np.testing.assert_allclose(short, real.query("pear"), atol=1e-5)


def test_context_of_the_row_limits_texts(minilm: Path) -> None:
    row = {"id": "sentence-transformers/all-MiniLM-L6-v2", "context": 20}
    rows = _rows({"sentence-transformers": {"models": {"all-minilm-l6-v2": row}}})
    with local("all-minilm-l6-v2", minilm, rows=rows) as embedder:
        embedder.documents(["apple " * 18])
        with pytest.raises(DocumentError, match="21 tokens are more than the 20"):
            embedder.documents(["apple " * 19])
    with local("all-minilm-l6-v2", minilm, rows=rows, truncate=True) as embedder:
        truncated = embedder.documents(["apple " * 18 + "pear " * 9])
        np.testing.assert_allclose(truncated, embedder.documents(["apple " * 18]), atol=1e-5)


def test_dtype_and_batch_size_are_used(real: Embedder, minilm: Path) -> None:
    texts = [*TOPICS]
    half = Runtime(device="cpu", dtype="bfloat16", batch=1, threads=2)
    with local("all-minilm-l6-v2", minilm, runtime=half) as embedder:
        vectors = embedder.documents(texts)
    exact = real.documents(texts)
    assert np.abs(vectors - exact).max() > 1e-4  # float32 agrees within 1e-6
    assert np.sum(vectors * exact, axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_missing_device_raises(minilm: Path) -> None:
    with (
        local("all-minilm-l6-v2", minilm, runtime=Runtime(device="cuda:99")) as embedder,
        pytest.raises(BackendError, match=r"all-minilm-l6-v2 cannot be loaded from .*"),
    ):
        embedder.query("text")


def test_concurrent_queries(real: Embedder) -> None:
    texts = [f"{name} number {n}" for n in range(6) for name in ("pump", "valve", "door")]
    alone = np.stack([real.query(text) for text in texts])
    with ThreadPoolExecutor(6) as threads:
        together = np.stack([*threads.map(real.query, texts)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_multiple_devices(real: Embedder, minilm: Path) -> None:
    texts = [f"text number {n} of a request" for n in range(40)]
    with local("all-minilm-l6-v2", minilm, runtime=Runtime(device="cpu,cpu")) as embedder:
        np.testing.assert_allclose(embedder.query(texts[0]), real.query(texts[0]), atol=1e-5)
        np.testing.assert_allclose(embedder.documents(texts), real.documents(texts), atol=1e-5)


def test_stop_between_batches(minilm: Path) -> None:
    rows = package_catalog()
    backend = BackendConfig("sentence-transformers", weights=str(minilm), runtime=CPU).resolve(
        rows, "all-minilm-l6-v2"
    )
    wire = SentenceTransformers(rows.model("all-minilm-l6-v2"), backend, 384, Usage(), Options())
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        wire.call(EmbeddingRequest("document", ("text",), stopped))
    wire.close()


def test_ingest_and_search(minilm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Through the command, into the embedded store, with empty standard error."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for number, text in enumerate(TOPICS):
        (docs / f"{number}.txt").write_text(text)
    # In this English model each Cyrillic letter is a token, so chunks exceed the estimate.
    (docs / "russian.txt").write_text("Договоры хранятся пять лет. " * 16, encoding="utf-8")
    (tmp_path / "pipeline.toml").write_text(
        f"""
        store = "store"
        sources = [{{ path = "docs" }}]
        chunking = {{ size = 128 }}
        [embedding]
        model = "all-minilm-l6-v2"
        backend = "sentence-transformers"
        weights = '{minilm}'
        """
    )

    command = [sys.executable, "-m", "ragctl", "run", "pipeline.toml", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 3, ran.stderr  # one text would be truncated
    report = json.loads(ran.stdout)
    assert (report["documents"]["added"], report["documents"]["failed"]) == (4, 1)
    assert report["failures"][0]["source"] == "docs/russian.txt"
    error = report["failures"][0]["error"]
    assert "266 tokens are more than the 256" in error
    assert ran.stderr == f"failed: docs/russian.txt: {error}\n"

    # In this process, where torch is already loaded.
    store, query = str(tmp_path / "store"), [*TOPICS.values()][1]
    with pytest.raises(SystemExit) as ended:
        main(["search", query, "--store", store, "--mode", "dense", "--json"])
    output = capfd.readouterr()
    assert (ended.value.code, output.err) == (0, "")
    assert json.loads(output.out)["hits"][0]["source"] == "docs/1.txt"


# ---- Arguments of each side

SIDES = [
    # model, folder, task, (document prompt, adapter), (query prompt, adapter)
    ("jina-embeddings-v3", "v3", None, (V3[0], "retrieval.passage"), (V3[1], "retrieval.query")),
    ("jina-embeddings-v3", "v3", "clustering", *[("separation text: ", "separation")] * 2),
    ("jina-embeddings-v4", "v4", None, ("Passage: ", "retrieval"), ("Query: ", "retrieval")),
    ("jina-embeddings-v4", "v4", "code", ("Passage: ", "code"), ("Query: ", "code")),
    ("jina-embeddings-v4", "v4", "text-matching", *[("Query: ", "text-matching")] * 2),
    (
        "jina-embeddings-v5-text-small",
        "v5",
        None,
        ("Document: ", "retrieval"),
        ("Query: ", "retrieval"),
    ),
    (
        "jina-embeddings-v5-text-small",
        "v5",
        "classification",
        *[("Document: ", "classification")] * 2,
    ),
]


@pytest.mark.parametrize(
    ("model", "folder", "task", "document", "query"),
    SIDES,
    ids=[f"{row[0]}-{row[2] or 'retrieval'}" for row in SIDES],
)
def test_task_and_prompt_of_each_side(
    model: str,
    folder: str,
    task: str | None,
    document: tuple[str, str],
    query: tuple[str, str],
    request: pytest.FixtureRequest,
) -> None:
    weights: Path = request.getfixturevalue(folder)
    text = "red apples"
    sides = (document, query)
    expected_vectors = [expected(weights, prompt + text, adapter) for prompt, adapter in sides]
    with local(model, weights, task=task) as embedder:
        np.testing.assert_allclose(embedder.documents([text])[0], expected_vectors[0], atol=1e-5)
        np.testing.assert_allclose(embedder.query(text), expected_vectors[1], atol=1e-5)
        # A letter is a token, and [CLS] and [SEP] are added to each text.
        assert embedder.usage.tokens == sum(len(prompt + text) + 2 for prompt, _ in sides)
    # The vectors of wrong arguments differ from the expected ones.
    for wrong in (
        expected(weights, text, document[1]),
        expected(weights, document[0] + text),
    ):
        assert np.abs(wrong - expected_vectors[0]).max() > 1e-3


def test_prompt_counts_towards_the_context(v3: Path) -> None:
    max_letters = 160 - 2 - len(V3[0])
    with local("jina-embeddings-v3", v3) as embedder:
        embedder.documents(["a" * max_letters])
        with pytest.raises(DocumentError, match="161 tokens are more than the 160"):
            embedder.documents(["a" * (max_letters + 1)])


def test_default_prompt_of_the_repository_is_not_added(tmp_path: Path) -> None:
    runtime_models.need("sentence_transformers")
    weights = runtime_models.sentence_model(
        tmp_path / "model", 1024, prompts={"s2p": "Given: "}, default_prompt="s2p", context=200
    )
    prompt = package_catalog().model("qwen3-embedding-0.6b").query.prompt
    assert prompt
    with local("qwen3-embedding-0.6b", weights) as embedder:
        document, query = embedder.documents(["apples"])[0], embedder.query("apples")
    np.testing.assert_allclose(document, expected(weights, "apples"), atol=1e-5)
    np.testing.assert_allclose(query, expected(weights, prompt + "apples"), atol=1e-5)


def test_smaller_dimension_is_a_prefix_of_the_full_vector(v3: Path) -> None:
    with local("jina-embeddings-v3", v3) as whole, local("jina-embeddings-v3", v3, 64) as truncated:
        full, part = whole.documents(["red apples"])[0], truncated.documents(["red apples"])[0]
    prefix = full[:64] / np.linalg.norm(full[:64])
    assert part.shape == (64,)
    np.testing.assert_allclose(part, prefix, atol=1e-5)


def test_nomic_is_truncated_after_its_layer_norm(tmp_path: Path) -> None:
    runtime_models.need("sentence_transformers")
    weights = runtime_models.sentence_model(tmp_path / "model", 768)
    with local("nomic-embed-text-v1.5", weights, 128) as embedder:
        vector = embedder.documents(["red apples"])[0]
    full = expected(weights, "search_document: red apples").astype(np.float64)
    normed = ((full - full.mean()) / full.std())[:128]
    np.testing.assert_allclose(vector, normed / np.linalg.norm(normed), atol=1e-5)
    assert np.abs(vector - full[:128] / np.linalg.norm(full[:128])).max() > 1e-3


def test_batches_shrink_when_memory_runs_out(v3: Path) -> None:
    """The tiny model's memory is enough for four of these texts."""
    texts = [f"text {n}" for n in range(11)]
    with local("jina-embeddings-v3", v3) as embedder:
        vectors = embedder.documents(texts)
        assert (embedder.usage.requests, embedder.usage.texts) == (0, 11)
        alone = np.stack([embedder.documents([text])[0] for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)


# ---- Errors


def model_with_memory(folder: Path, memory: int) -> Path:
    return runtime_models.sentence_model(
        folder, 1024, code="DeclaringTransformer", tasks=("retrieval",), memory=memory
    )


def test_text_that_exceeds_the_memory_fails_alone(tmp_path: Path) -> None:
    runtime_models.need("sentence_transformers")
    with (
        local(
            "jina-embeddings-v5-text-small", model_with_memory(tmp_path / "model", 40)
        ) as embedder,
        embedder.stream() as stream,
    ):
        for text in ("a", "a" * 40, "b"):
            stream.add(text, text)
        outcomes: dict[str, Any] = {}
        while stream.pending:
            outcomes |= dict(stream.completed(block=True))
    assert isinstance(outcomes["a"], np.ndarray)
    assert isinstance(outcomes["b"], np.ndarray)
    with pytest.raises(DocumentError, match="a text of 52 tokens needs more memory than there is"):
        raise outcomes["a" * 40]


def test_insufficient_memory_for_one_text_raises(tmp_path: Path) -> None:
    runtime_models.need("sentence_transformers")
    with (
        local(
            "jina-embeddings-v5-text-small", model_with_memory(tmp_path / "model", 0)
        ) as embedder,
        pytest.raises(BackendError, match="not enough memory to run jina-embeddings-v5-text-small"),
    ):
        embedder.query("text")


def changed_jina_v3(folder: Path, **changes: object) -> Path:
    """Write a tiny jina v3 with changed arguments."""
    made: dict[str, object] = {
        "prompts": {"retrieval.passage": V3[0], "retrieval.query": V3[1]},
        "code": "Transformer",
        "tasks": V3_TASKS,
        "kwargs": ("task",),
        "context": 160,
    }
    return runtime_models.sentence_model(folder, 1024, **(made | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prompts": {}},
            r"jina-embeddings-v3 from .* called with task='retrieval.passage', "
            r"prompt_name='retrieval.passage' \(sentence-transformers \d.*\): ValueError: Prompt",
        ),
        (
            {"tasks": ("retrieval.passage", "separation")},
            r"called with task='retrieval.query', .*Unsupported task 'retrieval.query'",
        ),
        ({"kwargs": ()}, r"ignores the task, and jina-embeddings-v3 is called with task='retr"),
    ],
    ids=["no prompts", "no such task", "task dropped"],
)
def test_unsupported_arguments_raise_with_the_first_text(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    """It fails with the first text as one backend error, not as an error of each document."""
    runtime_models.need("sentence_transformers")
    with local("jina-embeddings-v3", changed_jina_v3(tmp_path / "model", **changes)) as embedder:
        for _ in range(2):
            with pytest.raises(BackendError, match=message) as raised:
                embedder.documents(["text"])
            assert "\n" not in str(raised.value)


def test_weights_of_another_model_raise(minilm: Path) -> None:
    with (
        local("multilingual-e5-large", minilm) as embedder,
        pytest.raises(BackendError, match="makes vectors of 384 dimensions, and multilingual-e5"),
    ):
        embedder.documents(["text"])


def test_repository_code_runs_only_if_the_row_trusts_it(v5: Path) -> None:
    rows = _rows(
        {"sentence-transformers": {"models": {"jina-embeddings-v5-text-small": "jinaai/v5"}}}
    )
    with (
        local("jina-embeddings-v5-text-small", v5, rows=rows) as embedder,
        pytest.raises(BackendError, match="trust_remote_code"),
    ):
        embedder.query("text")


def test_missing_or_empty_weights_folder_is_refused(tmp_path: Path) -> None:
    runtime_models.need("sentence_transformers")
    with pytest.raises(UsageError, match="there is no folder of weights at"):
        local("all-minilm-l6-v2", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with (
        local("all-minilm-l6-v2", tmp_path / "empty") as embedder,
        pytest.raises(BackendError, match=r"all-minilm-l6-v2 cannot be loaded from .*empty"),
    ):
        embedder.query("text")


def test_missing_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UsageError, match=r"pip install '\S*\[sentence-transformers\]'.*torch"):
        connect("all-minilm-l6-v2", backends=[BackendConfig("sentence-transformers")], environ={})


def test_nothing_is_loaded_before_the_first_text() -> None:
    runtime_models.need("sentence_transformers")
    code = (
        "import sys; from ragctl.catalog import BackendConfig; "
        "from ragctl.embedding import connect; "
        "here = [BackendConfig('sentence-transformers')]; "
        "connect('jina-embeddings-v3', backends=here, environ={}); "
        "print({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def _rows(backends: dict[str, object]) -> Catalog:
    """Return the catalogue with a test's rows and without user files."""
    return user_catalog({"RAGCTL_CONFIG": "/nowhere"}, Layer("test", {}, "test", backends))
