"""What a terminal shows while a command works, and while a host is down."""

import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from ragctl.cli import progress as progress_bar
from ragctl.cli.progress import ProgressBar
from ragctl.index import document_progress
from ragctl.index.document_progress import DocumentProgress
from ragctl.index.plan import WorkItem
from ragctl.index.prepared import FileStat
from ragctl.progress import Progress
from tests.command import call
from tests.loading import local_file
from tests.servers import faults
from tests.servers.jina import JinaServer
from tests.terminal import Terminal
from tests.world import KEY, World, paragraphs

DOCUMENTS = 6


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for number in range(DOCUMENTS):
        text = paragraphs(*(f"document {number}, text {n}" for n in range(40)))
        (tmp_path / "docs" / f"{number}.md").write_text(text)
    return tmp_path


def variables(home: Path) -> dict[str, str]:
    return {**os.environ, "RAGCTL_HOME": str(home / "store"), "JINA_API_KEY": KEY}


def jina(server: JinaServer, *words: str) -> tuple[str, ...]:
    return (*words, "--model", "jina-embeddings-v3", "--base-url", server.url)


def bar(**state: int) -> ProgressBar:
    made = ProgressBar()
    made.begin("embed", "document", state["total"])
    made.advance(state["done"])
    made.tokens(state["tokens"])
    return made


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_the_bar_fits_the_terminal(columns: int) -> None:
    line = bar(total=42, done=19, tokens=12_345).line(columns)
    assert len(line) < columns
    assert line.startswith("embed:  45%")


def test_the_bar_respects_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    drawn = ""
    with bar(total=42, done=19, tokens=12_345):
        while not drawn:
            drawn = capsys.readouterr().err
    assert 20 < len(drawn.lstrip("\r")) < 40


def test_the_bar_shows_stage_documents_tokens_and_the_clock() -> None:
    line = bar(total=42, done=19, tokens=12_345).line(100)
    assert re.search(
        r"\| 19/42 documents, 12,345 tokens \([\d,]+/s\) \[00:00, 00:\d\d left\]$", line
    )
    assert "0/1 document " in bar(total=1, done=0, tokens=0).line(100)


@pytest.mark.parametrize("columns", [2, 9, 20, 33, 47, 58, 64, 70, 79, 80, 81, 93, 100, 120])
def test_the_line_is_short_enough_and_the_bar_is_wide_or_absent(columns: int) -> None:
    line = bar(total=1_488, done=123, tokens=490_376).line(columns)
    assert len(line) < columns
    drawn = re.search(r"\|(.*)\|", line)
    if drawn:
        assert len(drawn[1]) >= 10
        assert line.endswith(" left]")
    assert "/s)" not in line or "tokens" in line
    assert columns < 64 or drawn


def test_the_rate_is_left_out_first_then_the_tokens() -> None:
    made = bar(total=1_488, done=123, tokens=490_376)
    assert "/s)" in made.line(100)
    assert "490,376 tokens [" in made.line(80)
    assert "| 123/1,488 documents [" in made.line(70)
    assert re.fullmatch(r"embed:   8% 123/1,488 documents \[.* left\]", made.line(55))
    assert re.fullmatch(r"embed:   8% 123/1,488 \[00:0\d\]", made.line(35))


def test_a_part_without_a_total_counts() -> None:
    made = ProgressBar()
    made.begin("export", "point")
    assert made.line(80) == "export [00:00]"
    assert list(made.each("ab")) == ["a", "b"]
    assert made.line(80) == "export: 2 points [00:00]"


def test_files_may_have_more_or_fewer_documents_than_expected() -> None:
    class Total(Progress):
        total = 0

        def begin(self, stage: str, unit: str = "", total: int | None = None) -> None:
            assert (stage, unit) == ("read", "document")
            self.total = total or 0

        def grow(self, count: int) -> None:
            self.total += count

    def work(name: str) -> WorkItem:
        return WorkItem(FileStat(name, "docs", 1, 1), "", "new", ())

    progress = Total()
    documents = DocumentProgress(progress, [work("a.jsonl"), work("empty.md"), work("c.md")])
    assert progress.total == 3
    for _ in range(4):
        documents.found("a.jsonl")
    documents.read("a.jsonl")
    assert progress.total == 6
    documents.read("empty.md")
    assert progress.total == 5


def test_a_new_file_of_records_is_expected_to_have_one_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the bar counts the records that the summary counts, from the start."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a"}\n\n' * 1_000)

    class Total(Progress):
        total: int | None = 0

        def begin(self, stage: str, unit: str = "", total: int | None = None) -> None:
            self.total = total

    def total() -> int | None:
        progress = Total()
        stat = FileStat("docs/a.jsonl", "docs", file.stat().st_size, 1, local_file(file))
        DocumentProgress(progress, [WorkItem(stat, "", "new", ())])
        return progress.total

    assert total() == 1_000
    monkeypatch.setattr(document_progress, "SAMPLED_BYTES", 15 * 100)  # estimated from a part
    assert total() == 1_000


@pytest.mark.slow
def test_an_ingest_counts_documents_and_its_clock_runs(home: Path, host: JinaServer) -> None:
    """The host is silent until the clock has moved; the summary has the unit of the bar."""
    held = home / "docs" / "0.md"
    aside = held.rename(home / "0.md")
    assert call(*jina(host, "ingest", "docs"), environ=variables(home), cwd=home).returncode == 0
    aside.rename(held)
    host.gate.clear()
    with Terminal(*jina(host, "ingest", "docs"), environ=variables(home), cwd=home) as terminal:
        line = terminal.wait_for("0/1 document").lines[-1]
        assert re.match(r"(read|embed): +0%\|", line), line
        clock = re.search(r"\[(\d\d):(\d\d)", line)
        assert clock is not None
        terminal.wait_for(f"[{clock[1]}:{int(clock[2]) + 1:02}")
        host.gate.set()
        screen = terminal.finish()
    assert screen.code == 0
    assert screen.lines[0].startswith(f"docs: 1 added, {DOCUMENTS - 1} unchanged;")
    assert "%|" not in screen.all_text


@pytest.mark.slow
def test_an_outage_is_one_line_above_the_bar(home: Path, host: JinaServer) -> None:
    """It is there after the first failure, and the bar is drawn again below it."""
    host.faults += [faults.failing(503)] * 1000
    with Terminal(*jina(host, "ingest", "docs"), environ=variables(home), cwd=home) as terminal:
        screen = terminal.wait_for("loading the model?")
        screen = terminal.wait_for("create [")
        text = " ".join(" ".join(screen.lines).split())
        assert f"jina at {host.url} fails: 127.0.0.1:" in text
        assert "503 status 503 by request; trying again for up to 2 min" in text
        assert screen.lines[-1].startswith("create [")
        host.faults.clear()
        screen = terminal.finish()
    assert screen.code == 0
    assert screen.all_text.count(" fails: ") == 1


@pytest.mark.parametrize("flags", [(), ("--quiet",), ("--json",)])
def test_an_outage_in_a_pipe(home: Path, host: JinaServer, flags: tuple[str, ...]) -> None:
    host.faults += [faults.failing(503)] * 2
    done = call(*jina(host, "ingest", "docs", *flags), environ=variables(home), cwd=home)
    assert done.returncode == 0
    assert done.stderr.count("\n") == (0 if flags == ("--quiet",) else 1)
    if flags != ("--quiet",):
        assert "fails" in done.stderr
        assert "trying again for up to 2 min" in done.stderr


def test_a_wait_that_the_host_asks_for(home: Path, host: JinaServer) -> None:
    host.faults.append(faults.busy(1))
    done = call(*jina(host, "ingest", "docs"), environ=variables(home), cwd=home)
    assert "waiting 1 s as it asks" in done.stderr
    assert "a limit of the account of JINA_API_KEY?" in done.stderr


@pytest.mark.parametrize("words", [("ingest", "docs"), ("verify",), ("export", "docs", "-")])
def test_no_bar_in_a_pipe(home: Path, words: tuple[str, ...]) -> None:
    call("ingest", "docs", environ=variables(home), cwd=home)
    done = call(*words, environ=variables(home), cwd=home)
    assert done.returncode == 0
    assert "\r" not in done.stderr + done.stdout


class Recorder(Progress):
    """Notes the parts of some work, what each counts, its total, and what was done at its end."""

    def __init__(self) -> None:
        self.parts: list[list[object]] = []

    def begin(self, stage: str, unit: str = "", total: int | None = None) -> None:
        self.parts.append([stage, unit, total, 0])

    def advance(self, count: int = 1) -> None:
        self.parts[-1][3] += count  # type: ignore[operator]

    def grow(self, count: int) -> None:
        self.parts[-1][2] += count  # type: ignore[operator]

    def part(self, name: str) -> list[object]:
        (found,) = [part[1:] for part in self.parts if part[0] == name]
        return found


def test_a_run_counts_every_document(edge_world: World) -> None:
    for name in "abc":
        edge_world.write(f"{name}.md", paragraphs(name))
    edge_world.write(
        "rows.jsonl", "".join(f'{{"id": "{n}", "text": "row {n}"}}\n' for n in range(9))
    )
    edge_world.write("bad.pdf", "not a PDF file")
    job = edge_world.run()
    job.progress = recorder = Recorder()
    with closing(job.store):
        report = job.ingest()
    counted = report.documents
    assert (counted.added, counted.failed) == (12, 1)
    assert recorder.part("read") == ["document", 13, 13]
    stages = [part[0] for part in recorder.parts]
    assert stages == ["scan", "lock", "plan", "create", "read", "delete", "finish"]
    edge_world.write("a.md", paragraphs("a", "other"))
    (edge_world.root / "b.md").unlink()
    plan = edge_world.run()
    plan.progress = planned = Recorder()
    with closing(plan.store):
        plan.dry_run()
    assert planned.part("read") == ["document", 2, 2]  # a.md, and bad.pdf once more
    again = edge_world.run()
    again.progress = recorder = Recorder()
    with closing(again.store):
        again.ingest()
    assert recorder.part("read") == ["document", 2, 2]
    assert recorder.part("delete") == ["document", 1, 1]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("verify",), ["verify", "point"]),
        (("export", "docs", "out.jsonl"), ["export", "point"]),
        (("copy", "docs", "other"), ["copy", "document"]),
        (("migrate", "docs", "--quantization", "scalar"), ["copy", "document"]),
        (("migrate", "docs", "--dim", "128"), ["embed", "document"]),
        (("rebuild", "docs"), ["read", "point"]),
        (("eval", "questions.jsonl"), ["search", "question"]),
        (("search", "--queries", "questions.jsonl", "--out", "o"), ["search", "question"]),
    ],
)
def test_long_commands_count_what_they_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], part: list[str]
) -> None:
    """What the bar would show: the command runs in a pipe, where nothing is drawn."""
    (home / "questions.jsonl").write_text('{"id": "a", "query": "text", "relevant": ["0.md"]}\n')
    recorder = Recorder()
    monkeypatch.setattr(ProgressBar, "begin", lambda _, *part: recorder.begin(*part))
    monkeypatch.setattr(ProgressBar, "advance", lambda _, *count: recorder.advance(*count))
    monkeypatch.setattr(ProgressBar, "grow", lambda _, count: recorder.grow(count))
    assert call("ingest", "docs", environ=variables(home), cwd=home).returncode == 0
    recorder.parts.clear()
    done = call(*words, environ=variables(home), cwd=home)
    assert done.returncode == 0, done.stderr
    unit, total, count = recorder.part(part[0])
    assert unit == part[1]
    assert isinstance(count, int)
    assert count > 0
    assert total in (None, count)
