"""What a document costs as their number grows: reading it in, planning, editing, deleting.

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
from benchmarks.embedding_server import Running, running
from benchmarks.measure import Sample, Wrong, cpus, spread
from benchmarks.sides import Ragctl
from benchmarks.table import Section, versions
from ragctl.stores import open_store
from tests.servers.qdrant import QdrantFacade

HEADER = (
    *("store", "documents", "cold, s", "CPU, ms a document", "peak, MB"),
    *("unchanged, s", "CPU, s", "CPU, µs a document"),
    *("100 edited, CPU, s", "100 deleted, CPU, s"),
)
_SIZES, _SERVER_SIZES = "1000,10000,100000", "1000,10000"
_SOME = 100  # documents edited, and as many deleted
_CHECKED = 100_000  # documents whose points are all read; of more only the counts


def run(runs: int) -> Section:
    """Each size once, but for runs of nothing changed: `runs` of those."""
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, running() as server:
        work = Path(folder)
        rows = [list(row) for row in _rows(work, server, runs)]
    return Section(
        HEADER,
        rows,
        before=[
            "Made-up documents of 40 words, a point each, vectors of 1,024; whole processes of "
            "`ragctl run`, processor time with all ended children. Of a document: without the "
            "start, which is a run over a single one, unchanged. Whatever their number, "
            f"{_SOME} documents are edited, then as many deleted: processor time beyond that of a "
            f"run of nothing changed. Runs of nothing changed: medians of {runs}; others once. The "
            "server is a test façade on this machine over qdrant-client's engine in memory, whose "
            "own time grows with the square of the points and is no part of the processor time."
        ],
        versions=versions("ragctl", "qdrant-edge-py", "qdrant-client"),
    )


def _rows(work: Path, server: Running, runs: int) -> Iterator[list[str]]:
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


def _start(work: Path, server: Running, runs: int, store: str) -> float:
    """Processor seconds of a run over one document that has not changed."""
    who = _who(work, server, corpus.made(work / "small", 1), store)
    who.run()
    base = cpus([who.run() for _ in range(runs)]).median
    _clear(work)
    return base


def _measure(
    work: Path, server: Running, runs: int, size: int, base: float, store: str
) -> list[str]:
    documents = corpus.made(work / "small", size)
    who = _who(work, server, documents, store)

    def told(what: str) -> Sample:
        server.reset()
        sample = who.run()
        where = "server" if store else "embedded"
        print(f"{where}, {size:,}, {what}: {sample}", file=sys.stderr, flush=True)
        return sample

    cold = told("cold")
    same = [told("unchanged") for _ in range(runs)]
    if server.record().texts:
        raise Wrong("texts were sent though nothing had changed")
    picked = random.Random(size).sample(corpus.files(documents), 2 * _SOME)
    for path in picked[:_SOME]:
        path.write_text(f"{path.read_text('utf-8')}\nAmended since.\n", "utf-8")
    edited = told("edited")
    for path in picked[_SOME:]:
        path.unlink()
    deleted = told("deleted")
    _check(who, size - _SOME)
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


def _who(work: Path, server: Running, documents: Path, store: str) -> Ragctl:
    return Ragctl("ragctl", documents, work / "store", server.url, server=store)


def _check(who: Ragctl, documents: int) -> None:
    if documents <= _CHECKED:
        found = check(who.folder, who.points())
    else:
        with closing(open_store(who.place(), environ={})) as store:
            collection = store.open("docs")
            assert collection is not None
            with closing(collection):
                found = collection.count()
    if found != documents:
        raise Wrong(f"{found} points of {documents} documents")


def _clear(work: Path) -> None:
    for folder in (work / "small", work / "store"):
        shutil.rmtree(folder, ignore_errors=True)
