"""A cold ingest, one of nothing changed, and one of 1 % changed: ragctl, a bare ideal, peers.

RAGCTL_BENCHMARK_PEERS=none leaves the peers out.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import corpus
from benchmarks.checks import Sent, check, check_sent
from benchmarks.embedding_server import Running, running
from benchmarks.ideal import BATCH
from benchmarks.measure import Sample, Side, Wrong, cpus, interleave, peaks, ratio, walls
from benchmarks.peers import environment
from benchmarks.sides import Ideal, Peer, Who, everyone
from benchmarks.table import Section, versions

HEADER = (
    *("", "cold, s", "÷ ideal", "CPU, s", "peak, MB", "points"),
    *("unchanged, s", "CPU, s", "1 % changed, s", "÷ ideal", "CPU, s", "texts sent", "requests"),
)


@dataclass
class Found:
    """What is known of one side: samples of each kind of run, or why there are none."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    points: int = 0
    sent: Sent | None = None


class Trial:
    """Folders as they were and as they are changed, and what each side makes of them."""

    def __init__(self, work: Path, server: Running, documents: Path, *, peers: bool) -> None:
        self.server = server
        self._folder = work / "documents"
        self._states = {"before": documents, "after": corpus.copied(documents, work / "after")}
        corpus.change(self._states["after"])
        self.sides = everyone(self._folder, work / "stores", server.url, peers=peers)
        self.found = {who.name: Found() for who in self.sides}
        self._needed: dict[str, set[str]] = {}

    def measure(self, runs: int) -> None:
        self._lay("before")
        self._round("cold", runs, self._empty)
        for who in self.sides:
            _copy(who.store, _kept(who))
        self._round("unchanged", runs, lambda who: None)
        self._learn_needed()
        self._lay("after")
        self._round("changed", runs, lambda who: _copy(_kept(who), who.store))

    def _round(self, kind: str, runs: int, prepare: Callable[[Who], None]) -> None:
        def side(who: Who) -> Side:
            def ready() -> None:
                prepare(who)
                self.server.reset()

            return Side(who.name, who.run, ready, lambda: self._check(kind, who))

        sides = [side(who) for who in self.sides if kind not in self.found[who.name].wrong]
        for name, samples in interleave(sides, runs, telling=_tell).items():
            self.found[name].samples[kind] = samples

    def _check(self, kind: str, who: Who) -> None:
        """A peer that is wrong is said to be so, in place of a time; anyone else ends it all."""
        found, record = self.found[who.name], self.server.record()
        try:
            if kind == "cold":
                found.points = check(self._folder, who.points())
            elif kind == "unchanged":
                if record.texts and not isinstance(who, Peer):
                    raise Wrong(f"{len(record.texts)} texts were sent though nothing had changed")
            else:
                check(self._folder, who.points())
                needed = self._needed[who.name]
                found.sent = check_sent(record.texts, record.sizes, needed, BATCH)
        except Wrong as wrong:
            if not isinstance(who, Peer):
                raise Wrong(f"{who.name}, {kind}: {wrong}") from None
            found.wrong[kind] = str(wrong)

    def _learn_needed(self) -> None:
        """The texts of a cold ingest of the changed folder that were not in one before."""
        for who in self.sides:
            known: dict[str, set[str]] = {}
            for state in ("before", "after"):
                self._lay(state)
                self._empty(who)
                self.server.reset()
                who.run()
                known[state] = set(self.server.record().texts)
            self._needed[who.name] = known["after"] - known["before"]

    def _lay(self, state: str) -> None:
        corpus.copied(self._states[state], self._folder)

    def _empty(self, who: Who) -> None:
        shutil.rmtree(who.store, ignore_errors=True)


def run(runs: int) -> Section:
    peers = os.environ.get("RAGCTL_BENCHMARK_PEERS") != "none"
    with tempfile.TemporaryDirectory(prefix="ragctl-benchmark-") as folder, running() as server:
        work = Path(folder)
        documents = corpus.real(work / "corpus")
        trial = Trial(work, server, documents, peers=peers)
        trial.measure(runs)
        names = corpus.files(documents)
        size = sum(path.stat().st_size for path in names) / 1e6
    about = (
        f"{len(names):,} files, {size:.1f} MB; chunks of 512 tokens, requests of 64 texts, "
        f"eight in flight, vectors of 1,024; whole processes, medians of {runs} runs "
        "(least–greatest); CPU with all ended children, peak of the greatest process."
    )
    used = versions("ragctl", "qdrant-edge-py", "tiktoken")
    return Section(
        HEADER,
        rows(trial.sides, trial.found),
        before=[about],
        after=notes(trial.found),
        versions={**used, **(environment.versions() if peers else {})},
    )


def rows(sides: Iterable[Who], found: dict[str, Found]) -> list[list[str]]:
    ideal = next(found[who.name] for who in sides if isinstance(who, Ideal))
    return [_row(name, one, ideal) for name, one in found.items()]


def _row(name: str, found: Found, ideal: Found) -> list[str]:
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


def _times(kind: str, found: Found, ideal: Found) -> list[str]:
    """Seconds, their ratio to the ideal's, seconds of processor."""
    if kind in found.wrong or kind not in found.samples:
        return ["wrong", "", ""]
    own, base = found.samples[kind], ideal.samples[kind]
    ratios = ratio([sample.wall for sample in own], [sample.wall for sample in base])
    return [f"{walls(own):.2f}", f"{ratios:.2f}", f"{cpus(own).median:.2f}"]


def notes(found: dict[str, Found]) -> list[str]:
    """Why a time is not shown."""
    told = {"cold": "Cold", "unchanged": "Unchanged", "changed": "1 % changed"}
    return [
        f"{told[kind]}, {name}: no time, for {wrong}."
        for name, one in found.items()
        for kind, wrong in one.wrong.items()
    ]


def _kept(who: Who) -> Path:
    return who.store.with_name(f"{who.store.name}.cold")


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
