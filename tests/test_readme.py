"""What the README shows is what the command does."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.command import call

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOR_A_SHELL = re.compile(r"[&|<]|/\*")


def test_every_offline_command_works(tmp_path: Path) -> None:
    """In the README's order, after its first command, in a home of its own."""
    rows = re.findall(r"^\| [^|]+ \| `(ragctl [^`]+)` \|$", README, re.MULTILINE)
    assert len(rows) >= 13
    first = re.search(r"<!-- main job -->\n```sh\n(.*)\n```", README)
    assert first is not None
    main_job = first[1].replace("pip install . && ", "")
    environ = {
        **os.environ,
        "RAGCTL_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
    }
    for name in ("sample_docs", "pipelines", "benchmarks"):  # some of them write into the folder
        (tmp_path / name).symlink_to(ROOT / name)
    for line in [main_job, *rows]:
        done = carried_out(line, environ, tmp_path)
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.strip(), line


def carried_out(
    line: str, environ: dict[str, str], cwd: Path
) -> "subprocess.CompletedProcess[str]":
    """By a shell, where the line is more than a command's words."""
    if not FOR_A_SHELL.search(line):
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


def test_the_main_job_answers_the_question(tmp_path: Path) -> None:
    question = re.search(r'ragctl search "([^"]+)"\n```', README)
    assert question is not None
    environ = {**os.environ, "RAGCTL_HOME": str(tmp_path)}
    ragctl = [sys.executable, "-m", "ragctl"]
    subprocess.run([*ragctl, "ingest", "sample_docs"], env=environ, cwd=ROOT, check=True)
    found = subprocess.run(
        [*ragctl, "search", question[1], "--limit", "1"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hourly averages for three years" in found.stdout


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
    named = set(re.findall(r"--[a-z][a-z-]+", README.replace("--dist loadfile", "")))  # pytest's
    assert {option for option in named if option not in helps} == set()
