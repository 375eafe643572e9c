"""A run with nothing to do: ragctl on 1,200 files and on 100,000, beside `git status`.

RAGCTL_BENCHMARK_FILES sets the greater number.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import corpus
from benchmarks.embedding_server import Running, running
from benchmarks.measure import Side, Wrong, cpus, interleave, peaks, process, ratio, walls
from benchmarks.sides import Ragctl
from benchmarks.table import Section, versions

HEADER = ("files", "", "wall, s", "CPU, s", "÷ git status", "peak, MB", "files opened")
_MANY = 100_000


def run(runs: int) -> Section:
    many = int(os.environ.get("RAGCTL_BENCHMARK_FILES", _MANY))
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, running() as server:
        work = Path(folder)
        folders = [corpus.real(work / "few"), corpus.made(work / "many", many)]
        rows = [row for documents in folders for row in _measure(documents, server, runs)]
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True)
    return Section(
        HEADER,
        rows,
        before=[
            f"Nothing has changed since the last run; whole processes, medians of {runs} runs "
            "(least–greatest), files in the page cache. `git status` looks at the same folder, all "
            "of whose files are committed, with default settings. Files opened: in that folder, "
            "as strace saw it once (where it is installed).",
        ],
        versions={**versions("ragctl", "qdrant-edge-py"), "git": git.stdout.split()[-1]},
    )


def _measure(documents: Path, server: Running, runs: int) -> list[list[str]]:
    """ragctl and git on one folder, in turns."""
    repository = documents.with_name(f"{documents.name}.git")
    _commit(documents, repository)
    who = Ragctl("ragctl", documents, documents.with_name(f"{documents.name}-store"), server.url)
    count = len(corpus.files(documents))
    print(f"{count:,} files: first ingest", file=sys.stderr, flush=True)
    who.run()

    def check() -> None:
        if texts := server.record().texts:
            raise Wrong(f"ragctl: {len(texts)} texts were sent though nothing had changed")

    git = _git(documents, repository, "status", "--porcelain")
    sides = [
        Side("ragctl", who.run, server.reset, check),
        Side("git status", lambda: process(git)),
    ]
    found = interleave(sides, runs, telling=lambda line: print(line, file=sys.stderr, flush=True))
    opened = _opened(who, documents)
    if opened:
        raise Wrong(f"ragctl: {opened} files were opened though nothing had changed")
    base = [sample.wall for sample in found["git status"]]
    return [
        [
            f"{count:,}" if name == "ragctl" else "",
            name,
            f"{walls(samples):.2f}",
            f"{cpus(samples).median:.2f}",
            f"{ratio([sample.wall for sample in samples], base):.2f}",
            f"{peaks(samples).median:.0f}",
            ("not looked at" if opened is None else str(opened)) if name == "ragctl" else "",
        ]
        for name, samples in found.items()
    ]


def _git(documents: Path, repository: Path, *words: str) -> list[str]:
    return ["git", f"--git-dir={repository}", f"--work-tree={documents}", *words]


def _commit(documents: Path, repository: Path) -> None:
    me = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*me, "commit", "-q", "-m", "all of it"]):
        subprocess.run(_git(documents, repository, *words), check=True, stdout=subprocess.DEVNULL)


def _opened(who: Ragctl, documents: Path) -> int | None:
    """How many files of the folder a run opens; None where there is no strace."""
    if not (strace := shutil.which("strace")):
        return None
    log = documents.with_name("strace.log")
    traced = [strace, "-f", "-q", "-e", "trace=open,openat", "-o", str(log)]
    subprocess.run([*traced, *who.command()], env={**os.environ, **who.env()}, check=True)
    lines = log.read_text("utf-8", errors="replace").splitlines()
    named = [line for line in lines if f'"{documents}/' in line and "O_DIRECTORY" not in line]
    return len(named)
