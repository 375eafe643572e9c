"""The benchmarks: their arithmetic, what they write, and that a wrong result is seen."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks import chunking, corpus, embedding_server, memory, pdf, scale
from benchmarks.checks import Stored, check, check_sent
from benchmarks.embedding_server import DIM, MODEL, EmbeddingServer, start_server, table
from benchmarks.ingesters import Ideal, Ragctl
from benchmarks.measure import Sample, Subject, WrongResult, interleave, process, ratio, spread
from benchmarks.table import Section, write
from ragctl.collection.text import text_hash

pytestmark = pytest.mark.slow


def test_a_spread_is_the_median_and_the_range() -> None:
    assert f"{spread([3.0, 1.0, 2.0, 10.0, 2.5]):.1f}" == "2.5 (1.0–10.0)"


def test_a_ratio_is_of_medians_and_its_spread_of_the_rounds() -> None:
    found = ratio([2.0, 4.0, 9.0], [1.0, 4.0, 3.0])
    assert (found.median, found.least, found.greatest) == (4 / 3, 1.0, 3.0)


def test_sides_run_in_turns_and_a_wrong_one_ends_it() -> None:
    order: list[str] = []

    def side(name: str) -> Subject:
        def took() -> Sample:
            order.append(name)
            return Sample(len(order), 0, 0)

        return Subject(name, took)

    samples = interleave([side("a"), side("b")], 2)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [sample.wall for sample in samples["a"]] == [4, 5]

    def refuse() -> None:
        raise WrongResult("no")

    with pytest.raises(WrongResult):
        interleave([replace(side("c"), check=refuse)], 1)


def test_a_process_is_measured_without_whoever_started_it() -> None:
    ballast = bytearray(300 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    sample = process([sys.executable, "-S", "-c", busy])
    assert sample.wall >= sample.cpu >= 0.2
    assert sample.peak < len(ballast) / 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_of_its_own_is_seen_in_the_process_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(64 << 20))
    code = (
        "import mmap, sys, time\n"
        "file = open('large', 'rb')\n"
        "mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "read = sum(mapped[::4096])\n"  # in the process, but not its own
        "own = b'x' * (24 << 20)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    outer = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    others = frozenset(memory._descendants())
    with subprocess.Popen(
        [sys.executable, "-c", outer, code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    ) as started:
        assert started.stdout is not None
        started.stdout.readline()
        found = memory._descendants(others)
    assert len(found) == 2
    assert 24 << 20 < max(found.values()) < 56 << 20


def test_scale_is_measured_and_its_results_are_looked_at(
    tmp_path: Path, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "CHANGED_DOCUMENTS", 3)
    monkeypatch.setenv("RAGCTL_BENCHMARK_SIZES", "40")
    monkeypatch.setenv("RAGCTL_BENCHMARK_SERVER_SIZES", "")
    (row,) = scale._rows(tmp_path, server, 1)
    assert row[:2] == ["embedded", "40"]
    assert len(row) == len(scale.HEADER)
    ingester = scale._ingester(tmp_path, server, corpus.write_generated(tmp_path / "small", 2), "")
    ingester.run()
    with pytest.raises(WrongResult, match="2 points of 3 documents"):
        scale._check(ingester, 3)


def test_a_process_that_fails_or_hangs_is_wrong() -> None:
    with pytest.raises(WrongResult, match=r"ended with 3: .*why"):
        process([sys.executable, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(WrongResult, match="more than 0 s"):
        process([sys.executable, "-c", "input() or open('/dev/tty')", "x"], limit=0.01)


def test_a_section_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- one -->\nold\n<!-- end -->\n\n<!-- two -->\nkept\n<!-- end -->\n"
    )
    write(page, "one", Section(("", "s"), [["a\\1", "2"]], versions={"x": "1.2"}))
    text = page.read_text()
    assert "old" not in text
    assert "kept" in text
    assert "| a\\1 | 2 |" in text
    assert "x 1.2." in text
    write(page, "three", Section(("", "s"), [["b", "3"]]))
    assert page.read_text().startswith(text.rstrip())


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddingServer]:
    with start_server() as started:
        yield started


def test_the_server_speaks_the_protocol_and_keeps_a_record(server: EmbeddingServer) -> None:
    server.reset()
    body = {"model": MODEL, "input": ["one", "two"], "dimensions": DIM}
    answer = httpx.post(f"{server.url}/embeddings", json=body).json()
    vector = np.asarray(answer["data"][1]["embedding"])
    assert vector == pytest.approx(table()[embedding_server.row_of(text_hash("two"))])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    for wrong in ({"truncate": True}, {"input": [""]}, {"model": "other"}, {"dimensions": 5}):
        assert httpx.post(f"{server.url}/embeddings", json=body | wrong).status_code == 400
    record = server.record()
    assert record.texts == [text_hash("one"), text_hash("two")]
    assert (record.sizes, record.max_in_flight) == ([2], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    documents = corpus.write_generated(tmp_path_factory.mktemp("made") / "documents", 20, words=400)
    (documents / "same.md").write_text("Twice.\n\n" * 3)
    return documents


@pytest.fixture(scope="module")
def stored(folder: Path, server: EmbeddingServer) -> list[Stored]:
    ingester = Ideal("bare ideal", folder, folder.parent / "ideal", server.url)
    ingester.run()
    return list(ingester.points())


def test_right_results_pass(folder: Path, stored: list[Stored], server: EmbeddingServer) -> None:
    assert check(folder, stored) == len(stored) > 21
    ingester = Ragctl("ragctl", folder, folder.parent / "ragctl", server.url)
    ingester.run()
    assert check(folder, ingester.points()) >= 21


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda points: points[1:], "are not stored"),
        (lambda points: [*points, points[0]], "stored 2 times"),
        (lambda points: [*points, replace(points[0], source="gone.md")], "gone and still stored"),
        (lambda points: [replace(points[0], text="other"), *points[1:]], "is not in the file"),
        (lambda points: [replace(points[0], sent="0" * 32), *points[1:]], "not that of its text"),
    ],
)
def test_wrong_results_are_seen(
    spoil: object, said: str, folder: Path, stored: list[Stored]
) -> None:
    with pytest.raises(WrongResult, match=said):
        check(folder, spoil(stored))  # type: ignore[operator]


def test_what_was_sent_is_compared_with_what_is_new() -> None:
    sent = check_sent(["a", "b", "b"], [2, 1], {"a", "b"}, 64)
    assert (sent.texts, sent.needed, sent.requests, sent.fewest) == (3, 2, 2, 1)
    with pytest.raises(WrongResult, match="1 texts"):
        check_sent(["a"], [1], {"a", "b"}, 64)


def test_changes_are_the_same_every_time_and_of_all_kinds(tmp_path: Path) -> None:
    prints = set()
    for name in ("one", "two"):
        changed = corpus.change(corpus.write_generated(tmp_path / name, 120), share=0.1)
        assert (len(changed.edited), len(changed.deleted), len(changed.renamed)) == (8, 2, 1)
        prints.add(corpus.fingerprint(tmp_path / name))
    assert len(prints) == 1


def test_the_benchmarks_are_listed() -> None:
    command = [sys.executable, "-m", "benchmarks", "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in listed.splitlines()} >= {"ingest", "unchanged"}


def test_lost_text_and_chunks_above_the_budget_are_seen() -> None:
    word = "word " * 600
    assert chunking._find_faults(["One two."], [["One ", "two."]]) == ""
    lost = chunking._find_faults(["One two.", "x"], [["One "], ["x"]])
    assert lost == "1 of 2 texts are incomplete"
    assert "1 of 1 chunks too large, up to" in chunking._find_faults([word], [[word]])


@pytest.mark.parametrize("draw", [pdf._draw_plain, pdf._draw_kerned])
def test_a_made_pdf_reads_as_it_was_written(draw: pdf.Draw, tmp_path: Path) -> None:
    source = corpus.write_generated(tmp_path / "made", 50, words=90)
    (made,) = pdf._make(tmp_path / "pdf", source, 11, draw)
    document = pdf.read(str(made.path)).document
    texts = [document.text[page.start : page.end] for page in document.pages]
    assert pdf._differs(made.pages, texts) == 0
    assert len(document.headings) == 2
    assert pdf._differs(made.pages, [*texts[1:], texts[0]]) == 11
