"""Memory of a cold ingest, and of a cold ingest of ten times as much text."""

import os
import re
import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import corpus
from benchmarks.checks import check
from benchmarks.embedding_server import EmbeddingServer, start_server
from benchmarks.ingesters import Ideal, Ingester, Ragctl
from benchmarks.measure import Sample, Subject, interleave, peaks, spread, walls
from benchmarks.table import Section, versions

HEADER = (
    *("prose", "", "files", "points", "cold, s"),
    *("peak, MB", "÷ peak of ×1", "private, MB", "÷ private of ×1"),
)
COPIES = 10
SAMPLING_SECONDS = 0.05  # between two samples of the memory
_PROC = Path("/proc")
_STATUS = re.compile(r"^(PPid|RssAnon):\s+(\d+)", re.MULTILINE)


def run(runs: int) -> Section:
    """Measure the small folder `runs` times and the large one once."""
    rows: list[list[str]] = []
    with (
        tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder,
        start_server() as server,
    ):
        work = Path(folder)
        real = corpus.write_real(work / "real")
        small = _measure("×1", real, server, runs, {})
        more = corpus.write_enlarged(real, work / "more", COPIES)
        large = _measure(f"×{COPIES}", more, server, 1, small)
        for measured in (small, large):
            rows += [found.row for found in measured.values()]
    return Section(
        HEADER,
        rows,
        before=[
            "Cold ingests into the embedded store, whole processes. The peak is that of the "
            "largest process, including memory-mapped parts of files, which the system can "
            f"reclaim; private memory (RssAnon, sampled every {1000 * SAMPLING_SECONDS:.0f} ms) "
            "is what the process needs. ×1 is the prose of the other tables; in "
            f"×{COPIES} every paragraph of each copy is altered. Medians of {runs} runs; "
            f"×{COPIES} once."
        ],
        versions=versions("ragctl", "qdrant-edge-py"),
    )


@dataclass
class _Memory:
    row: list[str]
    peak: float
    own: float


def _measure(
    name: str, documents: Path, server: EmbeddingServer, runs: int, before: dict[str, _Memory]
) -> dict[str, _Memory]:
    stores = documents.with_name("stores")
    watched = [
        _Watched(Ragctl("ragctl", documents, stores / "ragctl", server.url)),
        _Watched(Ideal("bare ideal", documents, stores / "ideal", server.url)),
    ]
    samples = interleave([each.side() for each in watched], runs, notify=_print_progress)
    shutil.rmtree(stores)
    found = {}
    for each in watched:
        ingester = each.ingester.name
        taken, own = samples[ingester], spread(each.own[-runs:]).median
        peak = peaks(taken).median
        old = before.get(ingester)
        grown = [
            *(f"{peak:.0f}", f"{peak / old.peak:.2f}" if old else ""),
            *(f"{own:.0f}", f"{own / old.own:.2f}" if old else ""),
        ]
        wall = f"{walls(taken):.1f}" if runs > 1 else f"{taken[0].wall:.1f}"
        label = [name, ingester, f"{len(corpus.files(documents)):,}"]
        row = [
            *(label if each is watched[0] else ["", ingester, ""]),
            f"{each.points:,}",
            wall,
            *grown,
        ]
        found[ingester] = _Memory(row, peak, own)
    return found


@dataclass
class _Watched:
    """A system, and the own memory of its largest process in each run."""

    ingester: Ingester
    points: int = 0
    own: list[float] = field(default_factory=list)

    def side(self) -> Subject:
        return Subject(self.ingester.name, self._run, self._empty, self._check)

    def _run(self) -> Sample:
        others = frozenset(_descendants())
        ended = threading.Event()
        largest = [0]

        def sample_memory() -> None:
            while not ended.wait(SAMPLING_SECONDS):
                largest[0] = max(0, largest[0], *_descendants(others).values())

        watching = threading.Thread(target=sample_memory)
        watching.start()
        try:
            return self.ingester.run()
        finally:
            ended.set()
            watching.join()
            self.own.append(largest[0] / 1e6)

    def _empty(self) -> None:
        shutil.rmtree(self.ingester.store, ignore_errors=True)

    def _check(self) -> None:
        self.points = check(self.ingester.folder, self.ingester.points())


def _descendants(but: frozenset[int] = frozenset()) -> dict[int, int]:
    """Return the bytes of own memory of each descendant of this process, but not of `but`."""
    parents, own = {}, {}
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdecimal():
            continue
        try:
            fields = dict(_STATUS.findall((entry / "status").read_text("utf-8")))
        except OSError:  # it has ended
            continue
        pid = int(entry.name)
        parents[pid] = int(fields["PPid"])
        own[pid] = 1024 * int(fields.get("RssAnon", 0))
    found: dict[int, int] = {}
    for pid in own:
        ancestor = pid
        while ancestor in parents and ancestor != os.getpid() and ancestor not in but:
            ancestor = parents[ancestor]
        if ancestor == os.getpid() and pid != ancestor:
            found[pid] = own[pid]
    return found


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
