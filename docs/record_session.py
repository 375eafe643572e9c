"""Record the terminal session at the top of README.md.

`python docs/record_session.py` runs the commands on the sample documents, in a temporary home, and
prints the session; with `--write` it replaces the one in README.md. `tests/test_readme.py` compares
the two, apart from times.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- session -->\n```console\n)(.*?)(```\n<!-- end -->)", re.DOTALL)

INSTALL = "pip install --quiet ."  # shown, not run: .ci/run runs it in a fresh environment
COMMANDS = (
    "ragctl ingest sample_docs",
    "ragctl ingest sample_docs",
    'ragctl search "how long is a firmware version supported?" --limit 1',
)


def record() -> str:
    """Run every command and return the session: each command line with its output below."""
    session = f"$ {INSTALL}\n"
    with tempfile.TemporaryDirectory() as home:
        for command in COMMANDS:
            session += f"$ {command}\n{_run(command, home)}"
    return session


def _run(command: str, home: str) -> str:
    """Return what a command prints, on both streams. Raise CalledProcessError if it fails."""
    _, *words = shlex.split(command)
    environ = {**os.environ, "RAGCTL_HOME": home, "RAGCTL_CONFIG": home, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "ragctl", *words],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\n") + "\n"


def main() -> None:
    """Print the session, or write it into README.md."""
    session = record()
    if sys.argv[1:] != ["--write"]:
        sys.stdout.write(session)
        return
    text = README.read_text(encoding="utf-8")
    README.write_text(
        BLOCK.sub(lambda found: found[1] + session + found[3], text), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
