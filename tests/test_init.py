"""`ragctl init`: write a file that runs, from flags, defaults, or answers on a terminal."""

import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragctl.embedding.catalogs import package_catalog
from ragctl.pipeline import read_pipeline
from ragctl.pipeline.template import Answers, render
from tests import command

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "ragctl"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Valves\n\nThe valve is open.\n")
    return tmp_path


def environ(folder: Path) -> dict[str, str]:
    home = {"RAGCTL_HOME": str(folder / "home"), "RAGCTL_CONFIG": str(folder / "none")}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", **home}


def call(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return command.call(*arguments, environ=environ(folder), cwd=folder)


def test_without_a_terminal_the_defaults_are_used_and_the_file_runs(folder: Path) -> None:
    done = call(folder, "init", "etc.toml")
    assert done.returncode == 0, done.stderr
    assert '  ragctl run etc.toml\n  ragctl search -p etc.toml "a question"\n' in done.stdout
    pipeline = read_pipeline(folder / "etc.toml", environ(folder))
    assert [source.path for source in pipeline.sources] == [folder / "docs"]
    run = call(folder, "run", "etc.toml")
    assert "1 added" in run.stdout, run.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["docs", "etc.toml", "home"]


def test_flags_set_all_keys_with_paths_relative_to_the_file(folder: Path) -> None:
    (folder / "conf").mkdir()
    flags = ["--source", "docs", "--source", "docs/*.md", "-c", "kb", "--store", "data"]
    model = ["--model", "qwen3-embedding-8b", "--dim", "512", "--backend", "ollama"]
    done = call(folder, "init", "conf/p.toml", *flags, *model)
    assert done.returncode == 0, done.stderr
    data = tomllib.loads((folder / "conf" / "p.toml").read_text())
    assert data == {
        "collection": "kb",
        "store": "../data",
        "sources": [{"path": "../docs"}, {"path": "../docs/*.md"}],
        "embedding": {"model": "qwen3-embedding-8b", "dimension": 512, "backend": "ollama"},
    }
    checked = call(folder / "conf", "validate", "p.toml")
    assert checked.returncode == 0, checked.stdout


def test_the_required_api_key_is_named(folder: Path) -> None:
    done = call(folder, "init", "--model", "voyage-3.5")
    assert "export VOYAGE_API_KEY=…" in done.stdout
    assert "its API key is read from VOYAGE_API_KEY" in (folder / "ragctl.toml").read_text()


def test_an_existing_file_is_not_overwritten_without_force(folder: Path) -> None:
    file = folder / "ragctl.toml"
    file.write_text("mine")
    done = call(folder, "init")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ragctl.toml exists; --force" in done.stderr
    assert file.read_text() == "mine"
    assert call(folder, "init", "--force").returncode == 0
    assert "[[sources]]" in file.read_text()


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--source", "gone"], "gone: no such folder or file"),
        (["--source", "gone/*"], "gone/*: no such folder or file"),
        (["--model", "jina-v3"], "--model: no model is called 'jina-v3'; did you mean"),
        (["--dim", "5"], "--dim: builtin has no vectors of 5 dimensions"),
        (["--backend", "jina"], "--backend: backend jina does not serve builtin"),
        (["-c", "a/b"], "--collection: collection name 'a/b'"),
        (["--store", "ftp://x"], "--store must be a folder"),
        (["no/such/p.toml"], "no/such/p.toml: cannot be written"),
    ],
)
def test_an_invalid_pipeline_is_not_written(folder: Path, flags: list[str], error: str) -> None:
    done = call(folder, "init", *flags)
    assert done.returncode == 2
    assert error in done.stderr
    assert [path.name for path in folder.iterdir()] == ["docs"]


def test_the_file_and_the_store_are_excluded_from_the_documents(folder: Path) -> None:
    assert call(folder, "init", "--source", ".", "--store", "st re").returncode == 0
    (source,) = read_pipeline(folder / "ragctl.toml", environ(folder)).sources
    assert source.exclude == ("/ragctl.toml", "/st\\ re")
    run = call(folder, "run", "ragctl.toml")
    assert "1 added" in run.stdout, run.stderr
    assert "nothing to do" not in run.stdout
    assert "1 unchanged" in call(folder, "run", "ragctl.toml").stdout


@pytest.mark.parametrize(
    "name", ['quo"te', "back\\slash", "Ünïcode 保修", "del\x7f", "a [b]", "#x"]
)
def test_any_name_is_quoted_correctly(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    file = tmp_path / "p.toml"
    answers = Answers((str(tmp_path / name),), "kb", "builtin", store=str(tmp_path / name / "st"))
    file.write_text(render(file, answers, package_catalog()), encoding="utf-8")
    pipeline = read_pipeline(file, environ(tmp_path))
    assert pipeline.sources[0].path == tmp_path / name
    assert pipeline.sources[0].within is None
    assert pipeline.store == str(tmp_path / name / "st")


def output_of(terminal: int) -> Iterator[str]:
    """Yield the output of the command as it is printed."""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux: the child closed its side
            return
        if not data:
            return
        yield data.decode()


def test_on_a_terminal_the_command_asks(folder: Path) -> None:
    terminal, child_side = pty.openpty()
    answers = ["docs", "-1", "0", "", "qwen3", "qwen3-embedding-0.6b", "9999", "256", "tei", ""]
    prompts = [
        "Folder",
        "Budget",
        "Budget",
        "Collection",
        "Model",
        "Model",
        "Dimension",
        "Dimension",
        "Backend",
        "Store",
    ]
    process = subprocess.Popen(
        [*COMMAND, "init"],
        cwd=folder,
        env=environ(folder),
        stdin=child_side,
        stdout=child_side,
        stderr=child_side,
    )
    os.close(child_side)
    output, pending = "", list(zip(prompts, answers, strict=True))
    for text in output_of(terminal):
        output += text
        last_line = output.rpartition("\n")[2]
        if pending and last_line.startswith(pending[0][0]) and last_line.endswith(": "):
            os.write(terminal, (pending.pop(0)[1] + "\n").encode())
    os.close(terminal)
    assert process.wait() == 0, output
    assert not pending, output
    data = tomllib.loads((folder / "ragctl.toml").read_text())
    assert data == {
        "collection": "docs",
        "sources": [{"path": "docs"}],
        "embedding": {"model": "qwen3-embedding-0.6b", "dimension": 256, "backend": "tei"},
    }
    assert "no model is called 'qwen3'" in output
    assert "has no vectors of 9999 dimensions" in output
