"""Migrations killed by SIGKILL at random points, with killed runs of `ingest` in between.

`pytest -m soak tests/test_migrate_kill.py` kills more: RAGCTL_TEST_KILLS processes.
RAGCTL_TEST_SEED selects another seed.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from ragctl.catalog import BackendConfig
from ragctl.pipeline import Embedding
from tests.moving import (
    Form,
    Killer,
    current_form,
    edit_folder,
    fill_folder,
    ingest_words,
    migrate_words,
    start,
    stored_hashes,
    texts_sent,
)
from tests.servers.qdrant import QdrantFacade
from tests.waiting import PROCESS_SECONDS
from tests.world import World

pytestmark = pytest.mark.slow

V3 = Form("jina-embeddings-v3", 64)
V5 = Form("jina-embeddings-v5-text-small", 64)
CUT = Form("jina-embeddings-v3", 32)
SEED = int(os.environ.get("RAGCTL_TEST_SEED", "1"))
KILLS = int(os.environ.get("RAGCTL_TEST_KILLS", "100"))
STORE_ERROR = 5


class Journey:
    """A collection that is moved between models until enough processes were killed."""

    def __init__(self, world: World, rng: random.Random, documents: int, sections: int) -> None:
        self.world = world
        self.rng = rng
        self.killer = Killer(world, rng)
        self.sent = 0
        self.resent: list[int] = []  # texts of each process that were sent and not stored
        self.complete = 0
        self.edits = 0
        fill_folder(world, rng, documents, sections)
        self.killer.run(*ingest_words(world, V3))

    def migrate(self, goal: Form, enough: int, *, edits: bool = True) -> None:
        """Migrate, killed again and again, and check what each process sends."""
        world, words = self.world, migrate_words(self.world, goal)
        while True:
            known = stored_hashes(world, goal)
            world.forget()
            if self.killer.kills.total() < enough:
                ended = self.killer.kill(*words, expected=(0, STORE_ERROR))
            else:
                self.killer.run(*ingest_words(world, current_form(world)))
                self.check_sent(goal, known)
                known = stored_hashes(world, goal)
                world.forget()
                self.killer.run(*words)
                ended = 0
            self.check_sent(goal, known)
            if ended == 0:
                break
            if ended == STORE_ERROR or (edits and self.rng.randrange(3) == 0):
                self.scheduled_run(killed=ended is None and self.killer.kills.total() < enough)
        assert current_form(world) == goal
        self.complete += 1

    def scheduled_run(self, *, killed: bool) -> None:
        world = self.world
        form = current_form(world)
        known = stored_hashes(world, form)
        world.forget()
        self.edits += 1
        edit_folder(world, self.rng, self.edits)
        words = ingest_words(world, form)
        if killed:
            self.killer.kill(*words)
        else:
            self.killer.run(*words)
        self.check_sent(form, known)

    def check_sent(self, form: Form, known: set[str]) -> None:
        """Check that a process sent each text once, and none that the store had."""
        sent = Counter(texts_sent(self.world, form))
        assert not known & sent.keys(), "embedded though the store had the vector"
        assert max(sent.values(), default=1) == 1, "sent twice by one process"
        self.sent += sent.total()
        self.resent.append(len(sent.keys() - stored_hashes(self.world, form)))

    def check_state(self, form: Form, other: World) -> None:
        """Check that the collection equals a fresh one, point by point, and nothing is left."""
        world = self.world
        self.killer.run(*ingest_words(world, form))
        embedding = Embedding(form.model, form.dim, (BackendConfig(base_url=world.server.url),))
        other.ingest(embedding=embedding, store=other.store, prune_limit=100.0)
        fresh, moved = other.state(), world.state()
        assert moved.keys() == fresh.keys()
        assert moved == fresh
        world.forget()
        report = world.ingest(embedding=embedding, prune_limit=100.0)
        assert report.requests == 0
        assert report.documents.unchanged == len(list(world.root.glob("**/*.md")))


def journey_of_models(world: World, tmp_path: Path, kills: int, documents: int) -> Journey:
    """Move between two models, from nothing each time, until `kills` processes were killed."""
    journey = Journey(world, random.Random(SEED), documents, 8)
    goal = V5
    while True:
        journey.migrate(goal, kills)
        with QdrantFacade() as facade:
            fresh = str(tmp_path / f"fresh-{journey.complete}")
            place = fresh if "://" not in world.store else facade.url
            journey.check_state(goal, world.elsewhere(place))
        journey.killer.run(
            "prune-generations", world.collection, "--keep", "0", "--store", world.store
        )
        goal = V3 if goal == V5 else V5
        if journey.killer.kills.total() >= kills:
            return journey


def told(journey: Journey) -> None:
    print(
        f"kills: {dict(journey.killer.kills)}; migrations completed: {journey.complete}; "
        f"edits: {journey.edits}; texts sent: {journey.sent}; of these not stored when their "
        f"process was killed: {sum(journey.resent)}, at most {max(journey.resent)} by one process"
    )


def test_killed_migrations_end_as_a_fresh_ingest(world: World, tmp_path: Path) -> None:
    told(journey_of_models(world, tmp_path, kills=3, documents=12))


@pytest.mark.soak
def test_a_hundred_killed_migrations_end_as_a_fresh_ingest(world: World, tmp_path: Path) -> None:
    told(journey_of_models(world, tmp_path, kills=KILLS, documents=40))


def test_a_killed_cut_sends_no_document_text(world: World, tmp_path: Path) -> None:
    journey = Journey(world, random.Random(SEED), 10, 4)
    killer, words = journey.killer, migrate_words(world, CUT)
    world.forget()
    while killer.kills.total() < 2:
        if killer.kill(*words) == 0:
            killer.run("rollback", world.collection, "--store", world.store)
            killer.run("prune-generations", world.collection, "--keep", "0", "--store", world.store)
    killer.run(*words)
    assert current_form(world) == CUT
    assert texts_sent(world, V3) == texts_sent(world, CUT) == []
    with QdrantFacade() as facade:
        place = str(tmp_path / "fresh") if "://" not in world.store else facade.url
        journey.check_state(CUT, world.elsewhere(place))


def test_a_run_and_a_migration_killed_together(edge_world: World, tmp_path: Path) -> None:
    world = edge_world
    journey = Journey(world, random.Random(SEED), 12, 4)
    killer = journey.killer
    for number in range(2):
        edit_folder(world, journey.rng, number)
        processes = [
            start(world, *ingest_words(world, current_form(world))),
            start(world, *migrate_words(world, V5)),
        ]
        time.sleep(journey.rng.uniform(0.3, 1.0) * killer.seconds["ingest"])
        for process in processes:
            process.kill()
            process.communicate(timeout=PROCESS_SECONDS)
    killer.run(*ingest_words(world, current_form(world)))
    killer.run(*migrate_words(world, V5))
    journey.check_state(V5, world.elsewhere(str(tmp_path / "fresh")))
