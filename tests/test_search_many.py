"""Many questions: reading them, writing the results, and going on after a bad line."""

import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from ragctl.errors import BackendError
from ragctl.records import Hit
from ragctl.search.batch import (
    Question,
    answer_all,
    hit_to_json,
    output_file,
    read_questions,
    trec_lines,
)
from ragctl.search.library import Searcher
from ragctl.search.options import SearchOptions
from tests.command import call
from tests.searching import searcher
from tests.servers import faults
from tests.waiting import until
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
RAGCTL = (sys.executable, "-m", "ragctl")


def read_text(data: str | bytes) -> list[Question]:
    return list(read_questions(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def test_a_line_is_json_or_plain_text() -> None:
    assert read_text(
        '\ufeff{"id": "q1", "query": "a"}\n\nplain question\n{"query": "b", "x": 1}\n'
    ) == [
        Question("q1", "a"),
        Question("3", "plain question"),
        Question("4", "b"),
    ]
    assert read_text('{"id": 7, "query": "a"}') == [Question("7", "a")]
    assert read_text("") == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"query": "a"', "line 2: not valid JSON"),
        (b'{"query": 3}', "missing or not a text"),
        (b'{"question": "a"}', "missing or not a text"),
        (b'{"id": null, "query": "a"}', "is not a text or a number"),
        (b'{"id": true, "query": "a"}', "is not a text or a number"),
        (b"\xff\xfe", "not valid UTF-8"),
        (b"x" * (1 << 20) + b"yz", "longer than"),
        (b'{"a":' * 5000, "not valid JSON"),
        (b'{"id": "1", "query": "again"}', "its id was used before"),
    ],
)
def test_an_invalid_line_is_a_problem(line: bytes, problem: str) -> None:
    first, second, third = read_text(b"first\n" + line + b"\nthird\n")
    assert (first, third) == (Question("1", "first"), Question("3", "third"))
    assert second.problem is not None
    assert problem in second.problem


@pytest.fixture
def found(world: World) -> Iterator[tuple[World, Searcher]]:
    world.write("a b.md", paragraphs("pump", "fan"))
    world.write("b.md", paragraphs("coil", "drain"))
    world.ingest()
    with searcher(world) as open_searcher:
        yield world, open_searcher


def test_answers_are_in_order_and_failed_questions_are_reported(
    found: tuple[World, Searcher],
) -> None:
    world, open_searcher = found
    questions = [Question(f"q{n}", "pump" if n % 2 else "coil") for n in range(150)]
    questions[70] = Question("bad", "", "line 71: rubbish")
    questions[100] = Question("mute", "?!")
    out, trec = io.StringIO(), io.StringIO()
    failures: list[tuple[str, str]] = []
    done: list[int] = []
    world.forget()
    tally = answer_all(
        open_searcher,
        questions,
        SearchOptions(limit=2),
        out=out,
        trec=trec,
        on_failure=lambda name, reason: failures.append((name, reason)),
        on_progress=done.append,
    )
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["id"] for row in rows] == [question.id for question in questions]
    assert (tally.answered, tally.failed, tally.hits, tally.questions) == (148, 2, 296, 150)
    assert failures == [
        ("bad", "line 71: rubbish"),
        ("mute", "the question has no letters or digits; ask with words"),
    ]
    assert "error" in rows[70]
    assert rows[1]["hits"] == [hit_to_json(hit) for hit in open_searcher.search("pump", limit=2)]
    assert sum(done) == 150
    assert len(world.server.requests) == len(done) + 1  # one per batch, and the last search
    ranks = [line.split(" ") for line in trec.getvalue().splitlines()]
    assert {len(rank) for rank in ranks} == {6}
    assert {rank[2] for rank in ranks} == {"docs/a%20b.md", "docs/b.md"}


def test_a_backend_failure_ends_the_run(found: tuple[World, Searcher]) -> None:
    world, open_searcher = found
    world.server.faults.append(faults.one_item_missing())
    with pytest.raises(BackendError):
        answer_all(
            open_searcher,
            [Question("1", "pump"), Question("2", "fan")],
            SearchOptions(),
            out=io.StringIO(),
        )


def test_memory_does_not_grow_with_the_questions(edge_world: World) -> None:
    edge_world.write("a.md", paragraphs("pump", "fan"))
    edge_world.ingest()

    class Sink(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        questions = (Question(str(n), f"pump {n}") for n in range(count))
        answer_all(open_searcher, questions, SearchOptions(mode="sparse", limit=1), out=Sink())
        return tracemalloc.get_traced_memory()[1]

    with searcher(edge_world) as open_searcher:
        tracemalloc.start()
        try:
            peak_of_few = peak(200)
            peak_of_many = peak(2000)
        finally:
            tracemalloc.stop()
    assert peak_of_many < peak_of_few + 300_000


def test_trec_ranks_a_document_once() -> None:
    hits = [Hit(source, score, "", 0, 0, None, (), 0, {}) for source, score in SCORES]
    assert list(trec_lines("q 1", hits)) == [
        "q%201 Q0 a%20b.md 1 0.9 ragctl\n",
        "q%201 Q0 100%25.md 2 0.25 ragctl\n",
    ]


SCORES = (("a b.md", 0.9), ("a b.md", 0.5), ("100%.md", 0.25))


def test_an_output_file_is_complete_or_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("before")

    def fail() -> None:
        with output_file(file) as out:
            out.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert file.read_text() == "before"
    with output_file(file) as out:
        out.write("all")
    assert file.read_text() == "all"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]
    with output_file(Path("/dev/null")) as out:
        out.write("gone")
    assert not Path("/dev/null").is_file()


# The command


def command(home: Path, *words: str, data: bytes = b"") -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "RAGCTL_HOME": str(home / "store")}
    return call(*words, environ=environ, cwd=home, data=data)


def started(home: Path, *words: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "RAGCTL_HOME": str(home / "store"), "PYTHONPATH": str(ROOT)}
    discard = subprocess.DEVNULL
    return subprocess.Popen(
        [*RAGCTL, *words], stdin=subprocess.PIPE, stderr=discard, env=environ, cwd=home
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(paragraphs("pump", "fan", "coil"))
    assert command(tmp_path, "ingest", "docs").returncode == 0
    return tmp_path


def test_questions_are_read_from_a_file(home: Path) -> None:
    (home / "q.jsonl").write_text('{"id": "one", "query": "pump"}\n{"id": "two", "query": "?"}\n')
    words = ("search", "--queries", "q.jsonl", "--out", "r.jsonl", "--trec", "r.trec", "-n", "1")
    done = command(home, *words)
    assert done.returncode == 3
    assert done.stderr.startswith("failed: two: the question has no letters")
    assert "docs: 1 question answered, 1 failed; 1 hit;" in done.stdout
    rows = [json.loads(line) for line in (home / "r.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["one", "two"]
    assert (home / "r.trec").read_text().startswith("one Q0 docs/a.md 1 ")
    done = command(home, *words, "--json")
    summary: dict[str, Any] = json.loads(done.stdout)
    assert {**summary, "seconds": 0} == {
        "collection": "docs",
        "questions": 2,
        "answered": 1,
        "failed": 1,
        "hits": 1,
        "seconds": 0,
    }


@pytest.mark.parametrize(
    ("number", "code", "parts_left"),
    [(signal.SIGINT, 130, 0), (signal.SIGTERM, 130, 0), (signal.SIGKILL, -signal.SIGKILL, 2)],
)
def test_a_stopped_run_does_not_change_the_output_files(
    home: Path, number: signal.Signals, code: int, parts_left: int
) -> None:
    (home / "r.jsonl").write_text("before")
    words = ("search", "--queries", "-", "--out", "r.jsonl", "--trec", "new.trec")
    process = started(home, *words)
    assert process.stdin is not None
    process.stdin.write(b"pump\n" * 70)
    process.stdin.flush()
    until(lambda: any(part.stat().st_size for part in home.glob(".r.jsonl.*.part")), 60)
    process.send_signal(number)
    assert process.wait() == code
    process.stdin.close()
    assert (home / "r.jsonl").read_text() == "before"
    assert not (home / "new.trec").exists()
    assert len(list(home.glob(".*.part"))) == parts_left  # partial files are hidden


def test_options_may_not_name_the_same_file(home: Path) -> None:
    (home / "q.txt").write_text("pump\n")
    (home / "link").symlink_to("q.txt")
    for words in (
        ("--queries", "q.txt", "--out", "q.txt"),
        ("--queries", "q.txt", "--out", "link"),
        ("--queries", "q.txt", "--trec", "./q.txt"),
        ("--queries", "-", "--out", "r.x", "--trec", "r.x"),
    ):
        done = command(home, "search", *words, data=b"pump\n")
        assert done.returncode == 2, done.stderr
        assert "name the same file" in done.stderr
        assert done.stderr.count("\n") == 1
    assert (home / "q.txt").read_text() == "pump\n"
    both = ("--queries", "-", "--out", "/dev/null", "--trec", "/dev/null")
    assert command(home, "search", *both, data=b"pump\n").returncode == 0


def test_invalid_questions_do_not_stop_the_run(home: Path) -> None:
    lines = (
        b"\xef\xbb\xbfpump",
        b"",
        b"   \t",
        b'{"id": "x", "query": "fan"}',
        b'{"id": "x", "query": "coil"}',
        b'{"id": "u", "query": "pump \\ud800"}',
        b'{"query": ["pump"]}',
        b'{"query": "pump"',
        b"\xff\xfe",
        b'{"id": "last", "query": "the"}',
    )
    done = command(home, "search", "--queries", "-", data=b"\r\n".join(lines))
    assert done.returncode == 3
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], "hits" in row) for row in rows] == [
        *(("1", True), ("x", True), ("x", False), ("u", False)),
        *(("7", False), ("8", False), ("9", False), ("last", True)),
    ]
    assert done.stderr.count("failed: ") == 5
    assert "Traceback" not in done.stderr


def test_questions_are_read_from_standard_input(home: Path) -> None:
    done = command(home, "search", "--queries", "-", data=b"pump\nfan\n")
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["query"] for row in rows] == ["pump", "fan"]
    assert done.stderr.startswith("docs: 2 questions answered; ")


@pytest.mark.parametrize(
    "words",
    [
        ("search",),
        ("search", "pump", "--queries", "q.jsonl"),
        ("search", "pump", "--out", "r.jsonl"),
        ("search", "--queries", "none.jsonl"),
        ("search", "--queries", "-", "--json"),
        ("search", "--queries", "-", "--out", "none/r.jsonl"),
        ("search", "pump", "--rerank-url", "http://localhost"),
        ("search", "pump", "--rerank", "nobody"),
        ("search", "pump", "--page", "2", "--offset", "3"),
        ("search", "pump", "--page", "0"),
        ("search", "pump", "--min-score", "0.5"),
        ("search", "pump", "--expand", "book"),
        ("search", "pump", "--where", "team>"),
    ],
)
def test_wrong_usage_is_a_one_line_error(home: Path, words: tuple[str, ...]) -> None:
    done = command(home, *words, data=b"pump\n")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("ragctl: ")
    assert done.stderr.count("\n") == 1
    assert {entry.name for entry in home.iterdir()} == {"docs", "store"}


def test_a_stream_is_read_line_by_line() -> None:
    class SlowStream(io.RawIOBase):
        def __init__(self) -> None:
            self.lines = [b"one\n", b"two\n"]

        def readline(self, size: int | None = -1, /) -> bytes:
            return self.lines.pop(0) if self.lines else b""

    slow = SlowStream()
    questions = read_questions(cast(BinaryIO, slow))
    assert next(questions) == Question("1", "one")
    assert slow.lines == [b"two\n"]
