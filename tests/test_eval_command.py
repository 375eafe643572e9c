"""`ragctl eval`, run as a command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli import Shell

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
QUESTIONS = str(ROOT / "benchmarks" / "questions.jsonl")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(tmp_path_factory.mktemp("home"))
    done = made("ingest", str(ROOT / "sample_docs"))
    assert done.returncode == 0, done.stderr
    return made


def error_of(shell: Shell, *args: str) -> str:
    done = shell("eval", *args)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_one_variant_prints_a_table_by_language(shell: Shell) -> None:
    done = shell("eval", QUESTIONS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    head, latency, bill, _, columns, *rows = done.stdout.splitlines()
    assert head == "docs: builtin, 273 questions, judged by chunk, hybrid"
    assert latency.startswith("search p50 ")
    assert re.fullmatch(r"questions embedded once: [\d,]+ tokens, in this process", bill)
    assert columns.split() == [
        "language",
        "questions",
        "nDCG@10",
        "recall@5",
        "recall@10",
        "MRR@10",
    ]
    assert [row.split()[0] for row in rows] == ["cross", "de", "en", "ru", "zh", "all"]
    assert "\x1b" not in done.stdout


def test_a_sweep_prints_a_table_and_plots_and_writes_the_plot_file(shell: Shell) -> None:
    done = shell(
        *("eval", QUESTIONS, "--sweep", "dim=64,512", "--mode", "dense", "--plot", "plot.svg")
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "its texts were embedded again" in lines[3]
    table = [line.split()[:3] for line in lines[5:9]]
    assert [row[0] for row in table[1:]] == ["a", "b", "c"]
    assert [row[2] for row in table[2:]] == ["dim=64", "dim=512"]
    assert "nDCG@10 against bytes of a dense vector" in done.stdout
    assert "nDCG@10 against search, p50 in ms" in done.stdout
    assert (shell.home / "plot.svg").read_bytes().startswith(b"<?xml")


def test_json_has_the_documented_keys(shell: Shell) -> None:
    found = shell.json("eval", QUESTIONS, "--against", "mode=sparse", "--k", "3,20")
    page = (ROOT / "docs" / "eval.md").read_text(encoding="utf-8")
    example = json.loads(page.split("```json\n")[1].split("```")[0].replace("…", ""))
    assert key_structure(found, 2) == key_structure(example, 2)
    hybrid, sparse = found["variants"]
    assert key_structure(dict(sparse, per_question={}), 3) == key_structure(
        example["variants"][1], 3
    )
    assert hybrid["against_first"] is None
    assert hybrid["variant"] == {"mode": "hybrid"}
    assert set(hybrid["groups"]["all"]) == {
        *("questions", "nDCG@10", "recall@3", "recall@20", "MRR@20")
    }
    comparison = sparse["against_first"]["nDCG@10"]
    assert comparison["difference"] < 0
    assert comparison["p_holm"] < 0.01
    assert comparison["won"] + comparison["lost"] + comparison["tied"] == 273
    assert len(hybrid["per_question"]["nDCG@10"]) == 273
    assert found["embedding"]["tokens"] > 1000
    assert found["embedding"]["cost"] == 0


def key_structure(value: Any, depth: int) -> Any:
    """Return the keys of an object, nested down to `depth`."""
    if isinstance(value, dict) and depth:
        return {key: key_structure(each, depth - 1) for key, each in value.items()}
    return None


def test_missing_documents_are_reported_and_counted(shell: Shell) -> None:
    (shell.home / "some.jsonl").write_text(
        '{"id": "lost", "query": "x1", "relevant": ["gone.md"]}\n'
        '{"id": "fine", "query": "office hours", "relevant": ["en/office-handbook.txt"]}\n'
    )
    done = shell("eval", "some.jsonl")
    assert done.returncode == 0
    assert "question lost: gone.md: no such document" in done.stderr
    assert "1 of 2 questions has no answer in this collection" in done.stderr
    assert "1 question," in done.stdout
    report = shell.json("eval", "some.jsonl")
    assert report["unanswerable"] == ["lost"]
    assert report["missing"] == [
        {"question": "lost", "source": "gone.md", "why": "no such document"}
    ]


def test_questions_are_generated_with_a_note_on_their_limits(shell: Shell) -> None:
    done = shell("eval", "--make", "24", "--out", "made.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("24 questions in made.jsonl: de 6, en 6, ru 6, zh 6\n")
    assert "They do not show" in done.stdout
    assert shell("eval", "made.jsonl", "--mode", "sparse").returncode == 0
    report = shell.json("eval", "--make", "8", "--out", "made.jsonl", "--seed", "2")
    assert report["questions"] == 8
    assert "favour BM25" in report["does_not_say"]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ([], "name a file of questions"),
        (["none.jsonl"], "no such file"),
        ([QUESTIONS, "-c", "nothing"], "no collection 'nothing'"),
        ([QUESTIONS, "--mode", "both"], "--mode: 'both' is not one of hybrid"),
        ([QUESTIONS, "--k", "0"], "whole numbers from 1"),
        ([QUESTIONS, "--k", "5,,"], "whole numbers from 1"),
        ([QUESTIONS, "--by", "page"], "document or chunk"),
        ([QUESTIONS, "--against", "mode=hybrid"], "nothing to compare"),
        ([QUESTIONS, "--against", "k=3", "--sweep", "k=3"], "not both"),
        ([QUESTIONS, "--sweep", "dim=8"], "has no vectors of 8 dimensions"),
        ([QUESTIONS, "--plot", "plot.jpg"], "does not end in .png"),
        ([QUESTIONS, "--out", "q.jsonl"], "--out needs --make"),
        (["--make", "5"], "needs --out"),
        (["--make", "5", "--out", "none/q.jsonl"], "cannot be written"),
        ([QUESTIONS, "--make", "5", "--out", "q.jsonl"], "evaluates nothing"),
    ],
)
def test_wrong_usage_is_a_one_line_error(shell: Shell, args: list[str], reason: str) -> None:
    assert reason in error_of(shell, *args)


def test_without_the_extra_the_error_names_it(shell: Shell) -> None:
    code = (
        "import importlib.util as u, sys\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'ir_measures' else found(name, *a)\n"
        "from ragctl.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "eval", QUESTIONS],
        env={**os.environ, **shell.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "[eval]'" in done.stderr
