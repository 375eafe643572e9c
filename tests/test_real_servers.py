"""How the tests of real servers behave without a package index."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(tmp_path: Path, *names: str, **more: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [sys.executable, "-m", "tests.real_servers", *names],
        cwd=ROOT,
        env={**kept, "RAGCTL_TEST_SERVERS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_skipped_visibly_without_an_index(tmp_path: Path) -> None:
    done = run(tmp_path, "llama.cpp", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("SKIPPED: tests of real servers: pip cannot reach its package index\n")


def test_it_fails_if_an_index_does_not_have_the_server(tmp_path: Path) -> None:
    """The index is a folder that has only the package by which it is probed."""
    packages = tmp_path / "packages"
    packages.mkdir()
    write_package(packages / "pip-1.0-py3-none-any.whl")
    done = run(tmp_path / "cache", "llama.cpp", PIP_NO_INDEX="1", PIP_FIND_LINKS=packages.as_uri())
    assert done.returncode == 1, done.stderr
    assert "real servers cannot be installed: llama.cpp:" in done.stdout


def write_package(file: Path) -> None:
    """Write the smallest wheel that pip downloads."""
    info = f"{'-'.join(file.name.split('-')[:2])}.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: pip\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
