"""Simulated nights of a collection that cron keeps in sync with a changing folder.

The nights on which the folder itself moves or gets another name are in year_places.py.

A model of the folder says what the collection must contain: every document is a list of
sections, every section one chunk. After each night the collection must hold exactly the
model's sections, and exactly the sections that it did not have must have been embedded.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ragctl.errors import BackendError, BudgetReached, PruneRefused
from ragctl.index.report import Report
from ragctl.pipeline import Budget, Source
from tests.servers.host import Text
from tests.waiting import PROCESS_SECONDS
from tests.world import paragraphs
from tests.year_folder import DAY, ChangingFolder


@dataclass(kw_only=True)
class Year(ChangingFolder):
    """A changing folder and its collection.

    `stored`: texts of the sections that are in the collection, and so need no embedding.
    `hosts`: state folders of two machines. `places`: where the folder is moved to. `base`: the
    folder that is the source: the folder of the documents, or one around it. `named`: the source
    was given its `name`; otherwise that is the name of its folder.
    """

    hosts: tuple[Path, Path]
    places: Path
    stored: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    base: Path = field(init=False)
    name: str = field(init=False)
    named: bool = False

    def __post_init__(self) -> None:
        self.base = self.world.root
        self.name = self.base.name

    # Kinds of night

    def source(self, **changes: Any) -> Source:
        return Source(self.base, name=self.name if self.named else None, **changes)

    def document(self, path: str) -> str:
        """Return the name of a document, by its path in the folder of the documents."""
        return f"{self.name}/{(self.world.root / path).relative_to(self.base)}"

    def run(self, **changes: Any) -> Report:
        job = self.world.run(**{"sources": (self.source(),), **changes})
        job.clock = lambda: self.clock
        with closing(job.store):
            return job.ingest()

    def command(self, host: int) -> tuple[list[str], dict[str, str]]:
        """Return the command and environment of a run that looks like another machine's."""
        world = self.world
        source = f"{self.name}={self.base}" if self.named else str(self.base)
        arguments = [
            *(sys.executable, "-m", "ragctl", "ingest", source, "--store", world.store),
            *("--model", "jina-embeddings-v3", "--dim", "64", "--base-url", world.server.url),
            *("--chunk-size", "64", "--workers", "1", "--language", "en"),
        ]
        own = {"XDG_STATE_HOME": str(self.hosts[host]), "RAGCTL_LEASE_SECONDS": "2"}
        return arguments, {**os.environ, **world.environ, **own}

    def quiet(self) -> None:
        """Run without incident."""
        self.run()
        self.check()

    def root_missing(self) -> None:
        """Run while the root is missing or empty: refused, and nothing is written."""
        root = self.base
        away = root.with_name("away")
        before = self.world.state()
        root.rename(away)
        if self.rng.randrange(2):
            root.mkdir()
        with pytest.raises(PruneRefused):
            self.run()
        if root.exists():
            root.rmdir()
        away.rename(root)
        assert self.world.state() == before
        self.quiet()

    def mostly_missing(self) -> None:
        """Run while most documents are missing: refused, and nothing is lost when they return."""
        if len(self.model) < 16:
            self.quiet()
            return
        hidden = self.base.with_name("hidden")
        hidden.mkdir()
        moved = self.rng.sample(sorted(self.model), len(self.model) * 3 // 4)
        for name in moved:
            target = hidden / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.world.root / name).rename(target)
        before = self.world.state()
        with pytest.raises(PruneRefused):
            self.run()
        assert self.world.state() == before
        for name in moved:
            (hidden / name).rename(self.world.root / name)
        shutil.rmtree(hidden)
        self.quiet()

    def outage(self) -> None:
        """Run while the backend fails midway; the next run continues from there."""
        self.write(f"outage-{self.night}.md", self.sections(5))
        self.world.server.credit = self.rng.randrange(0, 5)
        with pytest.raises(BackendError):
            self.run()
        self.world.server.credit = None
        self.quiet()

    def low_budget(self) -> None:
        """Run with a budget that covers only some of the documents."""
        for n in range(4):
            self.write(f"low-budget-{self.night}-{n}.md", self.sections(4))
        try:
            self.run(budget=Budget(max_tokens=700))
        except BudgetReached:
            self.events["budget reached"] += 1
        self.quiet()

    def kill(self) -> None:
        """Kill a run at any moment: only texts in flight are embedded twice."""
        self.write(f"kill-{self.night}.md", self.sections(self.rng.randrange(5, 30)))
        arguments, environ = self.command(self.rng.randrange(2))
        awaited = self.rng.randrange(0, 6)
        with subprocess.Popen(
            arguments, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            # Any moment, from before the first request until after the last one.
            try:
                while len(self.world.server.requests) < awaited:
                    process.wait(0.02)
            except subprocess.TimeoutExpired:
                pass
            try:
                process.wait(self.rng.uniform(0.0, 0.8))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                self.events["run killed"] += 1
        before = set(self._sent())
        kept = {str(row["text"]).strip() for row, _, _ in self.world.state().values()}
        self.world.forget()
        self.run()
        after = self._sent()
        assert not kept & set(after), "embedded though it was stored"
        # Texts in flight are sent twice, all other new texts once.
        for text in before - set(after):
            self.world.server.texts.append(Text("document", text))
        self.check()

    def unreadable_file(self) -> None:
        """Run with an unreadable file: it is reported, and all others are indexed."""
        self.world.write("unreadable.pdf", b"%PDF-1.7 rubbish")
        report = self.run()
        assert [failure.source for failure in report.failures] == [self.document("unreadable.pdf")]
        self.check()
        (self.world.root / "unreadable.pdf").unlink()

    def clock_change(self) -> None:
        """Run after the clock jumped, with file times in the far future and past."""
        self.clock += self.rng.choice([-400, 400]) * DAY
        for seconds in (0, 4_000_000_000):
            name = self.random_name()
            os.utime(self.world.root / name, (seconds, seconds))
        self.quiet()

    def two_runs(self) -> None:
        """Start two runs at the same moment, as if on two machines."""
        self.write(f"two-{self.night}.md", self.sections(8))
        processes = []
        for host in (0, 1):
            arguments, environ = self.command(host)
            processes.append(
                subprocess.Popen(
                    arguments,
                    env=environ,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        codes = []
        for process in processes:
            out, _ = process.communicate(timeout=PROCESS_SECONDS)
            codes.append(process.returncode)
            assert process.returncode in (0, 9), out
        assert 0 in codes
        self.events["locked out"] += codes.count(9)
        self.check()

    # Checks

    def _sent(self) -> list[str]:
        return [text.strip() for text in self.world.embedded()]

    def check(self) -> None:
        """Compare the collection and the texts sent with the model; a second run has no work."""
        rows = sorted(
            (str(row["source"]), int(str(row["ordinal"])), str(row["text"]).strip())
            for row, _, _ in self.world.state().values()
        )
        expected = sorted(
            (self.document(name), ordinal, _text(section))
            for name, sections in self.model.items()
            for ordinal, section in enumerate(sections)
        )
        assert rows == expected
        now = {text for _, _, text in expected}
        sent = Counter(self._sent())
        assert sent == Counter(now - self.stored), "the texts sent are not exactly the new ones"
        self.stored = now
        self.world.forget()
        again = self.run()
        assert again.requests == 0
        assert again.documents.unchanged == len(self.model)
        assert again.elsewhere == 0


def _text(section: str) -> str:
    return paragraphs(section)


NIGHTS: dict[str, Callable[[Year], None]] = {
    "quiet": Year.quiet,
    "root missing": Year.root_missing,
    "mostly missing": Year.mostly_missing,
    "outage": Year.outage,
    "low budget": Year.low_budget,
    "kill": Year.kill,
    "unreadable file": Year.unreadable_file,
    "clock": Year.clock_change,
    "two runs": Year.two_runs,
}
