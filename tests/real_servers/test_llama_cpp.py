"""llama.cpp's server with tiny random BERTs; their tokens are letters."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragctl.embedding.base import Vectors
from tests.real_servers.conftest import need_server
from tests.real_servers.environments import LLAMA_CPP
from tests.real_servers.handbook import Handbook, finish
from tests.real_servers.processes import ServerProcess, free_port, until

HERE = Path(__file__).parent
DIM = 384
CONTEXT = 256
ROW = 'models = { all-minilm-l6-v2 = "all-minilm-l6-v2" }'
SMALL_REQUESTS = "limits = { texts = 2 }\nconcurrency = 1"


class LlamaServer(ServerProcess):
    """llama.cpp's server with one model; `url` is its base URL."""

    def __init__(self, weights: Path, folder: Path, *options: str) -> None:
        need_server(LLAMA_CPP)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.options = options
        super().__init__((), f"http://127.0.0.1:{self.port}/health", folder)
        self.serve(weights)

    def serve(self, weights: Path) -> None:
        """Set the weights of the next start."""
        program = (str(LLAMA_CPP.path()), str(HERE / "llama_server.py"), "-m", str(weights))
        self.command = [*program, "--embedding", "--port", str(self.port), *self.options]

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the server's own vectors of texts, one request for each."""
        found = []
        for text in texts:
            body = json.dumps({"input": [text]}).encode()
            asked = urllib.request.Request(
                f"{self.url}/embeddings", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                found.append(json.load(answer)["data"][0]["embedding"])
        return np.array(found, np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights: two of one name, and one named as another model."""
    need_server(LLAMA_CPP)
    folder = tmp_path_factory.mktemp("gguf")
    files = {
        "own": folder / "own" / "all-minilm-l6-v2.gguf",
        "swapped": folder / "swapped" / "all-minilm-l6-v2.gguf",
        "foreign": folder / "multilingual-e5-small-q8_0.gguf",
    }
    for seed, file in enumerate(files.values()):
        file.parent.mkdir(exist_ok=True)
        write_gguf(file, DIM, CONTEXT, seed)
    return files


def write_gguf(file: Path, *numbers: int) -> None:
    """Write random weights; `numbers` as tiny_gguf.py takes them."""
    command = [LLAMA_CPP.path(), HERE / "tiny_gguf.py", file, *numbers]
    subprocess.run([str(word) for word in command], check=True)


@pytest.fixture(scope="module")
def server(
    weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaServer]:
    with LlamaServer(weights["own"], tmp_path_factory.mktemp("llama")) as running:
        yield running


def book_of(url: str, folder: Path, row: str = "") -> Handbook:
    book = Handbook(folder / "book", "llama.cpp", url, row=f"{ROW}\n{row}", chunk_size=24)
    book.write(4)
    return book


def test_the_vectors_are_the_servers_own(server: LlamaServer, tmp_path: Path) -> None:
    book = book_of(server.url, tmp_path)
    done = book.run()
    assert done.returncode == 0, done.stderr
    texts, stored = book.stored()
    cosines = np.sum(server.vectors(texts) * stored, axis=1)
    assert f"{cosines.min():.4f}" == "1.0000"
    checked = book.ragctl("check", str(book.file))
    assert "1.0000 for documents" in checked.stdout, checked.stdout
    assert book.ragctl("verify", str(book.file)).returncode == 0
    assert book.search("pump number 0").returncode == 0


def test_a_long_text_fails_by_name(server: LlamaServer, tmp_path: Path) -> None:
    """Letters are tokens here, so that one chunk has more of them than the context."""
    book = book_of(server.url, tmp_path)
    book.chunk_size = 200
    book.add("long.md", "The condenser fan of the outdoor unit is inspected yearly. " * 8)
    done = book.run()
    assert done.returncode == 3, done.stderr
    assert "long.md" in done.stderr + done.stdout
    assert len(book.stored()[0]) >= 4


def test_another_model_is_refused(weights: dict[str, Path], tmp_path: Path) -> None:
    with LlamaServer(weights["foreign"], tmp_path) as other:
        book = book_of(other.url, tmp_path)
        done = book.run()
        assert done.returncode == 4
        assert "multilingual-e5-small-q8_0" in done.stderr


def test_another_model_after_a_restart(weights: dict[str, Path], tmp_path: Path) -> None:
    with LlamaServer(weights["own"], tmp_path) as server:
        book = book_of(server.url, tmp_path, SMALL_REQUESTS)
        book.write(20)
        run = book.start()
        until(lambda: server.log.read_text(errors="replace").count("stop processing") > 6)
        server.kill()
        server.serve(weights["swapped"])
        server.start()
        code, output = finish(run)
        assert code in (4, 6), output
        server.kill()
        server.serve(weights["own"])
        server.start()
        assert book.run().returncode == 0
        texts, stored = book.stored()
        cosines = np.sum(server.vectors(texts) * stored, axis=1)
        assert f"{cosines.min():.4f}" == "1.0000"


def test_a_wrong_key_is_named(weights: dict[str, Path], tmp_path: Path) -> None:
    with LlamaServer(weights["own"], tmp_path, "--api-key", "the-right-key") as server:
        book = book_of(server.url, tmp_path)
        book.environ = {"LLAMA_API_KEY": "the-wrong-key"}
        done = book.run()
        assert done.returncode == 4
        assert "LLAMA_API_KEY" in done.stderr
        book.environ = {"LLAMA_API_KEY": "the-right-key"}
        assert book.run().returncode == 0
