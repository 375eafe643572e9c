"""Memory of a cold ingest, and of one of ten times as much text."""

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
from benchmarks.embedding_server import Running, running
from benchmarks.measure import Sample, Side, interleave, peaks, spread, walls
from benchmarks.sides import Ideal, Ragctl, Who
from benchmarks.table import Section, versions

HEADER = (
    *("prose", "", "files", "points", "cold, s"),
    *("peak, MB", "÷ a tenth of it", "of its own, MB", "÷ a tenth of it"),
)
_TIMES = 10
_OFTEN = 0.05  # seconds between looks
_PROC = Path("/proc")
_STATUS = re.compile(r"^(PPid|RssAnon):\s+(\d+)", re.MULTILINE)


def run(runs: int) -> Section:
    """The small folder `runs` times; the large one once."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, running() as server:
        work = Path(folder)
        real = corpus.real(work / "real")
        small = _measure("as it is", real, server, runs, {})
        more = corpus.enlarged(real, work / "more", _TIMES)
        large = _measure(f"×{_TIMES}", more, server, 1, small)
        for measured in (small, large):
            rows += [found.row for found in measured.values()]
    return Section(
        HEADER,
        rows,
        before=[
            "Cold ingests into the embedded store, whole processes. The peak is that of the "
            "greatest process, with the parts of files that it maps, which the system takes back "
            "when it needs the room; its own memory (RssAnon, looked at every "
            f"{1000 * _OFTEN:.0f} ms) is what it needs. ×{_TIMES} is the prose of the other "
            f"tables, every paragraph of each copy altered. Medians of {runs} runs; ×{_TIMES} "
            "once."
        ],
        versions=versions("ragctl", "qdrant-edge-py"),
    )


@dataclass
class _Found:
    row: list[str]
    peak: float
    own: float


def _measure(
    name: str, documents: Path, server: Running, runs: int, before: dict[str, _Found]
) -> dict[str, _Found]:
    stores = documents.with_name("stores")
    watched = [
        _Watched(Ragctl("ragctl", documents, stores / "ragctl", server.url)),
        _Watched(Ideal("bare ideal", documents, stores / "ideal", server.url)),
    ]
    samples = interleave([each.side() for each in watched], runs, telling=_tell)
    shutil.rmtree(stores)
    found = {}
    for each in watched:
        who = each.who.name
        taken, own = samples[who], spread(each.own[-runs:]).median
        peak = peaks(taken).median
        old = before.get(who)
        grown = [
            *(f"{peak:.0f}", f"{peak / old.peak:.2f}" if old else ""),
            *(f"{own:.0f}", f"{own / old.own:.2f}" if old else ""),
        ]
        wall = f"{walls(taken):.1f}" if runs > 1 else f"{taken[0].wall:.1f}"
        label = [name, who, f"{len(corpus.files(documents)):,}"]
        row = [*(label if each is watched[0] else ["", who, ""]), f"{each.points:,}", wall, *grown]
        found[who] = _Found(row, peak, own)
    return found


@dataclass
class _Watched:
    """Who is measured, and the memory of its own that its greatest process had in each run."""

    who: Who
    points: int = 0
    own: list[float] = field(default_factory=list)

    def side(self) -> Side:
        return Side(self.who.name, self._run, self._empty, self._check)

    def _run(self) -> Sample:
        others = frozenset(_descendants())
        ended = threading.Event()
        greatest = [0]

        def look() -> None:
            while not ended.wait(_OFTEN):
                greatest[0] = max(0, greatest[0], *_descendants(others).values())

        watching = threading.Thread(target=look)
        watching.start()
        try:
            return self.who.run()
        finally:
            ended.set()
            watching.join()
            self.own.append(greatest[0] / 1e6)

    def _empty(self) -> None:
        shutil.rmtree(self.who.store, ignore_errors=True)

    def _check(self) -> None:
        self.points = check(self.who.folder, self.who.points())


def _descendants(but: frozenset[int] = frozenset()) -> dict[int, int]:
    """Bytes of its own memory of each process that stems from this one."""
    parents, own = {}, {}
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if not entry.name.isdecimal():
            continue
        try:
            said = dict(_STATUS.findall((entry / "status").read_text("utf-8")))
        except OSError:  # it has ended
            continue
        pid = int(entry.name)
        parents[pid] = int(said["PPid"])
        own[pid] = 1024 * int(said.get("RssAnon", 0))
    found: dict[int, int] = {}
    for pid in own:
        ancestor = pid
        while ancestor in parents and ancestor != os.getpid() and ancestor not in but:
            ancestor = parents[ancestor]
        if ancestor == os.getpid() and pid != ancestor:
            found[pid] = own[pid]
    return found


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
