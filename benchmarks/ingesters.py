"""The systems that ingest a folder: how each is started, and what it has stored."""

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ideal
from benchmarks.checks import Stored
from benchmarks.measure import Sample, WrongResult, process
from benchmarks.peers import environment

_PIPELINE = Path(__file__).with_name("pipeline.toml")
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ingester(ABC):
    """A system that ingests `folder` into `store` with the embedding server at `url`."""

    name: str
    folder: Path
    store: Path
    url: str

    @abstractmethod
    def run(self) -> Sample:
        """Ingest in a process of its own."""

    @abstractmethod
    def points(self) -> Iterator[Stored]:
        """Yield all points of the store."""


@dataclass(frozen=True)
class Ragctl(Ingester):
    """`python -m ragctl run`, as cron starts it.

    `extra` is added to the pipeline file. `server` is the address of a Qdrant server that is used
    instead of the folder `store`.
    """

    extra: str = ""
    server: str = ""

    def run(self) -> Sample:
        return process(self.command(), env=self.env())

    def command(self) -> list[str]:
        return [sys.executable, "-m", "ragctl", "run", str(self.pipeline())]

    def env(self) -> dict[str, str]:
        """Return variables that hide the user's own settings."""
        return {"RAGCTL_CONFIG": str(self.store.with_suffix(".none")), "PYTHONPATH": str(_ROOT)}

    def location(self) -> str:
        return self.server or str(self.store)

    def pipeline(self) -> Path:
        text = _PIPELINE.read_text("utf-8") + self.extra
        values = {"STORE": self.location(), "FOLDER": str(self.folder), "URL": self.url}
        for word, value in values.items():
            text = text.replace(f'"{word}"', json.dumps(value))
        self.store.parent.mkdir(parents=True, exist_ok=True)
        path = self.store.with_suffix(".toml")
        path.write_text(text, "utf-8")
        return path

    def points(self) -> Iterator[Stored]:
        from ragctl.stores import open_store

        with closing(open_store(self.location(), environ={})) as store:
            collection = store.open("docs")
            assert collection is not None
            with closing(collection):
                for point in collection.scroll(vectors=True):
                    if point.dense is not None:
                        payload = point.payload
                        texts = [str(payload[name]) for name in ("source", "text", "text_hash")]
                        path = texts[0].partition("/")[2]  # below the source
                        yield Stored(path, texts[1], texts[2], point.dense)


@dataclass(frozen=True)
class Ideal(Ingester):
    def run(self) -> Sample:
        self.store.mkdir(parents=True, exist_ok=True)
        paths = [str(self.folder), str(self.store)]
        command = [sys.executable, "-m", "benchmarks.ideal", "ingest", *paths, self.url]
        return process(command, env={"PYTHONPATH": str(_ROOT)})

    def points(self) -> Iterator[Stored]:
        for point in ideal.dump(self.store):
            yield _stored(point)


@dataclass(frozen=True)
class Peer(Ingester):
    """A script of `peers/`, run in the environment of the peers."""

    script: str = ""

    def run(self) -> Sample:
        self.store.mkdir(parents=True, exist_ok=True)
        return process(
            [*self._command("ingest"), str(self.folder), str(self.store), self.url],
            env=environment.variables(),
        )

    def points(self) -> Iterator[Stored]:
        variables = {**os.environ, **environment.variables()}
        command = [*self._command("dump"), str(self.folder), str(self.store), self.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as dumping:
            assert dumping.stdout is not None
            for line in dumping.stdout:
                yield _stored(json.loads(line))
        if dumping.returncode:
            raise WrongResult(f"{self.name}: its store cannot be read")

    def _command(self, action: str) -> Sequence[str]:
        script = Path(__file__).parent / "peers" / self.script
        return [str(environment.python()), str(script), action]


def _stored(point: dict[str, Any]) -> Stored:
    vector = np.asarray(point["vector"], np.float32)
    return Stored(point["source"], point["text"], point["sent"], vector)


PEERS = {
    "LangChain index()": "with_langchain.py",
    "LlamaIndex IngestionPipeline": "with_llama_index.py",
    "Haystack Pipeline": "with_haystack.py",
}


def all_ingesters(folder: Path, stores: Path, url: str, *, peers: bool = True) -> list[Ingester]:
    """Return ragctl, the ideal, and the peers."""
    sides: list[Ingester] = [
        Ragctl("ragctl", folder, stores / "ragctl", url),
        Ideal("bare ideal", folder, stores / "ideal", url),
    ]
    if peers:
        named = enumerate(PEERS.items())
        sides += [Peer(name, folder, stores / f"peer{n}", url, s) for n, (name, s) in named]
    return sides
