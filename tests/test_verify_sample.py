"""`ragctl verify` embeds a sample of the stored texts again."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.command import call
from tests.servers.host import CANARIES, Job
from tests.servers.jina import JinaServer
from tests.world import DIM, KEY, paragraphs

Command = Callable[..., CompletedProcess[str]]


class Swapped(JinaServer):
    """A host whose model can be swapped so that only the canary texts still show the old one."""

    swapped = False

    def parse(self, body: Any) -> Job:
        job = super().parse(body)
        own = not self.swapped or all(text.text in CANARIES for text in job.texts)
        return (
            job if own else replace(job, texts=[text._replace(side="query") for text in job.texts])
        )


@pytest.fixture
def host() -> Iterator[Swapped]:
    with Swapped(KEY) as server:
        yield server


@pytest.fixture
def ragctl(tmp_path: Path) -> Command:
    environ = {name: text for name, text in os.environ.items() if not name.endswith("_KEY")}
    environ |= {"RAGCTL_HOME": str(tmp_path / "store"), "JINA_API_KEY": KEY}

    def run(*words: str, **more: str) -> CompletedProcess[str]:
        return call(*words, environ={**environ, **more}, cwd=tmp_path)

    return run


def ingest(ragctl: Command, host: Swapped, folder: Path) -> None:
    docs = folder / "docs"
    docs.mkdir()
    for number in range(6):
        texts = (f"a{number} {n}" for n in range(4))
        (docs / f"{number}.md").write_text(paragraphs(*texts), encoding="utf-8")
    model = ("--model", "jina-embeddings-v3", "--dim", str(DIM), "--base-url", host.url)
    done = ragctl("ingest", "docs", *model, "--chunk-size", "64", "--language", "en")
    assert done.returncode == 0, done.stderr


def test_vectors_of_another_model_are_found(ragctl: Command, host: Swapped, tmp_path: Path) -> None:
    host.swapped = True
    ingest(ragctl, host, tmp_path)
    host.swapped = False
    host.requests.clear()
    done = ragctl("verify", "--offline")
    assert (done.returncode, len(host.requests)) == (0, 0)
    done = ragctl("verify")
    assert done.returncode == 3
    assert re.search(r"model: docs/\d\.md: chunk \d: the model makes another vector", done.stdout)
    assert "ragctl migrate docs --embed-again" in done.stdout
    assert sum(len(request.body["input"]) for request in host.requests) == 12 + 3
    done = ragctl("migrate", "docs", "--embed-again")
    assert done.returncode == 0, done.stderr
    done = ragctl("verify")
    assert done.returncode == 0, done.stdout


def test_verify_goes_on_without_the_model(ragctl: Command, host: Swapped, tmp_path: Path) -> None:
    ingest(ragctl, host, tmp_path)
    done = ragctl("verify", JINA_API_KEY="")
    assert done.returncode == 0
    assert "the stored vectors were not compared with the model: jina" in done.stderr
    assert "no problems found" in done.stdout


def test_advice_names_the_pipeline_and_what_can_help(ragctl: Command, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("The pump is in the cellar.", encoding="utf-8")
    (docs / "bad.docx").write_bytes(b"no zip archive")
    (tmp_path / "my p.toml").write_text('[[sources]]\npath = "docs"\n', encoding="utf-8")
    assert ragctl("run", "my p.toml").returncode == 3
    done = ragctl("verify", "my p.toml")
    assert done.returncode == 3
    assert "or exclude them: ragctl failures -c docs" in done.stdout
    assert "--repair" not in done.stdout
    (docs / "bad.docx").unlink()
    (docs / "a.md").write_text("The pump is in the garden.", encoding="utf-8")
    done = ragctl("verify", "my p.toml")
    assert "repair with: ragctl verify 'my p.toml' --repair" in done.stdout
