"""vLLM on a CPU with a tiny random Qwen3; each byte is a token."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.real_servers.conftest import need_server
from tests.real_servers.environments import VLLM
from tests.real_servers.handbook import Handbook
from tests.real_servers.processes import ServerProcess, free_port
from tests.real_servers.tiny_qwen3 import write_qwen3

NAME = "Qwen/Qwen3-Embedding-0.6B"
MODEL = "qwen3-embedding-0.6b"
DIM = 1024
CONTEXT = 512
KEY = "the-right-key"
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


class Vllm(ServerProcess):
    """vLLM with one model; `url` is its base URL. On two idle cores it takes a minute to start."""

    ready_seconds = 480

    def __init__(self, weights: Path, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        command = [VLLM.path(), "serve", weights, "--served-model-name", NAME]
        command += ["--runner", "pooling", "--host", "127.0.0.1", "--port", port]
        command += ["--enforce-eager", "--dtype", "float32", "--api-key", KEY]
        super().__init__(command, f"http://127.0.0.1:{port}/health", folder, CPU)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_server(VLLM)
    pytest.importorskip("transformers")
    return write_qwen3(tmp_path_factory.mktemp("weights") / "tiny", DIM, CONTEXT, 1)


@pytest.fixture(scope="module")
def url(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Vllm(weights, tmp_path_factory.mktemp("vllm")) as server:
        yield server.url


def book_of(url: str, folder: Path, model: str = MODEL, row: str = "", key: str = KEY) -> Handbook:
    environ = {"VLLM_API_KEY": key}
    book = Handbook(folder / "book", "vllm", url, model, row, chunk_size=64, environ=environ)
    book.write(4)
    return book


def test_the_vectors_are_the_models_own(url: str, weights: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    book = book_of(url, tmp_path)
    done = book.run()
    assert done.returncode == 0, done.stderr
    texts, stored = book.stored()
    reference = SentenceTransformer(str(weights), device="cpu", model_kwargs={"dtype": "float32"})
    own = reference.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert f"{np.sum(own * stored, axis=1).min():.4f}" == "1.0000"
    checked = book.ragctl("check", str(book.file))
    assert "cosine 1.0000 for documents, 1.0000 for queries" in checked.stdout, checked.stdout
    assert book.search("pump number 0").returncode == 0


def test_a_text_is_counted_and_fails_by_name(url: str, tmp_path: Path) -> None:
    """One chunk has more tokens than the server's context."""
    book = book_of(url, tmp_path)
    book.chunk_size = 200
    book.add("long.md", "The condenser fan of the outdoor unit is inspected yearly. " * 12)
    done = book.run()
    assert done.returncode == 3, done.stderr
    assert "long.md" in done.stderr + done.stdout
    assert len(book.stored()[0]) >= 4


def test_another_model_is_refused(url: str, tmp_path: Path) -> None:
    done = book_of(url, tmp_path, "jina-embeddings-v5-text-small").run()
    assert done.returncode == 4
    assert f"runs {NAME}, not jinaai/jina-embeddings-v5-text-small-retrieval" in done.stderr


def test_dimensions_are_refused_with_its_reason(url: str, tmp_path: Path) -> None:
    book = book_of(url, tmp_path, row="dimensions = true")
    book.keys = "dimension = 256"
    done = book.run()
    assert done.returncode == 4
    assert "does not support Matryoshka" in done.stderr


def test_a_wrong_key_is_named(url: str, tmp_path: Path) -> None:
    done = book_of(url, tmp_path, key="the-wrong-key").run()
    assert done.returncode == 4
    assert "VLLM_API_KEY" in done.stderr
