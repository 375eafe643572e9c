"""infinity with the weights of all-MiniLM-L6-v2."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_servers.conftest import Infinity
from tests.real_servers.handbook import Handbook, finish
from tests.real_servers.processes import until
from tests.runtime_models import minilm

SMALL_REQUESTS = "limits = { texts = 4 }\nconcurrency = 1"
SERVER_LIMIT = 8


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infinity]:
    """A server that tests kill and start again, each with the weights that it wants."""
    with Infinity(minilm(), tmp_path_factory.mktemp("restarted")) as server:
        yield server


def test_the_vectors_are_the_models_own(infinity: Infinity, tmp_path: Path) -> None:
    book = Handbook(tmp_path / "book", "infinity", infinity.url)
    book.write(6)
    odd = "control \x01 and \x07, zero width \u200b, emoji 🔧, combining e\u0301, \ufffd and 漢字"
    book.add("odd.md", f"# Odd\n\n{odd}\n")
    done = book.run()
    assert done.returncode == 0, done.stderr
    assert book.check_vectors() >= 7
    checked = book.ragctl("check", str(book.file))
    assert checked.returncode == 0, checked.stdout
    assert "cosine 1.0000 for documents, 1.0000 for queries" in checked.stdout
    assert book.ragctl("verify", str(book.file)).returncode == 0
    found = book.search("--limit", "1", "--mode", "dense", "control characters and emoji")
    assert "odd.md" in found.stdout, found.stderr
    assert book.run().stdout  # nothing changed
    assert infinity.answers(500) == 0


def test_another_model_is_refused(infinity: Infinity, tmp_path: Path) -> None:
    """With one engine, infinity answers to any name."""
    book = Handbook(tmp_path / "book", "infinity", infinity.url, model="multilingual-e5-small")
    book.write(1)
    done = book.run()
    assert done.returncode == 4
    assert "runs sentence-transformers/all-MiniLM-L6-v2, not intfloat/multilin" in done.stderr
    assert book.ragctl("check", str(book.file)).returncode != 0
    assert not book.ragctl("export", "docs", "-").stdout


def test_a_long_text_is_not_cut_silently(infinity: Infinity, tmp_path: Path) -> None:
    text = "Система управления насосом останавливает двигатель при превышении давления. " * 40
    book = Handbook(tmp_path / "book", "infinity", infinity.url, chunk_size=130)
    book.add("long.md", text)
    done = book.run()
    assert done.returncode != 0
    assert "--chunk-size" in done.stderr
    assert "--truncate" in done.stderr
    book.chunk_size = 30
    done = book.run("--retry-failed")
    assert done.returncode == 0, done.stderr
    book.check_vectors()


def test_a_limit_of_texts_is_learned(tmp_path: Path) -> None:
    environ = {"INFINITY_MAX_CLIENT_BATCH_SIZE": str(SERVER_LIMIT)}
    with Infinity(minilm(), tmp_path, **environ) as server:
        book = Handbook(tmp_path / "book", "infinity", server.url)
        book.write(60)
        done = book.run()
        assert done.returncode == 0, done.stderr
        assert book.check_vectors() >= 32
        refused, accepted = server.answers(422), server.answers(200)
        assert refused <= 2
        assert accepted <= 64 // SERVER_LIMIT + 6
        book.write(40)
        assert book.run().returncode == 0
        assert server.answers(422) == refused


def test_a_killed_server_comes_back(restarted: Infinity, tmp_path: Path) -> None:
    book = Handbook(tmp_path / "book", "infinity", restarted.url, row=SMALL_REQUESTS)
    book.write(60)
    before = restarted.answers()
    run = book.start()
    until(lambda: restarted.answers() > before + 4)
    restarted.kill()
    assert run.poll() is None
    restarted.start()
    code, output = finish(run)
    assert code == 0, output
    assert book.check_vectors() >= 32


def test_a_paused_server_goes_on(restarted: Infinity, tmp_path: Path) -> None:
    book = Handbook(tmp_path / "book", "infinity", restarted.url, row=SMALL_REQUESTS)
    book.write(60)
    before = restarted.answers()
    run = book.start()
    until(lambda: restarted.answers() > before + 4)
    restarted.pause()
    try:
        time.sleep(3)
        assert run.poll() is None
    finally:
        restarted.resume()
    code, output = finish(run)
    assert code == 0, output
    assert book.check_vectors() >= 32


def test_another_model_after_a_restart(restarted: Infinity, other: Path, tmp_path: Path) -> None:
    """The name and the dimension are the same: only the vectors show it."""
    book = Handbook(tmp_path / "book", "infinity", restarted.url, row=SMALL_REQUESTS)
    book.write(60)
    before = restarted.answers()
    run = book.start()
    until(lambda: restarted.answers() > before + 4)
    restarted.kill()
    restarted.serve(other)
    restarted.start()
    code, output = finish(run)
    assert code in (4, 6), output
    book.check_vectors()
    searched = book.search("how often is the pump inspected")
    assert searched.returncode != 0
    assert not searched.stdout
    assert book.run().returncode != 0
    assert book.ragctl("verify", str(book.file)).returncode != 0
    restarted.kill()
    restarted.serve(minilm())
    restarted.start()
    assert book.run().returncode == 0
    assert book.check_vectors() >= 32


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    with Infinity(minilm(), tmp_path, "--api-key", "the-right-key") as server:
        book = Handbook(tmp_path / "book", "infinity", server.url)
        book.write(1)
        for key in ({}, {"INFINITY_API_KEY": "the-wrong-key"}):
            book.environ = key
            done = book.run()
            assert done.returncode == 4
            assert "INFINITY_API_KEY" in done.stderr
            assert "the-wrong-key" not in done.stderr
        book.environ = {"INFINITY_API_KEY": "the-right-key"}
        assert book.run().returncode == 0
