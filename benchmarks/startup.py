"""Start-up: help and one-shot searches, compared with the help of an empty typer program.

Whole processes. The empty program has as many commands as ragctl, each with one
option and no code. Searches are of the sample documents, in 450 chunks at 1,024 dimensions,
embedded, and on a local test server that uses qdrant-client's in-memory engine.
"""

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Subject, cpus, interleave, process, ratio, walls
from benchmarks.passages import SAMPLES
from benchmarks.table import Section, versions
from ragctl.cli.commands import COMMANDS
from tests.servers.qdrant import QdrantFacade

_QUESTION = "how long is hourly data kept?"
_RAGCTL = str(Path(sys.executable).with_name("ragctl"))
MIN_ROUNDS = 15  # the runs are short


def run(runs: int) -> Section:
    with (
        tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder,
        QdrantFacade() as server,
    ):
        empty = Path(folder) / "empty.py"
        empty.write_text(_empty(), encoding="utf-8")
        stores = [str(Path(folder) / "store"), server.url]
        for store in stores:
            process([_RAGCTL, "ingest", str(SAMPLES), "--store", store, "--dim", "1024", "--quiet"])
        search = [_RAGCTL, "search", _QUESTION, "--store"]
        sides = [
            _side("empty --help", [sys.executable, str(empty), "--help"]),
            _side("ragctl --help", [_RAGCTL, "--help"]),
            _side("ragctl search --help", [_RAGCTL, "search", "--help"]),
            _side("ragctl search, embedded", [*search, stores[0]]),
            _side("import qdrant_client", [sys.executable, "-c", "import qdrant_client"]),
            _side("ragctl search, server", [*search, stores[1]]),
        ]
        found = interleave(sides, max(runs, MIN_ROUNDS))
    base = [sample.cpu for sample in found["empty --help"]]
    rows = [
        (
            f"`{name}`",
            f"{walls(samples):.2f}",
            f"{cpus(samples):.2f}",
            f"{ratio([sample.cpu for sample in samples], base):.2f}",
        )
        for name, samples in found.items()
    ]
    return Section(
        ("", "wall, s", "CPU, s", "CPU ÷ `empty --help`"),
        rows,
        before=[_method(__doc__)],
        versions=versions("typer", "rich", "qdrant-client", "qdrant-edge-py"),
    )


def _side(name: str, command: Sequence[str]) -> Subject:
    return Subject(name, partial(process, command))


def _empty() -> str:
    commands = "\n\n".join(
        f"@app.command({name!r})\ndef command_{number}(option: str = '') -> None:\n"
        f"    {place.line!r}"
        for number, (name, place) in enumerate(COMMANDS.items())
    )
    return f"import typer\n\napp = typer.Typer()\n\n{commands}\n\napp()\n"


def _method(docstring: str | None) -> str:
    """Return the text of a docstring after its first paragraph, as one paragraph."""
    return " ".join((docstring or "").partition("\n\n")[2].split())
