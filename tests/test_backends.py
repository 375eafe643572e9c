"""Backends through the real command: failover, cost, and keys that are never shown."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import faults
from tests.servers.faults import Fault
from tests.servers.jina import JinaServer
from tests.servers.openai import OpenAIServer
from tests.test_cli import Shell
from tests.world import paragraphs

pytestmark = pytest.mark.slow

SECRET = "sk-never-shown-0123456789"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made.environ |= {"SCW_SECRET_KEY": SECRET, "SILICONFLOW_API_KEY": SECRET}
    for n in range(40):
        (made.docs / f"{n}.md").write_text(paragraphs(f"topic{n}", words=12), encoding="utf-8")
    return made


@pytest.fixture
def hosts() -> Iterator[tuple[OpenAIServer, OpenAIServer]]:
    with (
        OpenAIServer(SECRET, like="scaleway") as one,
        OpenAIServer(SECRET, like="siliconflow") as two,
    ):
        yield one, two


def pipeline(shell: Shell, *servers: OpenAIServer, more: str = "") -> str:
    """Write a pipeline over Scaleway, then SiliconFlow, and return its name."""
    tables = "".join(
        f'[[embedding.backends]]\nbackend = "{name}"\nbase_url = "{server.url}"\n'
        for name, server in zip(("scaleway", "siliconflow"), servers, strict=False)
    )
    text = (
        'collection = "kb"\n[[sources]]\npath = "docs"\n'
        '[chunking]\nsize = 64\n[bm25]\nlanguages = ["en"]\n'
        f'[embedding]\nmodel = "qwen3-embedding-8b"\ndimension = 256\npatience = 0\n{more}{tables}'
    )
    (shell.home / "p.toml").write_text(text, encoding="utf-8")
    return "p.toml"


def test_next_backend_takes_over_midway_and_nothing_is_embedded_twice(
    shell: Shell, hosts: tuple[OpenAIServer, OpenAIServer]
) -> None:
    one, two = hosts
    one.credit = 3 + 1 + 20  # the canaries, and 20 of the texts
    done = shell("run", pipeline(shell, *hosts), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["documents"]["added"] == 40
    first, second = report["backends"]
    assert first["backend"].startswith("scaleway at http://127.0.0.1:")
    assert (first["texts"], second["texts"]) == (len(one.texts) + 4, len(two.texts) + 3)
    sent = [text.text for text in (*one.texts, *two.texts)]
    assert len(set(sent)) == len(sent) == 40
    assert second["price"] == 0.02
    assert second["cost"] == pytest.approx(second["tokens"] * 0.02 / 1e6)
    assert (first["cost"], report["cost"]) == (None, None)  # a partial sum is not the total
    (warning,) = report["warnings"]
    assert "scaleway" in warning["warning"]
    assert "quota" in warning["warning"]
    found = shell("search", "-p", "p.toml", "topic7", "--mode", "dense", "--limit", "1")
    assert "7.md" in found.stdout, found.stderr


def test_backend_with_another_model_is_refused_and_writes_nothing(
    shell: Shell, hosts: tuple[OpenAIServer, OpenAIServer]
) -> None:
    one, two = hosts
    file = pipeline(shell, *hosts)
    assert shell("run", file).returncode == 0
    before = shell.json("status", "-c", "kb")["chunks"]
    (shell.docs / "new.md").write_text(paragraphs("new", words=12), encoding="utf-8")
    one.credit = 0
    two.impostor = "another-model"
    done = shell("run", file)
    assert done.returncode == 6, done.stderr
    assert "siliconflow" in done.stderr
    assert "other vectors" in done.stderr
    assert "new" not in "".join(text.text for text in two.texts)
    assert shell.json("status", "-c", "kb")["chunks"] == before
    two.impostor = None
    assert shell("run", file).returncode == 0
    # A query through a backend with other vectors is refused as well.
    with OpenAIServer(SECRET, like="siliconflow") as third:
        search_arguments = (
            "search",
            "-c",
            "kb",
            "topic7",
            "--backend",
            "siliconflow",
            "--base-url",
            third.url,
        )
        assert shell(*search_arguments).returncode == 0
        third.impostor = "another-model"
        searched = shell(*search_arguments)
    assert searched.returncode == 6
    assert "other vectors of queries" in searched.stderr


def test_tokens_are_summed_over_runs(shell: Shell) -> None:
    with JinaServer(SECRET) as server:
        options = ("--model", "jina-embeddings-v3", "--dim", "64", "--base-url", server.url)
        key = {"JINA_API_KEY": SECRET}
        first = shell("ingest", "docs", *options, **key)
        assert first.returncode == 0, first.stderr
        so_far = re.search(r"; ([\d,]+) so far of 10,000,000 free with a new account", first.stdout)
        assert so_far is not None, first.stdout
        (shell.docs / "0.md").write_text(paragraphs("changed", words=12), encoding="utf-8")
        second = json.loads(shell("ingest", "docs", *options, "--json", **key).stdout)
        (account,) = second["backends"]
        assert account["tokens_so_far"] == int(so_far[1].replace(",", "")) + account["tokens"]


FAULTS = {
    "wrong key": None,
    "no credit": faults.failing(402),
    "down": faults.failing(503),
    "quotes the key": faults.text(500, f'{{"error": "bad key {SECRET}"}}'.encode()),
    "quotes it in a right answer": faults.text(200, f'{{"data": "{SECRET}"}}'.encode()),
    "quotes it as HTML": faults.text(200, f"<!doctype html><title>{SECRET}</title>".encode()),
    "redirects": Fault(302, body=b"", headers={"Location": f"https://x.test/?k={SECRET}"}),
    "not the answer": faults.nan(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_key_is_not_shown(shell: Shell, fault: Fault | None) -> None:
    """Search everything that a failing run prints with --debug."""
    with OpenAIServer("another" if fault is None else SECRET, like="scaleway") as server:
        server.faults += [fault] * 1000 if fault else []
        done = shell("--debug", "run", pipeline(shell, server))
        checked = shell("--debug", "check", "p.toml", "--json", "--seconds", "1")
    assert done.returncode == 4, done.stderr
    assert "Traceback" in done.stderr
    for printed in (done.stdout, done.stderr, checked.stdout, checked.stderr):
        assert SECRET not in printed


def test_key_from_a_command_or_an_environment_file(
    shell: Shell, hosts: tuple[OpenAIServer, OpenAIServer]
) -> None:
    del shell.environ["SCW_SECRET_KEY"]
    file = pipeline(shell, hosts[0])
    missing = shell("run", file)
    assert missing.returncode == 4
    assert "scaleway needs a key: set SCW_SECRET_KEY" in missing.stderr
    (shell.home / ".env").write_text(f'SCW_SECRET_KEY="{SECRET}"\n', encoding="utf-8")
    read = shell("--env-file", ".env", "run", file)
    assert read.returncode == 0, read.stderr
    (shell.home / "p.toml").write_text(
        'env_file = ".env"\n' + (shell.home / "p.toml").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    assert shell("run", file).returncode == 0
    (shell.home / ".env").unlink()
    lost = shell("run", file)
    assert lost.returncode == 2
    assert "cannot read the environment file" in lost.stderr
    program = shell.home / "key.py"
    program.write_text(f"print('{SECRET}')", encoding="utf-8")
    command = json.dumps([sys.executable, str(program)])
    (shell.docs / "new.md").write_text(paragraphs("new", words=12), encoding="utf-8")
    text = (shell.home / "p.toml").read_text(encoding="utf-8").replace('env_file = ".env"\n', "")
    (shell.home / "p.toml").write_text(text + f"key_command = {command}\n", encoding="utf-8")
    by_program = shell("run", file)
    assert by_program.returncode == 0, by_program.stderr


def test_dry_run_needs_no_key_and_sends_nothing(
    shell: Shell, hosts: tuple[OpenAIServer, OpenAIServer]
) -> None:
    shell.environ = {k: v for k, v in shell.environ.items() if v != SECRET}
    (shell.home / "p.toml").write_text("")
    done = shell("run", pipeline(shell, hosts[1]), "--dry-run", "--json")
    # The only backend is named scaleway but has the other's address: nothing is sent.
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["documents"]["added"] == 40
    assert report["requests"] == 0
    assert report["cost"] is None or report["cost"] > 0
    assert hosts[1].requests == []
