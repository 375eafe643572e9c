"""Cost of a document as their number grows: ingesting, planning, editing, deleting.

RAGCTL_BENCHMARK_SIZES: numbers of small documents in an embedded store, such as
1000,10000,100000,1000000. RAGCTL_BENCHMARK_SERVER_SIZES: those on a server.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks import corpus
from benchmarks.checks import check
from benchmarks.embedding_server import EmbeddingServer, start_server
from benchmarks.ingesters import Ragctl
from benchmarks.measure import Sample, WrongResult, cpus, spread
from benchmarks.table import Section, versions
from ragctl.stores import open_store
from tests.servers.qdrant import QdrantFacade

HEADER = (
    *("store", "documents", "cold, s", "CPU, ms a document", "peak, MB"),
    *("unchanged, s", "CPU, s", "CPU, µs a document"),
    *("100 edited, CPU, s", "100 deleted, CPU, s"),
)
_SIZES, _SERVER_SIZES = "1000,10000,100000", "1000,10000"
CHANGED_DOCUMENTS = 100  # edited, and as many deleted
MAX_FULLY_CHECKED = 100_000  # documents; of more only the number of points is checked


def run(runs: int) -> Section:
    """Measure each size once, and `runs` times with nothing changed."""
    with (
        tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder,
        start_server() as server,
    ):
        work = Path(folder)
        rows = [list(row) for row in _rows(work, server, runs)]
    return Section(
        HEADER,
        rows,
        before=[
            "Generated documents of 40 words, one point each, 1,024 dimensions; whole processes of "
            "`ragctl run`; CPU includes all child processes. Figures per document exclude the "
            "start-up, measured as a run over one unchanged document. At every size "
            f"{CHANGED_DOCUMENTS} documents are edited, then {CHANGED_DOCUMENTS} deleted: CPU time "
            f"beyond that of an unchanged run. Unchanged runs: medians of {runs}; others once. The "
            "server is a test façade on this machine over qdrant-client's in-memory engine, whose "
            "time grows with the square of the number of points; it is not included in the CPU "
            "time."
        ],
        versions=versions("ragctl", "qdrant-edge-py", "qdrant-client"),
    )


def _rows(work: Path, server: EmbeddingServer, runs: int) -> Iterator[list[str]]:
    def sizes(name: str, usual: str) -> list[int]:
        return [int(size) for size in os.environ.get(name, usual).split(",") if size]

    if embedded := sizes("RAGCTL_BENCHMARK_SIZES", _SIZES):
        base = _start(work, server, runs, "")
    for size in embedded:
        yield ["embedded", *_measure(work, server, runs, size, base, "")]
    if on_server := sizes("RAGCTL_BENCHMARK_SERVER_SIZES", _SERVER_SIZES):
        with QdrantFacade() as one:
            base = _start(work, server, runs, one.url)
    for size in on_server:
        with QdrantFacade() as facade:
            yield ["server", *_measure(work, server, runs, size, base, facade.url)]


def _start(work: Path, server: EmbeddingServer, runs: int, store: str) -> float:
    """Return the processor seconds of a run over one unchanged document."""
    ingester = _ingester(work, server, corpus.write_generated(work / "small", 1), store)
    ingester.run()
    base = cpus([ingester.run() for _ in range(runs)]).median
    _clear(work)
    return base


def _measure(
    work: Path, server: EmbeddingServer, runs: int, size: int, base: float, store: str
) -> list[str]:
    documents = corpus.write_generated(work / "small", size)
    ingester = _ingester(work, server, documents, store)

    def timed_run(what: str) -> Sample:
        server.reset()
        sample = ingester.run()
        where = "server" if store else "embedded"
        print(f"{where}, {size:,}, {what}: {sample}", file=sys.stderr, flush=True)
        return sample

    cold = timed_run("cold")
    same = [timed_run("unchanged") for _ in range(runs)]
    if server.record().texts:
        raise WrongResult("texts were sent though nothing had changed")
    picked = random.Random(size).sample(corpus.files(documents), 2 * CHANGED_DOCUMENTS)
    for path in picked[:CHANGED_DOCUMENTS]:
        path.write_text(f"{path.read_text('utf-8')}\nAmended since.\n", "utf-8")
    edited = timed_run("edited")
    for path in picked[CHANGED_DOCUMENTS:]:
        path.unlink()
    deleted = timed_run("deleted")
    _check(ingester, size - CHANGED_DOCUMENTS)
    _clear(work)
    unchanged = cpus(same).median
    return [
        f"{size:,}",
        f"{cold.wall:.1f}",
        f"{1000 * (cold.cpu - base) / size:.2f}",
        f"{max(cold.peak, edited.peak, deleted.peak, *(s.peak for s in same)) / 1e6:.0f}",
        f"{spread([sample.wall for sample in same]).median:.2f}",
        f"{unchanged:.2f}",
        f"{1e6 * (unchanged - base) / size:.0f}",
        f"{edited.cpu - unchanged:.2f}",
        f"{deleted.cpu - unchanged:.2f}",
    ]


def _ingester(work: Path, server: EmbeddingServer, documents: Path, store: str) -> Ragctl:
    return Ragctl("ragctl", documents, work / "store", server.url, server=store)


def _check(ingester: Ragctl, documents: int) -> None:
    if documents <= MAX_FULLY_CHECKED:
        found = check(ingester.folder, ingester.points())
    else:
        with closing(open_store(ingester.location(), environ={})) as store:
            collection = store.open("docs")
            assert collection is not None
            with closing(collection):
                found = collection.count()
    if found != documents:
        raise WrongResult(f"{found} points of {documents} documents")


def _clear(work: Path) -> None:
    for folder in (work / "small", work / "store"):
        shutil.rmtree(folder, ignore_errors=True)
