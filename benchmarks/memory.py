"""Memory and time of a cold ingest of ten times as much text."""

import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import corpus
from benchmarks.checks import check
from benchmarks.embedding_server import running
from benchmarks.measure import Side, interleave, peaks, walls
from benchmarks.sides import Ideal, Ragctl, Who
from benchmarks.table import Section, versions

HEADER = ("prose", "", "files", "points", "cold, s", "peak, MB", "÷ a tenth of it")
_TIMES = 10


def run(runs: int) -> Section:
    """The small folder `runs` times; the large one once."""
    rows: list[list[str]] = []
    before: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, running() as server:
        work = Path(folder)
        real = corpus.real(work / "real")
        more = corpus.enlarged(real, work / "more", _TIMES)
        for name, documents, times in (("as it is", real, runs), (f"×{_TIMES}", more, 1)):
            stores = work / "stores"
            sides: list[Who] = [
                Ragctl("ragctl", documents, stores / "ragctl", server.url),
                Ideal("bare ideal", documents, stores / "ideal", server.url),
            ]
            points: dict[str, int] = {}

            found = interleave([_side(who, points) for who in sides], times, telling=_tell)
            files = len(corpus.files(documents))
            for who, samples in found.items():
                peak = peaks(samples).median
                grown = f"{peak / before[who]:.2f}" if who in before else ""
                before[who] = peak
                label = [name, who, f"{files:,}"] if who == "ragctl" else ["", who, ""]
                wall = f"{walls(samples):.1f}" if len(samples) > 1 else f"{samples[0].wall:.1f}"
                rows.append([*label, f"{points[who]:,}", wall, f"{peak:.0f}", grown])
            shutil.rmtree(stores)
    return Section(
        HEADER,
        rows,
        before=[
            "Cold ingests into the embedded store, whole processes; the peak is that of the "
            f"greatest process. ×{_TIMES} is the prose of the other tables, every paragraph of "
            f"each copy altered. Medians of {runs} runs; ×{_TIMES} once."
        ],
        versions=versions("ragctl", "qdrant-edge-py"),
    )


def _side(who: Who, points: dict[str, int]) -> Side:
    def empty() -> None:
        shutil.rmtree(who.store, ignore_errors=True)

    def check_it() -> None:
        points[who.name] = check(who.folder, who.points())

    return Side(who.name, who.run, empty, check_it)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
