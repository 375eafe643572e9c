"""The commands on the pages of these backends work, in their order, with random weights."""

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest

from tests.command import call
from tests.real_servers.conftest import Infinity, need_server
from tests.real_servers.environments import INFINITY, LITELLM, LLAMA_CPP
from tests.real_servers.handbook import ROOT
from tests.real_servers.processes import ServerProcess
from tests.real_servers.test_llama_cpp import HERE, write_gguf
from tests.runtime_models import sentence_model
from tests.test_docs import blocks

SERVERS = {"infinity_emb": INFINITY, "litellm": LITELLM, "llama-server": LLAMA_CPP}
READY = {"infinity_emb": "/health", "litellm": "/health/liveliness", "llama-server": "/health"}
HOSTS = {"infinity_emb": ("--host", "127.0.0.1"), "litellm": ("--host", "127.0.0.1")}
SECRET = "sk-4f7c21-of-the-tests-and-long-enough-to-start"


@dataclass
class Page:
    """A page that is executed in a folder with the sources that it names."""

    name: str
    folder: Path
    changes: Mapping[str, str] = field(default_factory=dict)  # of what cannot be reached here

    def __post_init__(self) -> None:
        self.environ = {k: v for k, v in os.environ.items() if not k.endswith("_KEY")}
        self.environ |= {"RAGCTL_HOME": str(self.folder / "store"), "COLUMNS": "200"}
        for name in ("handbook", "sample_docs"):
            (self.folder / name).mkdir()
            (self.folder / name / "policy.md").write_text("# Refunds\n\nWithin 30 days.\n")
        shutil.copytree(ROOT / "pipelines", self.folder / "pipelines")

    def text(self, block: str) -> str:
        for before, after in self.changes.items():
            block = block.replace(before, after)
        return block

    def commands(self) -> Iterator[list[str]]:
        """Return the words of each command, with the variables that the ones before set."""
        page = ROOT / "docs" / "backends" / self.name
        for block in blocks(page, "sh"):
            for line in self.text(block).replace("\\\n", " ").splitlines():
                words = shlex.split(Template(line).safe_substitute(self.environ), comments=True)
                if words:
                    yield words

    def execute(self, running: ExitStack) -> int:
        """Run every command; return how many of ragctl there were."""
        count, started = 0, None
        for program, *words in self.commands():
            if program == "export":
                self.environ |= {
                    name: text.replace("sk-…", SECRET).replace("…", "none")
                    for name, _, text in (word.partition("=") for word in words)
                }
            elif program in SERVERS:
                if started != words:
                    self.start(running, program, words)
                started = words
            else:
                assert program == "ragctl", program
                done = call(*words, environ=self.environ, cwd=self.folder)
                assert done.returncode == 0, (words, done.stdout, done.stderr)
                count += 1
        return count

    def start(self, running: ExitStack, program: str, words: list[str]) -> None:
        need_server(SERVERS[program])
        command: list[object] = [SERVERS[program].path()]
        if program == "llama-server":
            command.append(HERE / "llama_server.py")
        port = words[words.index("--port") + 1]
        server = ServerProcess(
            [*command, *words, *HOSTS.get(program, ())],
            f"http://127.0.0.1:{port}{READY[program]}",
            self.folder,
            self.environ | {"INFINITY_BETTERTRANSFORMER": "false", "INFINITY_COMPILE": "false"},
        )
        running.enter_context(server)


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_infinity(running: ExitStack, tmp_path: Path) -> None:
    need_server(INFINITY)
    (tmp_path / "BAAI").mkdir()
    sentence_model(tmp_path / "BAAI" / "bge-m3", 1024, context=512)
    assert Page("infinity.md", tmp_path).execute(running) == 5


def test_llama_cpp(running: ExitStack, tmp_path: Path) -> None:
    need_server(LLAMA_CPP)
    write_gguf(tmp_path / "Qwen3-Embedding-0.6B-Q8_0.gguf", 1024, 8192, 1)
    assert Page("llama-cpp.md", tmp_path).execute(running) == 3


def test_litellm(running: ExitStack, tmp_path: Path) -> None:
    """The host behind it is an infinity."""
    need_server(LITELLM)
    weights = sentence_model(tmp_path / "weights", 4096, context=512)
    host = Infinity(weights, tmp_path)
    host.serve(weights, "Qwen/Qwen3-Embedding-8B")
    running.enter_context(host)
    changes = {"https://api.siliconflow.com/v1": host.url, "router.example": "127.0.0.1"}
    page = Page("router.md", tmp_path, changes)
    config = blocks(ROOT / "docs" / "backends" / "router.md", "yaml")[0]
    (tmp_path / "config.yaml").write_text(page.text(config), encoding="utf-8")
    assert page.execute(running) == 4
