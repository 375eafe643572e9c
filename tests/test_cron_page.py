"""The commands of the page "Running it from cron", except the installation."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.servers.cron import Cron
from tests.test_cron_daemon import pytestmark  # noqa: F401 - the same conditions

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cron.md").read_text(encoding="utf-8")
INSTALL_COMMANDS = ("python3 -m venv ~/ragctl-venv", "~/ragctl-venv/bin/pip install .")
# It needs the systemd manager of a user.
ENABLE_COMMAND = "ragctl schedule nightly.toml --systemd --install"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "folder"
    program = home / "ragctl-venv" / "bin" / "ragctl"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ragctl "$@"\n')
    program.chmod(0o755)
    shutil.copytree(ROOT / "sample_docs", folder / "handbook")
    script = "".join(["set -ex\n", *blocks()])
    for line in (*INSTALL_COMMANDS, ENABLE_COMMAND):
        assert f"{line}\n" in script
        script = script.replace(f"{line}\n", "")
    with Cron(tmp_path / "cron", daemon=False) as cron:
        done = cron.run(
            ["bash", "-c", f"cd {folder}\n{script}"],
            environ={
                "HOME": str(home),
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
            },
        )
        output = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, output
        table = cron.table().decode()
    assert output.count("no problems found") == 2
    assert "42 added" in output
    (line,) = table.splitlines()
    assert line.startswith("*/15 * * * * ")
    assert "--wait" in line
    assert line.endswith(f"# ragctl schedule {folder}/nightly.toml")


@pytest.mark.parametrize("command", ["validate", "plan", "run", "schedule", "verify", "failures"])
def test_the_page_shows_each_command(command: str) -> None:
    assert f"ragctl {command} " in PAGE
