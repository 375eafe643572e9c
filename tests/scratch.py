"""A copy of the package that a test may change, to show what adding a part takes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ragctl


def copy_package(folder: Path) -> Path:
    """Copy the package into `folder` and return the copy, a folder named ragctl."""
    copy = folder / "ragctl"
    # Compiled modules stay valid, as copies keep the times. "*.pyc.*" are being written.
    ignore = shutil.ignore_patterns("*.pyc.*")
    shutil.copytree(Path(ragctl.__file__).parent, copy, ignore=ignore)
    return copy


def run_python(copy: Path, code: str, *, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run `code` with the copied package in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(copy.parent), "RAGCTL_HOME": str(cwd / "home")},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
