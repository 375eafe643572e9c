"""Completion of values, through the entry point of the shells, and in a real bash."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ragctl.embedding.catalogs import package_catalog
from tests.command import call
from tests.terminal import Terminal

RAGCTL = Path(sys.executable).with_name("ragctl")
MAX_SECONDS = 10  # of one completion, on a loaded machine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the collections docs and kb."""
    home = tmp_path_factory.mktemp("completion")
    (home / "docs" / "de").mkdir(parents=True)
    (home / "docs" / "de" / "pumpe.md").write_text("# Pumpe\n\nDie Pumpe wird geprüft.\n")
    (home / "docs" / "the plan.md").write_text("# Plan\n\nThe pump is checked.\n")
    environ = {"RAGCTL_HOME": str(home / "store"), "RAGCTL_CONFIG": str(home), "PATH": ""}
    for name in ("docs", "kb"):
        words = ("ingest", str(home / "docs"), "-c", name, "--meta", "team=ops", "-q")
        assert call(*words, environ=environ, cwd=home).returncode == 0
    (home / "kb.toml").write_text('collection = "kb"\n[[sources]]\npath = "docs"\n')
    return home


def environment(home: Path, **more: str) -> dict[str, str]:
    own = {"RAGCTL_HOME": str(home / "store"), "RAGCTL_CONFIG": str(home)}
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    return {**kept, **own, **more}


def completed(home: Path, line: str, **environ: str) -> list[str]:
    """What bash is told for a line with the cursor at its end. Nothing may be an error."""
    words = line.split(" ")
    variables = environment(
        home,
        **{"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), **environ},
        _RAGCTL_COMPLETE="complete_bash",
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ragctl"], env=variables, cwd=home, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert time.monotonic() - start < MAX_SECONDS
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("ragctl search -c ", ["docs", "kb"]),
        ("ragctl status --collection k", ["kb"]),
        ("ragctl migrate d", ["docs"]),
        ("ragctl search --mode ", ["hybrid", "dense", "sparse"]),
        ("ragctl eval --mode d", ["dense"]),
        ("ragctl search --fusion ", ["rrf", "dbsf"]),
        ("ragctl ingest x --quantization s", ["scalar"]),
        ("ragctl ingest x --model jina-clip", ["jina-clip-v1", "jina-clip-v2"]),
        ("ragctl models bge", ["bge-m3"]),
        ("ragctl ingest x --backend sentence", ["sentence-transformers"]),
        ("ragctl backends jina-", ["jina-on-prem"]),
        ("ragctl show de", ["de/pumpe.md"]),
        ("ragctl delete -c kb the", ["the plan.md"]),
        ("ragctl search --where tea", ["team="]),
        ("ragctl search -c kb --where la", ["lang="]),
        ("ragctl search -p kb.toml --where tea", ["team="]),
        ("ragctl --log-format j", ["json"]),
        ("ragctl prune", ["prune-generations"]),
        ("ragctl search --dense", ["--dense-weight"]),
    ],
)
def test_values(home: Path, line: str, values: list[str]) -> None:
    assert completed(home, line) == values


def test_only_backends_of_the_model(home: Path) -> None:
    found = completed(home, "ragctl ingest x --model bge-m3 --backend ")
    assert found == package_catalog().serving("bge-m3")


@pytest.mark.parametrize(
    "line",
    [
        "ragctl search -c none --where ",
        "ragctl show -c none a",
        "ragctl search --store /dev/null -c ",
        "ragctl search --store http://127.0.0.1:1 -c ",
        "ragctl search --store nonsense://x -c ",
        "ragctl search -p missing.toml -c ",
        "ragctl --env-file missing search -c ",
        "ragctl ingest x --model no-such-model --backend ",
    ],
)
def test_what_cannot_be_completed_is_no_error(home: Path, line: str) -> None:
    assert completed(home, line) == []


def test_a_wrong_catalogue_is_no_error(home: Path, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[broken\n")
    assert completed(home, "ragctl models b", RAGCTL_CONFIG=str(tmp_path)) == []


def test_zsh_and_fish_get_values(home: Path) -> None:
    for shell, expected in (("zsh", '"kb"'), ("fish", "kb")):
        variables = environment(
            home,
            _RAGCTL_COMPLETE=f"complete_{shell}",
            _TYPER_COMPLETE_ARGS="ragctl search -c k",
            _TYPER_COMPLETE_FISH_ACTION="get-args",
        )
        done = subprocess.run(
            [sys.executable, "-m", "ragctl"], env=variables, capture_output=True, text=True
        )
        assert expected in done.stdout
        assert done.stderr == ""


def in_shell(home: Path, tmp_path: Path, *command: str, text: str) -> str:
    """Return what a shell prints that reads lines; its own files are below `tmp_path`."""
    path = f"{RAGCTL.parent}{os.pathsep}{os.environ['PATH']}"
    variables = environment(
        home, PATH=path, HOME=str(tmp_path), TERM="dumb", XDG_CONFIG_HOME=str(tmp_path)
    )
    done = subprocess.run(
        command, input=text, env=variables, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FISH = shutil.which("fish")


@pytest.mark.skipif(FISH is None or not RAGCTL.exists(), reason="needs fish and the command")
def test_a_real_fish(home: Path, tmp_path: Path) -> None:
    """The script that `ragctl --show-completion` prints works in fish, as the page says."""
    lines = {
        "ragctl search -c k": ["kb"],
        f"ragctl search --store {home}/store -c ": ["docs", "kb"],
        "ragctl search --mode sp": ["sparse"],
        "ragctl search --where tea": ["team="],
        "ragctl delete the": ["the plan.md"],
        "ragctl prune": ["prune-generations"],
    }
    folder = tmp_path / "fish" / "completions"
    folder.mkdir(parents=True)
    script = f"ragctl --show-completion > {folder}/ragctl.fish\n" + "".join(
        f"complete -C '{line}'; echo end\n" for line in lines
    )
    shown = in_shell(home, tmp_path, str(FISH), "--private", text=script)
    found = [
        [each.partition("\t")[0] for each in block.splitlines() if each]
        for block in shown.split("end\n")[:-1]
    ]
    assert found == list(lines.values())


BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None or not RAGCTL.exists(), reason="needs bash and the command")
def test_a_real_bash(home: Path) -> None:
    """The script that `ragctl --show-completion` prints works in bash, with its word breaks."""
    lines = {
        "ragctl search -c k": ["kb"],
        f"ragctl search --store {home}/store -c ": ["docs", "kb"],
        "ragctl search --store http://127.0.0.1:1 --mode h": ["hybrid"],
        "ragctl search --mode=sp": ["sparse"],
        "ragctl search --where tea": ["team="],
        "ragctl delete the": ["the plan.md"],
    }
    script = """
eval "$(ragctl --show-completion)"
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    read -ra COMP_WORDS <<< "$(sed 's/[:=]/ & /g' <<< "$COMP_LINE")"
    [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _ragctl_completion ragctl
    printf '%s|' "${COMPREPLY[@]}"
    echo
done
"""
    path = f"{RAGCTL.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(BASH), "--norc", "-c", script],
        input="".join(f"{line}\n" for line in lines),
        env=environment(home, PATH=path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=""),
        cwd=home,
        capture_output=True,
        text=True,
    )
    found = [line.rstrip("|").split("|") for line in done.stdout.splitlines()]
    assert found == list(lines.values()), done.stderr


ZSH = shutil.which("zsh")


@pytest.mark.skipif(ZSH is None or not RAGCTL.exists(), reason="needs zsh and the command")
def test_a_real_zsh(home: Path, tmp_path: Path) -> None:
    """The same in zsh, on a terminal: Tab completes the word."""
    path = f"{RAGCTL.parent}{os.pathsep}{os.environ['PATH']}"
    variables = environment(home, PATH=path, HOME=str(tmp_path), ZDOTDIR=str(tmp_path))
    functions = tmp_path / ".zfunc"
    functions.mkdir()
    (tmp_path / ".zshrc").write_text(
        "PS1='ready> '\nfpath+=~/.zfunc; autoload -Uz compinit; compinit -u\n"
    )
    made = in_shell(home, tmp_path, str(ZSH), "-f", text="ragctl --show-completion\n")
    (functions / "_ragctl").write_text(made)
    with Terminal(environ=variables, cwd=home, command=(str(ZSH), "-i"), columns=100) as terminal:
        terminal.wait_for("ready>")
        for typed, completed_line in (
            ("ragctl search -c k", "ragctl search -c kb"),
            ("ragctl search --mode sp", "ragctl search --mode sparse"),
            ("ragctl prune-g", "ragctl prune-generations"),
        ):
            terminal.type(f"{typed}\t")
            terminal.wait_for(completed_line)
            terminal.type("\x15")  # Ctrl-U empties the line
        terminal.type("exit\n")
        assert terminal.finish().code == 0
