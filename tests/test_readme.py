"""What the README and docs/commands.md show is what the commands do."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ragctl.embedding.catalogs import package_catalog
from ragctl.lexical.languages import BM25_NAMES
from tests.command import call
from tests.sessions import BLOCK

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
FEW_QUESTIONS = 10  # that the commands work shows with a few as well
NEEDS_A_SHELL = re.compile(r"[&|<]|/\*")
ROW = re.compile(r"^\| [^|]+ \| `(ragctl [^`]+)` \|$", re.MULTILINE)


def block(marker: str) -> str:
    """Return the shell block after a marker, as .ci/run finds it."""
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert found is not None, marker
    return found[1]


def main_job() -> str:
    """Return the commands of the main job without the installation."""
    install, _, rest = block("main job").partition(" && ")
    assert install == "pip install ."
    return rest


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment with an empty home for collections."""
    home = str(tmp_path_factory.mktemp("home"))
    return {**os.environ, "RAGCTL_HOME": home, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_what_it_counts() -> None:
    known = package_catalog()
    assert f"lists {len(known.models)} models" in README
    assert f"the {len(known.backends)} backends" in README
    assert f"for {len(BM25_NAMES)} languages" in README


def test_the_session_at_the_top_is_the_main_job() -> None:
    """`tests/test_sessions.py` compares its output."""
    block = BLOCK.search(README)
    assert block is not None
    for command in main_job().split(" && "):
        assert f"$ {command}\n" in block["shown"]
    assert "30 months" in block["shown"]


def test_every_offline_command_works(tmp_path: Path, environ: dict[str, str]) -> None:
    """The main job, then the rows of the README and of docs/commands.md in their order."""
    most_needed, all_rows = ROW.findall(README), ROW.findall(COMMANDS)
    assert len(most_needed) == 8
    assert len(all_rows) >= 40
    for name in ("sample_docs", "pipelines"):  # some commands write into the folder
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "benchmarks").mkdir()
    questions = (ROOT / "benchmarks" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    few = questions[:: len(questions) // FEW_QUESTIONS]
    (tmp_path / "benchmarks" / "questions.jsonl").write_text("\n".join(few), encoding="utf-8")
    for line in dict.fromkeys((main_job(), *most_needed, *all_rows)):
        done = run_line(line, environ, tmp_path)
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.strip(), line


def run_line(line: str, environ: dict[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a line in this process, or in a shell if it needs one."""
    if not NEEDS_A_SHELL.search(line):
        _, *words = shlex.split(line)
        return call(*words, environ=environ, cwd=cwd)
    command = re.sub(r"\bragctl (?=[a-z])", f"{sys.executable} -m ragctl ", line)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("query", "source", "answer"),
    [
        ("整机质保几年", "sample_docs/zh/product-manual.md:", "整机质保两年"),
        ("质保期", "sample_docs/zh/product-manual.md:", "整机质保两年"),
        ("сколько дней отпуска", "sample_docs/ru/kadry-otpuska.txt:", "26 рабочих дней"),
    ],
)
def test_the_first_hit_answers_the_question(
    environ: dict[str, str], query: str, source: str, answer: str
) -> None:
    lines = [line for line in ROW.findall(README + COMMANDS) if f'"{query}"' in line]
    assert lines, query
    call("ingest", "sample_docs", "--quiet", environ=environ, cwd=ROOT)
    for line in lines:
        _, *words = shlex.split(line)
        found = call(*words, "--limit", "1", environ=environ, cwd=ROOT).stdout
        assert found.startswith(f"1. {source}"), found
        assert answer in found


def test_options_named_in_the_readme_exist() -> None:
    environ = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    helps = "".join(
        call(*command, "--help", environ=environ, cwd=ROOT).stdout
        for command in (
            [],
            *(["ingest"], ["search"], ["run"], ["status"], ["collections"], ["show"], ["delete"]),
            *(["models"], ["backends"], ["check"], ["init"], ["validate"], ["schedule"]),
            *(["plan"], ["failures"], ["verify"], ["eval"]),
        )
    )
    text = README
    for other in ("--dist loadfile", "pip install --quiet", "docker run -d --name"):
        text = text.replace(other, "")
    named = set(re.findall(r"--[a-z][a-z-]+", text))
    assert {option for option in named if option not in helps} == set()
