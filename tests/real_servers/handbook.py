"""A small folder of documents, and ragctl run on it against one server."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np

from ragctl.collection.text import embedded_text
from ragctl.embedding.base import Vectors
from tests.command import call
from tests.real_servers.weights import cosines

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 240
_SUBJECTS = ("pump", "filter", "sensor", "valve", "meter", "boiler", "fan", "heater")


@dataclass
class Handbook:
    """A pipeline of the folder `docs`, with its collection in `store`, both under `folder`."""

    folder: Path
    backend: str
    url: str
    model: str = "all-minilm-l6-v2"
    row: str = ""  # lines of the backend's row in the pipeline
    keys: str = ""  # more lines of [embedding]
    tables: str = ""  # more tables of the pipeline
    chunk_size: int = 64
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "docs").mkdir(parents=True)

    def write(self, documents: int, chunks: int = 2) -> None:
        """Write documents of a few chunks each, no two of them alike."""
        for number in range(documents):
            parts = [
                f"## Part {part}\n\nThe {_SUBJECTS[(number + part) % 8]} number {number}-{part} "
                f"is inspected every {number + 2} months by technician {part * 7 + number}.\n"
                for part in range(chunks)
            ]
            self.add(f"{number:03}.md", f"# Manual {number}\n\n" + "\n".join(parts))

    def add(self, name: str, text: str) -> None:
        (self.folder / "docs" / name).write_text(text, encoding="utf-8")

    @property
    def file(self) -> Path:
        """Write the pipeline file and return its path."""
        path = self.folder / "pipeline.toml"
        path.write_text(
            f"""collection = "docs"
store = "{self.folder / "store"}"

[bm25]
languages = ["en"]
[[sources]]
path = "docs"
[chunking]
size = {self.chunk_size}
[embedding]
model = "{self.model}"
backend = "{self.backend}"
base_url = "{self.url}"
{self.keys}
[backends."{self.backend}"]
{self.row}
{self.tables}
""",
            encoding="utf-8",
        )
        return path

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.endswith("_KEY")}
        return {
            **kept,
            "RAGCTL_HOME": str(self.folder / "store"),
            "RAGCTL_CONFIG": str(self.folder / "config"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            **self.environ,
        }

    def ragctl(self, *words: str) -> "CompletedProcess[str]":
        """Run a command in this process."""
        return call(*words, environ=self.variables, cwd=self.folder)

    def run(self, *words: str) -> "CompletedProcess[str]":
        return self.ragctl("run", str(self.file), *words)

    def search(self, *words: str) -> "CompletedProcess[str]":
        return self.ragctl("search", "-p", str(self.file), *words)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a run in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ragctl", "run", str(self.file), *words],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stored(self) -> tuple[list[str], Vectors]:
        """Return the texts that were embedded, and their vectors."""
        done = self.ragctl("export", "docs", "-")
        assert done.returncode == 0, done.stderr
        points = [json.loads(line) for line in done.stdout.splitlines()]
        payloads = [point["payload"] for point in points]
        texts = [embedded_text(each["text"], tuple(each["heading"])) for each in payloads]
        return texts, np.array([point["dense"] for point in points], np.float32)

    def check_vectors(self) -> int:
        """Check that every stored vector is the model's own; return how many there are."""
        texts, found = self.stored()
        assert f"{cosines(texts, found).min():.4f}" == "1.0000"
        return len(texts)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a run; return its exit code and its output. A run that hangs is killed."""
    try:
        output, _ = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, output
