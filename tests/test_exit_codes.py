"""Every documented exit code of a real process, with its message."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ragctl import errors
from tests.command import call
from tests.servers.jina import JinaServer
from tests.waiting import PROCESS_SECONDS, until, within
from tests.world import KEY, paragraphs

pytestmark = pytest.mark.slow

RAGCTL = (sys.executable, "-m", "ragctl")
PIPELINE = """\
collection = "docs"

[[sources]]
path = "docs"

[embedding]
model = "jina-embeddings-v3"
dimension = 64
base_url = "{url}"

[chunking]
size = 64

[bm25]
languages = ["en"]
"""


class Workspace:
    """A folder with documents, a pipeline, and the embedding host of the pipeline.

    With `own_process`, commands run in a process of their own.
    """

    def __init__(self, home: Path, host: JinaServer, *, own_process: bool) -> None:
        self.home = home
        self.own_process = own_process
        self.host = host
        self.docs = home / "docs"
        self.docs.mkdir()
        for n in range(12):
            (self.docs / f"{n}.md").write_text(paragraphs(f"text {n}", f"more {n}"))
        self.file = home / "p.toml"
        self.file.write_text(PIPELINE.format(url=host.url))
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.endswith("_KEY")},
            "RAGCTL_HOME": str(home / "store"),
            "JINA_API_KEY": KEY,
        }

    def start(self, *args: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*RAGCTL, *args],
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    def __call__(self, *args: str, **environ: str) -> tuple[int, str, str]:
        if not self.own_process:
            done = call(*args, environ={**self.environ, **environ}, cwd=Path("/"))
            return done.returncode, done.stdout, done.stderr
        process = self.start(*args, **environ)
        out, err = process.communicate(timeout=PROCESS_SECONDS)
        return process.returncode, out, err

    def run(self, *args: str, **environ: str) -> tuple[int, str, str]:
        return self("run", str(self.file), *args, **environ)

    def add(self, toml: str) -> None:
        self.file.write_text(self.file.read_text() + toml)


@pytest.fixture
def workspace(tmp_path: Path, host: JinaServer) -> Workspace:
    return Workspace(tmp_path, host, own_process=False)


def _successful(workspace: Workspace) -> tuple[int, str, str]:
    return workspace.run()


def _unexpected_error(workspace: Workspace) -> tuple[int, str, str]:
    workspace.add("[parsing]\nmemory_mb = 1\n")  # too little for a parsing process to start
    return workspace.run()


def _misspelled_key(workspace: Workspace) -> tuple[int, str, str]:
    workspace.add("[prune]\nlimt = 3\n")
    return workspace.run()


def _unreadable_document(workspace: Workspace) -> tuple[int, str, str]:
    (workspace.docs / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    return workspace.run()


def _no_credit(workspace: Workspace) -> tuple[int, str, str]:
    workspace.host.credit = 0
    return workspace.run()


def _unreachable_store(workspace: Workspace) -> tuple[int, str, str]:
    workspace.file.write_text('store = "http://127.0.0.1:9"\n' + workspace.file.read_text())
    return workspace.run()


def _other_dimension(workspace: Workspace) -> tuple[int, str, str]:
    assert workspace.run()[0] == 0
    workspace.file.write_text(
        workspace.file.read_text().replace("dimension = 64", "dimension = 32")
    )
    return workspace.run()


def _most_documents_removed(workspace: Workspace) -> tuple[int, str, str]:
    assert workspace.run()[0] == 0
    for path in workspace.docs.iterdir():
        path.unlink()
    (workspace.docs / "new.md").write_text("alone")
    return workspace.run()


def _budget_reached(workspace: Workspace) -> tuple[int, str, str]:
    workspace.add("[budget]\nmax_tokens = 300\n")
    return workspace.run()


def _pending_changes(workspace: Workspace) -> tuple[int, str, str]:
    return workspace("plan", str(workspace.file), "--exit-code")


@contextmanager
def _waiting_run(workspace: Workspace) -> Any:
    """Start a run that holds the lock while its embedding host delays the answer."""
    workspace.host.gate.clear()
    process = workspace.start("run", str(workspace.file))
    try:
        until(lambda: workspace.host.in_flight > 0 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        workspace.host.gate.set()
        process.kill()
        process.communicate()


def _locked_out(workspace: Workspace) -> tuple[int, str, str]:
    with _waiting_run(workspace):
        return workspace.run()


def _interrupted(workspace: Workspace) -> tuple[int, str, str]:
    with _waiting_run(workspace) as process:
        process.send_signal(signal.SIGINT)
        workspace.host.gate.set()
        out, err = process.communicate(timeout=PROCESS_SECONDS)
        return process.returncode, out, err


Scenario = Callable[[Workspace], tuple[int, str, str]]
SCENARIOS: dict[int, tuple[Scenario, str]] = {
    0: (_successful, ""),
    1: (_unexpected_error, "a worker process does not start"),
    2: (_misspelled_key, "line 17, table [prune]: unknown key 'limt'; did you mean limit?"),
    3: (_unreadable_document, "failed: docs/bad.pdf: is not a readable PDF"),
    4: (_no_credit, "Insufficient account balance"),
    5: (_unreachable_store, "no Qdrant at http://127.0.0.1:9"),
    6: (_other_dimension, "dimension 64 ≠ 32"),
    7: (_most_documents_removed, "12 of 12 documents of docs (100%) would be removed"),
    8: (_budget_reached, "the budget of 300 tokens a run has no room for"),
    9: (_locked_out, "is being written by another run"),
    10: (_pending_changes, ""),
    130: (_interrupted, "interrupted; run again to continue from here"),
}


@pytest.mark.parametrize("code", SCENARIOS)
def test_each_exit_code_is_reached_with_its_message(workspace: Workspace, code: int) -> None:
    workspace.own_process = True
    scenario, message = SCENARIOS[code]
    exit_code, out, err = scenario(workspace)
    assert exit_code == code, (out, err)
    assert message in err
    assert "Traceback" not in err
    if not message:
        assert err == ""


@pytest.mark.parametrize("code", [code for code in SCENARIOS if code not in (0, 10, 130, 9)])
def test_the_next_run_after_any_failure_completes_the_work(workspace: Workspace, code: int) -> None:
    scenario, _ = SCENARIOS[code]
    scenario(workspace)
    workspace.host.credit = None
    text = PIPELINE.format(url=workspace.host.url)
    workspace.file.write_text(text + "[prune]\nlimit = 100\n")
    for n in range(12):
        (workspace.docs / f"{n}.md").write_text(paragraphs(f"text {n}", f"more {n}"))
    (workspace.docs / "bad.pdf").unlink(missing_ok=True)
    exit_code, _, err = workspace.run()
    assert (exit_code, err) == (0, "")
    exit_code, out, err = workspace("verify", str(workspace.file))
    assert exit_code == 0, (out, err)


def test_every_exit_code_has_a_scenario() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    codes = {c.exit_code for c in classes if issubclass(c, errors.RagctlError)}
    assert SCENARIOS.keys() == codes | {0}


def test_wait_lets_a_run_wait_for_another(workspace: Workspace) -> None:
    with _waiting_run(workspace) as first:
        second = workspace.start("run", str(workspace.file), "--wait")
        assert second.stderr is not None
        line = second.stderr.readline()
        assert "waiting for it to end" in line
        workspace.host.gate.set()
        assert first.wait(PROCESS_SECONDS) == 0
        out, err = second.communicate(timeout=PROCESS_SECONDS)
        assert second.returncode == 0, err
        assert "12 unchanged" in out


def test_ctrl_c_ends_the_wait(workspace: Workspace) -> None:
    with _waiting_run(workspace):
        second = workspace.start("run", str(workspace.file), "--wait")
        assert second.stderr is not None
        assert "waiting for it to end" in second.stderr.readline()
        second.send_signal(signal.SIGINT)
        assert second.wait(within(10)) == 130
        second.communicate()


def test_failures_within_fail_on_are_tolerated(workspace: Workspace) -> None:
    (workspace.docs / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    assert workspace.run("--fail-on", "50", "--quiet") == (0, "", "")
    workspace.add("[policy]\nfail_on = 50\n")
    exit_code, out, err = workspace.run()
    assert exit_code == 0
    assert "1 failed" in out
    assert "failed: docs/bad.pdf" in err
    exit_code, _, err = workspace.run("--fail-on", "5", "--quiet")
    assert exit_code == 3
    assert "failed: docs/bad.pdf" in err
