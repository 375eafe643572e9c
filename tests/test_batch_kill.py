"""Batch runs killed at any point: no text is ever submitted twice, and all are indexed."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ragctl.index.run import Run
from ragctl.pipeline import read_pipeline
from ragctl.stores import is_server, open_store
from tests.servers.batch import Kill, OpenAIBatch
from tests.servers.qdrant import QdrantFacade
from tests.waiting import PROCESS_SECONDS
from tests.world import paragraphs

pytestmark = pytest.mark.slow

KEY = "sk-" + "k" * 40
PIPELINE = """
store = "{store}"
collection = "docs"
[[sources]]
path = "docs"
[embedding]
model = "text-embedding-3-small"
dimension = 64
batch = true
base_url = "{url}"
[chunking]
size = 64
[bm25]
languages = ["en"]
[parsing]
workers = 1
"""


class Nights:
    """A folder, a host and a pipeline; each run is a process of its own."""

    def __init__(self, folder: Path, store: str, host: OpenAIBatch) -> None:
        self.folder, self.store, self.host = folder, store, host
        (folder / "docs").mkdir(exist_ok=True)
        (folder / "p.toml").write_text(PIPELINE.format(store=store, url=host.url))
        for n in range(4):
            text = paragraphs(*(f"text {n} {k}" for k in range(5)))
            (folder / "docs" / f"{n}.md").write_text(text)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ragctl", "run", "p.toml", "--quiet", "--wait"],
            cwd=self.folder,
            env={**os.environ, "OPENAI_API_KEY": KEY, "RAGCTL_HOME": str(self.folder / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run(self, *, hours: float = 0.0) -> None:
        """Run to the end, in this process, as if some hours later."""
        environ = {"OPENAI_API_KEY": KEY, "RAGCTL_HOME": str(self.folder / "home")}
        pipeline = read_pipeline(self.folder / "p.toml", environ)
        with closing(open_store(pipeline.store, environ={})) as store:
            run = Run(replace(pipeline, wait=True), store, pipeline.environ)
            now = run.clock()
            run.clock = lambda: now + 3600 * hours
            assert run.ingest().failures == []

    def run_killed(self, pattern: str, *, before: bool) -> None:
        """Run until a request arrives at the host, or is answered, and die there."""
        with self.running() as process:
            self.host.kill = Kill(pattern, process.pid, before=before)
            process.communicate(timeout=PROCESS_SECONDS)
            assert self.host.kill.pid == 0, f"no request matched {pattern}"
            assert process.returncode == -9
        self.host.kill = None

    def finish(self) -> None:
        """Run, let the host work, and run again, until everything is indexed."""
        for number in range(1, 5):
            self.run(hours=number)
            self.host.work()
            if self.indexed() == 20 and not self.open_jobs():
                break

    def indexed(self) -> int:
        with closing(open_store(self.store, environ={})) as store:
            found = store.open("docs")
            if found is None:
                return 0
            with closing(found):
                return found.count()

    def open_jobs(self) -> int:
        with closing(open_store(self.store, environ={})) as store:
            found = store.open("docs")
            if found is None:
                return 0
            with closing(found):
                return len(found.notes().get("batches", []))

    def check(self) -> None:
        """Every text was submitted once, and is indexed; nothing is left anywhere."""
        assert sorted(self.host.submitted) == sorted(set(self.host.submitted))
        assert len(self.host.submitted) == 20
        assert self.indexed() == 20
        assert self.open_jobs() == 0
        assert self.host.texts == [] or {t.text for t in self.host.texts} <= set(
            self.host.submitted
        )


@pytest.fixture
def nights(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nights]:
    with OpenAIBatch(KEY) as host:
        if request.param == "embedded":
            yield Nights(tmp_path, str(tmp_path / "store"), host)
            return
        with QdrantFacade() as facade:
            made = Nights(tmp_path, facade.url, host)
            assert is_server(made.store)
            yield made


SUBMITTING = [
    ("POST /v1/embeddings", True),  # the canary, before anything is noted
    ("POST /v1/files", True),  # noted, not uploaded
    ("POST /v1/files", False),  # uploaded, not noted
    ("POST /v1/batches", False),  # begun, and not noted
    (r"GET /v1/batches\?", True),  # not found again yet
    (r"GET /v1/batches\?", False),  # found, and not noted
]
COLLECTING = [
    ("GET /v1/batches/", True),
    ("GET /v1/files/", True),
    ("GET /v1/files/", False),  # read, not written
    ("DELETE /v1/files/", True),  # written and forgotten
]


@pytest.mark.parametrize(
    ("nights", "submitting", "collecting"),
    [
        ("embedded", SUBMITTING[2:5], COLLECTING[2:]),
        pytest.param("embedded", SUBMITTING, COLLECTING, marks=pytest.mark.soak),
        pytest.param("server", SUBMITTING, COLLECTING, marks=pytest.mark.soak),
    ],
    indirect=["nights"],
)
def test_runs_killed_at_one_request_after_the_other(
    nights: Nights, submitting: list[tuple[str, bool]], collecting: list[tuple[str, bool]]
) -> None:
    for pattern, before in submitting:
        nights.run_killed(pattern, before=before)
        assert len(nights.host.submitted) in (0, 20)
    nights.host.work()
    for pattern, before in collecting:
        nights.run_killed(pattern, before=before)
    nights.finish()
    nights.check()


@pytest.mark.parametrize(
    "nights", ["server", pytest.param("embedded", marks=pytest.mark.soak)], indirect=True
)
def test_a_run_killed_before_the_host_was_asked_to_begin(nights: Nights) -> None:
    """For some minutes the job may still appear; then its file is deleted, and it cannot."""
    nights.run_killed("POST /v1/batches", before=True)
    nights.run()
    assert nights.host.submitted == []
    assert len(nights.host.files) == 1
    nights.finish()
    nights.check()


@pytest.mark.soak
@pytest.mark.parametrize("nights", ["embedded", "server"], indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_runs_killed_at_random_times(nights: Nights, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(25):
        with nights.running() as process:
            timer = threading.Timer(rng.uniform(0.3, 4.0), process.kill)
            timer.start()
            process.communicate(timeout=PROCESS_SECONDS)
            timer.cancel()
        if number % 4 == 3:
            nights.host.work()
    nights.finish()
    nights.check()
