"""Every documented exit code, from a real process, with the message that explains it."""

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
"""


class Place:
    """A folder with documents and a pipeline, and the host that it names.

    `apart`: the command runs in a process of its own.
    """

    def __init__(self, home: Path, host: JinaServer, *, apart: bool) -> None:
        self.home = home
        self.apart = apart
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

    def start(self, *words: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*RAGCTL, *words],
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    def __call__(self, *words: str, **environ: str) -> tuple[int, str, str]:
        if not self.apart:
            done = call(*words, environ={**self.environ, **environ}, cwd=Path("/"))
            return done.returncode, done.stdout, done.stderr
        process = self.start(*words, **environ)
        out, err = process.communicate(timeout=PROCESS_SECONDS)
        return process.returncode, out, err

    def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        return self("run", str(self.file), *words, **environ)

    def add(self, toml: str) -> None:
        self.file.write_text(self.file.read_text() + toml)


@pytest.fixture
def place(tmp_path: Path, host: JinaServer) -> Place:
    return Place(tmp_path, host, apart=False)


def _done(place: Place) -> tuple[int, str, str]:
    return place.run()


def _unexpected(place: Place) -> tuple[int, str, str]:
    place.add("[parsing]\nmemory_mb = 1\n")  # no parsing process can start
    return place.run()


def _misspelled(place: Place) -> tuple[int, str, str]:
    place.add("[prune]\nlimt = 3\n")
    return place.run()


def _unreadable(place: Place) -> tuple[int, str, str]:
    (place.docs / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    return place.run()


def _broke(place: Place) -> tuple[int, str, str]:
    place.host.credit = 0
    return place.run()


def _no_store(place: Place) -> tuple[int, str, str]:
    place.file.write_text('store = "http://127.0.0.1:9"\n' + place.file.read_text())
    return place.run()


def _other_size(place: Place) -> tuple[int, str, str]:
    assert place.run()[0] == 0
    place.file.write_text(place.file.read_text().replace("dimension = 64", "dimension = 32"))
    return place.run()


def _emptied(place: Place) -> tuple[int, str, str]:
    assert place.run()[0] == 0
    for path in place.docs.iterdir():
        path.unlink()
    (place.docs / "new.md").write_text("alone")
    return place.run()


def _budget(place: Place) -> tuple[int, str, str]:
    place.add("[budget]\nmax_tokens = 300\n")
    return place.run()


def _pending(place: Place) -> tuple[int, str, str]:
    return place("plan", str(place.file), "--exit-code")


@contextmanager
def _waiting_for_its_host(place: Place) -> Any:
    """Start a run that holds the collection while its embedding host delays the answer."""
    place.host.gate.clear()
    process = place.start("run", str(place.file))
    try:
        until(lambda: place.host.in_flight > 0 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        place.host.gate.set()
        process.kill()
        process.communicate()


def _locked(place: Place) -> tuple[int, str, str]:
    with _waiting_for_its_host(place):
        return place.run()


def _interrupted(place: Place) -> tuple[int, str, str]:
    with _waiting_for_its_host(place) as process:
        process.send_signal(signal.SIGINT)
        place.host.gate.set()
        out, err = process.communicate(timeout=PROCESS_SECONDS)
        return process.returncode, out, err


Way = Callable[[Place], tuple[int, str, str]]
WAYS: dict[int, tuple[Way, str]] = {
    0: (_done, ""),
    1: (_unexpected, "a worker process does not start"),
    2: (_misspelled, "line 14, table [prune]: unknown key 'limt'; did you mean limit?"),
    3: (_unreadable, "failed: bad.pdf: is not a readable PDF"),
    4: (_broke, "Insufficient account balance"),
    5: (_no_store, "no Qdrant at http://127.0.0.1:9"),
    6: (_other_size, "dimension 64 ≠ 32"),
    7: (_emptied, "12 of 12 documents (100%) would be removed"),
    8: (_budget, "the budget of 300 tokens a run has no room for"),
    9: (_locked, "is being written by another run"),
    10: (_pending, ""),
    130: (_interrupted, "interrupted; run again to continue from here"),
}


@pytest.mark.parametrize("code", WAYS)
def test_each_code_is_reached(place: Place, code: int) -> None:
    place.apart = True
    way, said = WAYS[code]
    got, out, err = way(place)
    assert got == code, (out, err)
    assert said in err
    assert "Traceback" not in err
    if not said:
        assert err == ""


@pytest.mark.parametrize("code", [code for code in WAYS if code not in (0, 10, 130, 9)])
def test_the_next_run_after_any_failure_completes_the_work(place: Place, code: int) -> None:
    way, _ = WAYS[code]
    way(place)
    place.host.credit = None
    text = PIPELINE.format(url=place.host.url)
    place.file.write_text(text + "[prune]\nlimit = 100\n")
    for n in range(12):
        (place.docs / f"{n}.md").write_text(paragraphs(f"text {n}", f"more {n}"))
    (place.docs / "bad.pdf").unlink(missing_ok=True)
    got, _, err = place.run()
    assert (got, err) == (0, "")
    got, out, err = place("verify", str(place.file))
    assert got == 0, (out, err)


def test_every_code_of_the_table_is_reached() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    codes = {c.exit_code for c in classes if issubclass(c, errors.RagctlError)}
    assert WAYS.keys() == codes | {0}


def test_a_run_may_wait_for_another(place: Place) -> None:
    with _waiting_for_its_host(place) as first:
        second = place.start("run", str(place.file), "--wait")
        assert second.stderr is not None
        line = second.stderr.readline()
        assert "waiting for it to end" in line
        place.host.gate.set()
        assert first.wait(PROCESS_SECONDS) == 0
        out, err = second.communicate(timeout=PROCESS_SECONDS)
        assert second.returncode == 0, err
        assert "12 unchanged" in out


def test_ctrl_c_ends_the_wait(place: Place) -> None:
    with _waiting_for_its_host(place):
        second = place.start("run", str(place.file), "--wait")
        assert second.stderr is not None
        assert "waiting for it to end" in second.stderr.readline()
        second.send_signal(signal.SIGINT)
        assert second.wait(within(10)) == 130
        second.communicate()


def test_failures_within_fail_on_are_tolerated(place: Place) -> None:
    (place.docs / "bad.pdf").write_bytes(b"%PDF-1.7 rubbish")
    assert place.run("--fail-on", "50", "--quiet") == (0, "", "")
    place.add("[policy]\nfail_on = 50\n")
    got, out, err = place.run()
    assert got == 0
    assert "1 failed" in out
    assert "failed: bad.pdf" in err
    got, _, err = place.run("--fail-on", "5", "--quiet")
    assert got == 3
    assert "failed: bad.pdf" in err
