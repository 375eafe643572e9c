"""Recorded sessions: the documentation shows what commands print on a terminal.

A block of README.md or docs/*.md after a comment is such a session:

    <!-- session 80x24; after: ragctl ingest sample_docs -->
    ```console
    $ ragctl search valve
    ```

The comment has the size of the terminal, and commands that are run before and not shown, with ";"
between two of them. The lines that begin with "$ ragctl" are run, and what they print stands below
them. Other lines with "$ " are shown and not run. `python -m tests.sessions` writes the output of
all sessions, and `tests/test_sessions.py` compares it.

The commands run in a folder with the sample documents and pipelines. All pages share one store,
README.md first, the others in order of their names.
"""

import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.terminal import PROMPT, render

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(
    r"(?P<head><!-- session (?P<columns>\d+)x(?P<rows>\d+)(?:; after: (?P<before>[^>]+?))? -->\n"
    r"```console\n)(?P<shown>.*?)(?P<end>^```$)",
    re.DOTALL | re.MULTILINE,
)
COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)
FOLDERS = ("sample_docs", "pipelines")
VARYING = (  # what differs from one recording to the next
    (re.compile(r"\d+\.\d s\b"), "N s"),
    (re.compile(r"\d+ requests"), "N requests"),
)


def comparable(text: str) -> str:
    """Return a text with the parts that vary replaced."""
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return text


def recorded_pages() -> Iterator[tuple[Path, str, str]]:
    """Yield each page with sessions: its text, and the text with its sessions recorded again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        folder.mkdir()
        for linked in FOLDERS:
            (folder / linked).symlink_to(ROOT / linked)
        environ = _environ(Path(name) / "home")
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            if BLOCK.search(text):
                yield page, text, BLOCK.sub(lambda block: _recorded(block, environ, folder), text)


def _environ(home: Path) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAGCTL", "QDRANT")) and not name.endswith("_KEY")
    }
    return {**own, "RAGCTL_HOME": str(home), "RAGCTL_CONFIG": str(home / "none")}


def _recorded(block: re.Match[str], environ: Mapping[str, str], folder: Path) -> str:
    """Return a block with the output of its commands."""
    size = int(block["columns"]), int(block["rows"])
    for command in filter(None, (block["before"] or "").split(";")):
        _output(command.strip(), size, environ, folder)
    shown = "".join(
        f"$ {command}\n{_output(command, size, environ, folder)}"
        for command in COMMAND.findall(block["shown"])
    )
    if comparable(shown) == comparable(block["shown"]):
        shown = block["shown"]  # without a change of times alone
    return f"{block['head']}{shown}{block['end']}"


def _output(command: str, size: tuple[int, int], environ: Mapping[str, str], folder: Path) -> str:
    """Return what a command leaves on a terminal; "" for a command that is not ragctl's."""
    program, *words = shlex.split(command)
    if program != "ragctl":
        return ""
    screen = render(*words, environ=environ, cwd=folder, columns=size[0], rows=size[1])
    assert screen.code == 0, f"{command}\n{screen.all_text}"
    lines = screen.all_text.removesuffix(PROMPT.strip()).split("\n")
    return "".join(f"{line}\n" for line in lines if line) if any(lines) else ""


def main() -> None:
    """Write the sessions of all pages."""
    for page, text, recorded in recorded_pages():
        if recorded != text:
            page.write_text(recorded, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: sessions written")


if __name__ == "__main__":
    main()
