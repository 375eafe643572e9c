"""What a document costs as their number grows, and memory for ten times as much text.

RAGCTL_BENCHMARK_SIZES: numbers of small documents, such as 1000,10000,100000,1000000.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import corpus
from benchmarks.checks import check
from benchmarks.embedding_server import Running, running
from benchmarks.measure import Sample, cpus, peaks, spread, walls
from benchmarks.sides import Ideal, Ragctl, Who
from benchmarks.table import Section, versions

HEADER = ("documents", "", "cold, s", "CPU, s", "CPU a point, ms", "peak, MB", "points")
_SIZES = "1000,10000,100000"
_TIMES = 10


def run(runs: int) -> Section:
    """The greater the folder, the fewer its runs: each size is measured once after the first."""
    sizes = [int(size) for size in os.environ.get("RAGCTL_BENCHMARK_SIZES", _SIZES).split(",")]
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, running() as server:
        for name, lay in _folders(Path(folder), sizes):
            documents = lay()
            rows += _measure(name, documents, server, 1 if rows else runs)
            if documents.name != "real":
                shutil.rmtree(documents)
    return Section(
        HEADER,
        rows,
        before=[
            "Cold ingests into the embedded store, whole processes. Small documents are made up, "
            f"of 40 words each; ×{_TIMES} is the prose of the other tables, every paragraph of "
            "each copy altered. Peak of the greatest process."
        ],
        versions=versions("ragctl", "qdrant-edge-py"),
    )


def _folders(work: Path, sizes: list[int]) -> Iterator[tuple[str, Callable[[], Path]]]:
    for size in sizes:
        yield f"{size:,} small", partial(corpus.made, work / "small", size)
    yield "prose", partial(corpus.real, work / "real")
    yield f"prose ×{_TIMES}", partial(corpus.enlarged, work / "real", work / "more", _TIMES)


def _measure(name: str, documents: Path, server: Running, runs: int) -> list[list[str]]:
    """ragctl and the ideal, in turns; the result is checked after the last run."""
    stores = documents.with_name("stores")
    sides: list[Who] = [
        Ragctl("ragctl", documents, stores / "ragctl", server.url),
        Ideal("bare ideal", documents, stores / "ideal", server.url),
    ]
    samples: dict[str, list[Sample]] = {who.name: [] for who in sides}
    for turn in range(runs):
        for who in sides if turn % 2 else sides[::-1]:
            shutil.rmtree(who.store, ignore_errors=True)
            server.reset()
            samples[who.name].append(who.run())
            print(f"{name}, {who.name}: {samples[who.name][-1]}", file=sys.stderr, flush=True)
    points = {who.name: check(documents, who.points()) for who in sides}
    shutil.rmtree(stores)
    return [
        [
            name if who is sides[0] else "",
            who.name,
            f"{walls(samples[who.name]):.1f}",
            f"{cpus(samples[who.name]).median:.1f}",
            f"{spread([1000 * s.cpu / points[who.name] for s in samples[who.name]]).median:.2f}",
            f"{peaks(samples[who.name]).median:.0f}",
            f"{points[who.name]:,}",
        ]
        for who in sides
    ]
