"""The page "Running it from cron", followed word for word but for the installation."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.servers.cron import Cron
from tests.test_cron_daemon import pytestmark  # noqa: F401 - the same conditions

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cron.md").read_text(encoding="utf-8")
INSTALLS = ("python3 -m venv ~/ragctl-venv", "~/ragctl-venv/bin/pip install .")
ENABLES = "ragctl schedule nightly.toml --systemd --install"  # needs a user's manager


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    program = home / "ragctl-venv" / "bin" / "ragctl"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ragctl "$@"\n')
    program.chmod(0o755)
    shutil.copytree(ROOT / "sample_docs", place / "docs")
    script = "".join(["set -ex\n", *blocks()])
    for line in (*INSTALLS, ENABLES):
        assert f"{line}\n" in script
        script = script.replace(f"{line}\n", "")
    with Cron(tmp_path / "cron", daemon=False) as cron:
        done = cron.run(
            ["bash", "-c", f"cd {place}\n{script}"],
            environ={
                "HOME": str(home),
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
            },
        )
        said = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, said
        table = cron.table().decode()
    assert said.count("no problems found") == 2
    assert "42 added" in said
    (line,) = table.splitlines()
    assert line.startswith("*/15 * * * * ")
    assert "--wait" in line
    assert line.endswith(f"# ragctl schedule {place}/nightly.toml")


@pytest.mark.parametrize("word", ["validate", "plan", "run", "schedule", "verify", "failures"])
def test_the_page_shows(word: str) -> None:
    assert f"ragctl {word} " in PAGE
