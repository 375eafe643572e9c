"""A run with nothing to do: ragctl on 1,200 and 100,000 files, compared with `git status`.

RAGCTL_BENCHMARK_FILES: the larger number of files (default 100,000).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import corpus
from benchmarks.embedding_server import EmbeddingServer, start_server
from benchmarks.ingesters import Ragctl
from benchmarks.measure import Subject, WrongResult, cpus, interleave, peaks, process, ratio, walls
from benchmarks.table import Section, versions

HEADER = ("files", "", "wall, s", "CPU, s", "÷ git status", "peak, MB", "files opened")
DEFAULT_FILES = 100_000
_DEFAULT_GIT_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def run(runs: int) -> Section:
    many = int(os.environ.get("RAGCTL_BENCHMARK_FILES", DEFAULT_FILES))
    with (
        tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder,
        start_server() as server,
    ):
        work = Path(folder)
        folders = [corpus.write_real(work / "few"), corpus.write_generated(work / "many", many)]
        rows = [row for documents in folders for row in _measure(documents, server, runs)]
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True)
    return Section(
        HEADER,
        rows,
        before=[
            f"Nothing has changed since the last run; whole processes, medians of {runs} runs "
            "(minimum–maximum), files in the page cache. `git status` runs in the same folder, "
            "with all files committed and default settings. Files opened: in that folder, counted "
            "once with strace, if it is installed.",
        ],
        versions={**versions("ragctl", "qdrant-edge-py"), "git": git.stdout.split()[-1]},
    )


def _measure(documents: Path, server: EmbeddingServer, runs: int) -> list[list[str]]:
    """Measure ragctl and git on one folder, interleaved."""
    repository = documents.with_name(f"{documents.name}.git")
    _commit(documents, repository)
    ingester = Ragctl(
        "ragctl", documents, documents.with_name(f"{documents.name}-store"), server.url
    )
    count = len(corpus.files(documents))
    print(f"{count:,} files: first ingest", file=sys.stderr, flush=True)
    ingester.run()

    def check() -> None:
        if texts := server.record().texts:
            raise WrongResult(f"ragctl: {len(texts)} texts were sent though nothing had changed")

    git = _git(documents, repository, "status", "--porcelain")
    sides = [
        Subject("ragctl", ingester.run, server.reset, check),
        Subject("git status", lambda: process(git, env=_DEFAULT_GIT_SETTINGS)),
    ]
    found = interleave(sides, runs, notify=lambda line: print(line, file=sys.stderr, flush=True))
    opened = _count_opened_files(ingester, documents)
    if opened:
        raise WrongResult(f"ragctl: {opened} files were opened though nothing had changed")
    base = [sample.wall for sample in found["git status"]]
    return [
        [
            f"{count:,}" if name == "ragctl" else "",
            name,
            f"{walls(samples):.2f}",
            f"{cpus(samples).median:.2f}",
            f"{ratio([sample.wall for sample in samples], base):.2f}",
            f"{peaks(samples).median:.0f}",
            ("not measured" if opened is None else str(opened)) if name == "ragctl" else "",
        ]
        for name, samples in found.items()
    ]


def _git(documents: Path, repository: Path, *words: str) -> list[str]:
    return ["git", f"--git-dir={repository}", f"--work-tree={documents}", *words]


def _commit(documents: Path, repository: Path) -> None:
    me = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*me, "commit", "-q", "-m", "all files"]):
        command = _git(documents, repository, *words)
        subprocess.run(command, env={**os.environ, **_DEFAULT_GIT_SETTINGS}, check=True)


def _count_opened_files(ingester: Ragctl, documents: Path) -> int | None:
    """Return how many files of the folder a run opens; None if strace is not installed."""
    if not (strace := shutil.which("strace")):
        return None
    log = documents.with_name("strace.log")
    traced = [strace, "-f", "-q", "-y", "-e", "trace=open,openat,openat2", "-o", str(log)]
    subprocess.run(
        [*traced, *ingester.command()],
        env={**os.environ, **ingester.env()},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return sum(f"<{documents}/" in line and "O_DIRECTORY" not in line for line in lines)
