"""Wrong command lines and interrupts: one line that says what to do next, or none."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragctl.errors import Interrupted
from tests import command
from tests.terminal import Terminal


def call(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": os.environ["PATH"], "RAGCTL_HOME": str(folder / "home"), "COLUMNS": "200"}
    return command.call(*words, environ=environ, cwd=folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["search", "--limt", "3", "foo"],
            "No such option: --limt; did you mean --limit? (see ragctl search --help)",
        ),
        (["search", "--bogus", "foo"], "No such option: --bogus (see ragctl search --help)"),
        (["--bogus"], "No such option: --bogus (see ragctl --help)"),
        (["bogus"], "No such command 'bogus' (see ragctl --help)"),
        (["ingest"], "Missing argument 'PATH...' (see ragctl ingest --help)"),
        (["schema", "x"], "Got unexpected extra argument(s) (x) (see ragctl schema --help)"),
        *(
            (
                [*words, "handbook"],
                "Got unexpected extra argument(s) (handbook); did you mean -c handbook? "
                f"(see ragctl {words[0]} --help)",
            )
            for words in (["status"], ["failures"], ["show", "a.md"])
        ),
        *(
            (
                [command, "-c", "handbook"],
                "No such option: -c; the collection is named without it: "
                f"ragctl {command} NAME (see ragctl {command} --help)",
            )
            for command in ("rollback", "prune-generations", "migrate")
        ),
        *(
            ([command, "handbook"], "handbook: no such pipeline file; did you mean -c handbook?")
            for command in ("verify", "check")
        ),
        (
            ["search", "foo", "--limit"],
            "Option '--limit' requires an argument (see ragctl search --help)",
        ),
        (
            ["init", "--budget", "-1"],
            "Invalid value for '--budget': -1 is less than 0 (see ragctl init --help)",
        ),
        (
            ["prune-generations", "docs", "--keep", "-1"],
            "Invalid value for '--keep': -1 is less than 0 (see ragctl prune-generations --help)",
        ),
        (
            ["search", "foo", "--limit", "abc"],
            "Invalid value for '--limit' / '-n': 'abc' is not a whole number "
            "(see ragctl search --help)",
        ),
        (
            ["search", "foo", "--min-score", "abc"],
            "Invalid value for '--min-score': 'abc' is not a number (see ragctl search --help)",
        ),
    ],
)
def test_a_wrong_command_line_names_the_help_of_its_command(
    tmp_path: Path, words: list[str], message: str
) -> None:
    done = call(tmp_path, *words)
    assert (done.returncode, done.stderr) == (2, f"ragctl: {message}\n")


@pytest.mark.parametrize("words", [["plan"], ["run"], ["search", "foo", "-p"]])
def test_a_folder_in_place_of_a_pipeline_names_the_command_for_folders(
    tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "my docs").mkdir()
    done = call(tmp_path, *words, "my docs")
    assert done.returncode == 2
    assert "is a folder, not a pipeline file" in done.stderr
    assert "run ragctl ingest 'my docs' (with --dry-run to" in done.stderr


@pytest.mark.parametrize(
    "words", [["ingest"], ["ingest", "--dry-run"], ["init", "new.toml", "--source"]]
)
@pytest.mark.parametrize("text", ['[[sources]]\npath = "docs"\n', "[[sources]]\npath = docs\n"])
def test_a_pipeline_in_place_of_a_document_names_the_command_for_pipelines(
    tmp_path: Path, words: list[str], text: str
) -> None:
    (tmp_path / "my night.toml").write_text(text)
    done = call(tmp_path, *words, "my night.toml")
    assert (done.returncode, done.stderr) == (
        2,
        "ragctl: my night.toml is a pipeline file, not a document; to run it: "
        "ragctl run 'my night.toml'\n",
    )
    assert not (tmp_path / "home" / "collections").exists()


def test_another_toml_file_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'pump'\n")
    assert call(tmp_path, "ingest", "pyproject.toml").returncode == 0


def test_a_plan_with_failed_files_exits_as_a_dry_run_does(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n\nText.\n")
    (tmp_path / "docs" / "bad.pdf").write_bytes(b"no PDF")
    pipeline = tmp_path / "p.toml"
    pipeline.write_text('[[sources]]\npath = "docs"\n')
    assert call(tmp_path, "run", "p.toml", "--dry-run").returncode == 3
    planned = call(tmp_path, "plan", "p.toml", "--exit-code")
    assert planned.returncode == 3
    assert "failed: docs/bad.pdf" in planned.stderr
    pipeline.write_text('[[sources]]\npath = "docs"\n[policy]\nfail_on = 50\n')
    assert call(tmp_path, "plan", "p.toml").returncode == 0
    assert call(tmp_path, "plan", "p.toml", "--exit-code").returncode == 10


def test_a_missing_source_is_named_with_its_line_in_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('collection = "x"\n[[sources]]\npath = "nowhere"\n')
    done = call(tmp_path, "run", "p.toml")
    assert done.returncode == 7
    assert f"ragctl: p.toml, line 3: {tmp_path}/nowhere: No such file" in done.stderr


def test_a_plan_names_new_records_and_a_run_has_nested_folders_once(tmp_path: Path) -> None:
    records = tmp_path / "docs" / "in" / "r.jsonl"
    records.parent.mkdir(parents=True)
    first, second = (json.dumps({"id": i, "text": i * 9}) + "\n" for i in "ac")
    records.write_text(first)
    (tmp_path / "p.toml").write_text('[[sources]]\npath = "docs"\n')
    assert call(tmp_path, "run", "p.toml").returncode == 0
    records.write_text(first + second)
    planned = call(tmp_path, "plan", "p.toml")
    assert "added: docs/in/r.jsonl#c: a new record" in planned.stdout
    nested = call(tmp_path, "ingest", "docs", "docs/in", "--dry-run", "-c", "other", "--json")
    assert json.loads(nested.stdout)["documents"]["added"] == 2


def test_an_interrupt_at_a_question_is_a_line_of_its_own(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "RAGCTL_HOME": str(tmp_path / "home")}
    with Terminal("init", environ=environ, cwd=tmp_path) as terminal:
        terminal.wait_for("Folder of documents [.]:")
        terminal.process.send_signal(signal.SIGINT)
        screen = terminal.finish()
    assert screen.code == Interrupted.exit_code
    assert screen.lines[:2] == ["Folder of documents [.]:", "ragctl: interrupted"]


@pytest.mark.parametrize("module", ["ragctl.cli.main", "typer", "ragctl.cli.query"])
def test_an_interrupt_during_the_imports_ends_without_a_traceback(
    tmp_path: Path, module: str
) -> None:
    program = f"""
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = ["search", "foo"]
from ragctl.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (Interrupted.exit_code, "")
