"""Commands that move a collection, run as processes and killed at random points."""

import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from ragctl.collection.text import text_hash
from ragctl.stores import open_store
from tests.servers.host import CANARIES
from tests.waiting import PROCESS_SECONDS, until
from tests.world import World, paragraphs

LEASE_SECONDS = "2"
"""Life of the lease of a killed process on a server."""


@dataclass(frozen=True)
class Form:
    """The model and dimension of a generation."""

    model: str
    dim: int

    @property
    def flags(self) -> list[str]:
        return ["--model", self.model, "--dim", str(self.dim)]


def start(world: World, *words: str) -> subprocess.Popen[str]:
    """Start `ragctl` with these words."""
    return subprocess.Popen(
        [sys.executable, "-m", "ragctl", *words],
        env={**os.environ, **world.environ, "RAGCTL_LEASE_SECONDS": LEASE_SECONDS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ingest_words(world: World, form: Form) -> list[str]:
    return [
        *("ingest", str(world.root), "--store", world.store, *form.flags),
        *("--base-url", world.server.url, "--chunk-size", str(world.chunk_size)),
        *("--workers", "1", "--prune-limit", "100", "--language", "en", "--wait"),
    ]


def migrate_words(world: World, form: Form) -> list[str]:
    return [
        *("migrate", world.collection, "--store", world.store, *form.flags),
        *("--base-url", world.server.url),
    ]


@dataclass
class Killer:
    """Runs commands and kills them after a random part of their usual time.

    `seconds`: the usual time of each kind of command, by its first word. `kills`: by first word.
    """

    world: World
    rng: random.Random
    seconds: dict[str, float] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)

    def run(self, *words: str, expected: Sequence[int] = (0,)) -> None:
        """Run a command to its end."""
        began = time.monotonic()
        with start(self.world, *words) as process:
            out, err = process.communicate(timeout=PROCESS_SECONDS)
        assert process.returncode in expected, f"{words}: {process.returncode}: {out}{err}"
        assert "Traceback" not in err, err
        self.seconds[words[0]] = time.monotonic() - began

    def kill(self, *words: str, expected: Sequence[int] = (0,)) -> int | None:
        """Start a command and kill it at a random point; return its exit code if it ended first."""
        usual = self.seconds.get(words[0], 3.0)
        requests = len(self.world.server.requests) + self.rng.randrange(1, 6)
        by_requests = words[0] != "copy" and self.rng.randrange(2) == 0
        limit = self.rng.uniform(0.0, 0.1) if by_requests else self.rng.uniform(0.1, 1.0)
        with start(self.world, *words) as process:
            try:
                if by_requests:  # while texts are embedded: that takes only part of the time
                    self._await(process, lambda: len(self.world.server.requests) >= requests)
                    if self.rng.randrange(2):  # with a request in flight
                        self.world.server.gate.clear()
                        self._await(process, lambda: self.world.server.in_flight > 0, usual / 4)
                        limit = 0.0
                out, err = process.communicate(timeout=limit * usual)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.kills[words[0]] += 1
                return None
            finally:
                self._settle()
        assert process.returncode in expected, f"{words}: {process.returncode}: {out}{err}"
        assert "Traceback" not in err, err
        return process.returncode

    @staticmethod
    def _await(
        process: "subprocess.Popen[str]", condition: Callable[[], bool], seconds: float = math.inf
    ) -> None:
        """Wait until the condition is true or the process has ended."""
        end = time.monotonic() + seconds
        while not condition() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)

    def _settle(self) -> None:
        """Wait until the embedding host has answered what the process had sent."""
        self.world.server.gate.set()
        until(lambda: self.world.server.in_flight == 0)


def texts_sent(world: World, form: Form) -> list[str]:
    """Return hashes of the document texts that were sent to be embedded in this form."""
    return [
        text_hash(text)
        for request in world.server.requests
        if request.body is not None  # else the sender was killed before it was complete
        and (request.body["model"], request.body.get("dimensions", form.dim))
        == (form.model, form.dim)
        for text in request.body["input"]
        if text not in CANARIES
    ]


def stored_hashes(world: World, form: Form) -> set[str]:
    """Return the hashes of all texts whose vectors in this form are in the store."""
    found: set[str] = set()
    with closing(open_store(world.store, environ={})) as store:
        for each in store.generations(world.collection):
            assert each.settings is not None, each.error
            identity = each.settings.identity
            if (identity.model, identity.dimension) != (form.model, form.dim):
                continue
            generation = store.open(world.collection, generation=each.number)
            assert generation is not None
            with closing(generation):
                found |= set(generation.facet("text_hash"))
    return found


def current_form(world: World) -> Form:
    with closing(world.open()) as collection:
        identity = collection.settings.identity
        return Form(identity.model, identity.dimension)


def fill_folder(world: World, rng: random.Random, documents: int, sections: int) -> None:
    for n in range(documents):
        names = [f"part {n} {k}" for k in range(rng.randrange(1, 2 * sections))]
        world.write(f"{'sub/' * (n % 3)}{n}.md", paragraphs(*names, "shared"))


def edit_folder(world: World, rng: random.Random, number: int) -> None:
    """Edit, rename, delete and add documents."""
    files = sorted(world.root.glob("**/*.md"))
    edited, renamed, deleted = rng.sample(files, 3)
    name = str(edited.relative_to(world.root))
    world.write(name, edited.read_text() + "\n\n" + paragraphs(f"edit {number}"))
    renamed.rename(renamed.with_name(f"renamed-{number}-{renamed.name}"))
    deleted.unlink()
    world.write(f"added-{number}.md", paragraphs(*(f"added {number} {k}" for k in range(4))))
