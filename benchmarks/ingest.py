"""Ingests: cold, with nothing changed, and with 1 % changed; ragctl, a bare ideal, peers.

RAGCTL_BENCHMARK_PEERS=none leaves out the peers.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import corpus
from benchmarks.checks import SentTexts, check, check_sent
from benchmarks.embedding_server import EmbeddingServer, start_server
from benchmarks.ideal import BATCH
from benchmarks.ingesters import Ideal, Ingester, Peer, all_ingesters
from benchmarks.measure import Sample, Subject, WrongResult, cpus, interleave, peaks, ratio, walls
from benchmarks.peers import environment
from benchmarks.table import Section, versions

HEADER = (
    *("", "cold, s", "÷ ideal", "CPU, s", "peak, MB", "points"),
    *("unchanged, s", "CPU, s", "1 % changed, s", "÷ ideal", "CPU, s", "texts sent", "requests"),
)


@dataclass
class Results:
    """The results of one system: samples by kind of run, or why there are none."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    points: int = 0
    sent: SentTexts | None = None


class Trial:
    """The folder before and after the changes, and the results of each system."""

    def __init__(
        self, work: Path, server: EmbeddingServer, documents: Path, *, peers: bool
    ) -> None:
        self.server = server
        self._folder = work / "documents"
        self._states = {"before": documents, "after": corpus.copy_files(documents, work / "after")}
        corpus.change(self._states["after"])
        self.sides = all_ingesters(self._folder, work / "stores", server.url, peers=peers)
        self.found = {ingester.name: Results() for ingester in self.sides}
        self._needed: dict[str, set[str]] = {}

    def measure(self, runs: int) -> None:
        self._lay("before")
        self._round("cold", runs, self._empty)
        for ingester in self.sides:
            _copy(ingester.store, _kept(ingester))
        self._round("unchanged", runs, lambda ingester: None)
        self._learn_needed()
        self._lay("after")
        self._round("changed", runs, lambda ingester: _copy(_kept(ingester), ingester.store))

    def _round(self, kind: str, runs: int, prepare: Callable[[Ingester], None]) -> None:
        def side(ingester: Ingester) -> Subject:
            def ready() -> None:
                prepare(ingester)
                self.server.reset()

            return Subject(ingester.name, ingester.run, ready, lambda: self._check(kind, ingester))

        sides = [
            side(ingester) for ingester in self.sides if kind not in self.found[ingester.name].wrong
        ]
        for name, samples in interleave(sides, runs, notify=_print_progress).items():
            self.found[name].samples[kind] = samples

    def _check(self, kind: str, ingester: Ingester) -> None:
        """Check a result: a peer's error is reported in place of its time, any other raises."""
        found, record = self.found[ingester.name], self.server.record()
        try:
            points = check(self._folder, ingester.points())
            if kind == "cold":
                found.points = points
            elif kind == "unchanged":
                if record.texts and not isinstance(ingester, Peer):
                    raise WrongResult(
                        f"{len(record.texts)} texts were sent though nothing had changed"
                    )
            else:
                needed = self._needed[ingester.name]
                found.sent = check_sent(record.texts, record.sizes, needed, BATCH)
        except WrongResult as wrong:
            if not isinstance(ingester, Peer):
                raise WrongResult(f"{ingester.name}, {kind}: {wrong}") from None
            found.wrong[kind] = str(wrong)

    def _learn_needed(self) -> None:
        """Find the texts that only a cold ingest of the changed folder sends."""
        for ingester in self.sides:
            known: dict[str, set[str]] = {}
            for state in ("before", "after"):
                self._lay(state)
                self._empty(ingester)
                self.server.reset()
                ingester.run()
                known[state] = set(self.server.record().texts)
            self._needed[ingester.name] = known["after"] - known["before"]

    def _lay(self, state: str) -> None:
        corpus.copy_files(self._states[state], self._folder)

    def _empty(self, ingester: Ingester) -> None:
        shutil.rmtree(ingester.store, ignore_errors=True)


def run(runs: int) -> Section:
    peers = os.environ.get("RAGCTL_BENCHMARK_PEERS") != "none"
    with (
        tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder,
        start_server() as server,
    ):
        work = Path(folder)
        documents = corpus.write_real(work / "corpus")
        trial = Trial(work, server, documents, peers=peers)
        trial.measure(runs)
        names = corpus.files(documents)
        size = sum(path.stat().st_size for path in names) / 1e6
    method = f"medians of {runs} runs" if runs >= 5 else f"only {runs} of each"
    about = (
        f"{len(names):,} files, {size:.1f} MB; chunks of 512 tokens, requests of 64 texts, "
        f"eight in flight, vectors of 1,024; whole processes, {method} "
        "(minimum–maximum); CPU includes all child processes; peak of the largest process."
    )
    used = versions("ragctl", "qdrant-edge-py", "tiktoken")
    return Section(
        HEADER,
        rows(trial.sides, trial.found),
        before=[about],
        after=notes(trial.found),
        versions={**used, **(environment.versions() if peers else {})},
    )


def rows(sides: Iterable[Ingester], found: dict[str, Results]) -> list[list[str]]:
    ideal = next(found[ingester.name] for ingester in sides if isinstance(ingester, Ideal))
    return [_row(name, one, ideal) for name, one in found.items()]


def _row(name: str, found: Results, ideal: Results) -> list[str]:
    cold = found.samples.get("cold", [])
    sent = found.sent
    return [
        name,
        *_times("cold", found, ideal),
        f"{peaks(cold).median:.0f}" if "cold" not in found.wrong else "",
        f"{found.points:,}",
        *[cell for n, cell in enumerate(_times("unchanged", found, ideal)) if n != 1],
        *_times("changed", found, ideal),
        f"{sent.texts:,} ({sent.needed:,} new)" if sent else "",
        f"{sent.requests:,} ({sent.fewest:,} needed)" if sent else "",
    ]


def _times(kind: str, found: Results, ideal: Results) -> list[str]:
    """Return wall time, its ratio to the ideal's, and processor time, as text."""
    if kind in found.wrong or kind not in found.samples:
        return ["wrong", "", ""]
    own, base = found.samples[kind], ideal.samples[kind]
    ratios = ratio([sample.wall for sample in own], [sample.wall for sample in base])
    return [f"{walls(own):.2f}", f"{ratios:.2f}", f"{cpus(own).median:.2f}"]


def notes(found: dict[str, Results]) -> list[str]:
    """Return why times are not shown."""
    titles = {"cold": "Cold", "unchanged": "Unchanged", "changed": "1 % changed"}
    return [
        f"{titles[kind]}, {name}: no time, for {wrong}."
        for name, one in found.items()
        for kind, wrong in one.wrong.items()
    ]


def _kept(ingester: Ingester) -> Path:
    return ingester.store.with_name(f"{ingester.store.name}.cold")


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
