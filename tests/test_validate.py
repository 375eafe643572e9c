"""`ragctl validate`: what is wrong with a file, found without touching anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragctl.check import Finding
from ragctl.check.validate import validate_file

ROOT = Path(__file__).parents[1]
SOURCES = "[[sources]]\npath = 'docs'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Valves\n")
    return tmp_path


def environ(folder: Path) -> dict[str, str]:
    return {"RAGCTL_HOME": str(folder / "home"), "RAGCTL_CONFIG": str(folder / "none")}


def look(folder: Path, text: str) -> list[Finding]:
    (folder / "p.toml").write_text(text)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    found = validate_file(folder / "p.toml", environ(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    return found


def of(findings: list[Finding], status: str) -> list[str]:
    return [f"{f.what}: {f.text}" for f in findings if f.status == status]


def test_a_right_file(folder: Path) -> None:
    found = look(folder, SOURCES + "[embedding]\nmodel = 'builtin'\n")
    assert {finding.status for finding in found} == {"ok"}
    assert [finding.what for finding in found] == ["file", "sources", "model", "store"]
    assert f"sources: {folder / 'docs'}: 1 file" in of(found, "ok")


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (
            "[embedding]\nmodle = 'x'\n",
            r"file: FILE, line 4, table [embedding]: unknown key 'modle'",
        ),
        ("[[sources]]\npath = 'gone'\n", "sources: FILE, line 4: "),
        ("[[sources]]\npath = '*/none'\n", "sources: FILE, line 4: "),
        (
            "[embedding]\nmodel = 'bge-m3'\ndimension = 5\n",
            "file: FILE, line 5, table [embedding]: ",
        ),
        (
            "[chunking]\nsize = 600\n[embedding]\nmodel = 'all-minilm-l6-v2'\n",
            "model: FILE, line 4: chunks of 600 tokens do not fit the 256",
        ),
        (
            "[chunking]\noverlap = 9\n[embedding]\nmodel = 'jina-embeddings-v3'\n"
            "late_chunking = true\n",
            "model: FILE, line 4: late chunking takes no overlap",
        ),
        (
            "[embedding]\nmodel = 'jina-embeddings-v4'\n[budget]\nmax_cost = 1\n",
            "budget: FILE, line 6: max_cost cannot be kept: no price of jina-embeddings-v4 at jina",
        ),
        ("[report]\nreport_file = 'no/r.json'\n", "report: FILE, line 4: "),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, text: str, failure: str) -> None:
    found = look(folder, "\n".join((SOURCES, text)).replace("'docs'\n\n", "'docs'\n"))
    (failed,) = of(found, "fail")
    assert failed.startswith(failure.replace("FILE", str(folder / "p.toml"))), failed
    assert all(finding.code == 2 for finding in found if finding.status == "fail")


def test_two_sources_with_one_name(folder: Path) -> None:
    more = folder / "more/docs"
    more.mkdir(parents=True)
    (more / "a.md").write_text("x")
    found = look(folder, SOURCES + "[[sources]]\npath = 'more/docs'\n")
    (failed,) = of(found, "fail")
    assert f"sources: two sources are named docs: {folder / 'docs'} and {more}; give" in failed
    named = look(folder, SOURCES + "[[sources]]\nname = 'more'\npath = 'more/docs'\n")
    assert of(named, "fail") == []


def test_a_key_that_is_not_set_is_a_note(folder: Path) -> None:
    text = SOURCES + "[embedding]\nmodel = 'jina-embeddings-v3'\n"
    assert of(look(folder, text), "note") == ["key: jina needs a key: JINA_API_KEY is not set here"]
    (folder / ".env").write_text("JINA_API_KEY=x\n")
    assert of(look(folder, 'env_file = ".env"\n' + text), "note") == []
    program = text + "key_command = ['no-such-program']\nbackend = 'jina'\n"
    assert of(look(folder, program), "note") == [
        "key: jina: its key command 'no-such-program' is not found here"
    ]


def test_no_key_command_is_run(folder: Path) -> None:
    touch = f"key_command = ['touch', '{folder / 'ran'}']\nbackend = 'jina'\n"
    look(folder, SOURCES + "[embedding]\nmodel = 'jina-embeddings-v3'\n" + touch)
    assert not (folder / "ran").exists()


def test_a_file_without_a_model_leaves_it_to_the_collection(folder: Path) -> None:
    found = look(folder, SOURCES + "[embedding]\nbackend = 'jina'\n[budget]\nmax_cost = 1\n")
    assert of(found, "fail") == []
    assert of(found, "note") == [
        "model: none is named: the collection's is used, or builtin for a new one"
    ]


def test_the_command(folder: Path) -> None:
    (folder / "good.toml").write_text(SOURCES)
    (folder / "bad.toml").write_text(SOURCES + "color = 1\n")

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ragctl", "validate", *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    good = call("good.toml")
    assert (good.returncode, good.stderr) == (0, "")
    assert all(line.startswith("good.toml  ") for line in good.stdout.splitlines())
    both = call("good.toml", "bad.toml")
    assert both.returncode == 2
    assert "bad.toml  FAIL  file  bad.toml, line 3, table [sources 1]: unknown key" in both.stdout
    told = json.loads(call("good.toml", "bad.toml", "gone.toml", "--json").stdout)
    assert told["failures"] == 2
    assert [file["file"] for file in told["files"]] == ["good.toml", "bad.toml", "gone.toml"]
    assert told["files"][2]["findings"][0]["text"].startswith("gone.toml: cannot read")
