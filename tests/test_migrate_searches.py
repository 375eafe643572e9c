"""Searches during migrations, rollbacks, scheduled runs and the removal of old generations.

Both models have vectors of one dimension, so that a question embedded with one model would find
something in the other's vectors: only the rankings and scores tell. `pytest -m soak
tests/test_migrate_searches.py` asks 10,000 questions.
"""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ragctl import Hit, open_collection
from ragctl.catalog import BackendConfig
from ragctl.pipeline import Embedding
from ragctl.stores import open_store
from ragctl.transfer.generations import prune_generations, rollback
from ragctl.transfer.migrate import Migration
from tests.moving import Form, start
from tests.servers.qdrant import QdrantFacade
from tests.waiting import PROCESS_SECONDS
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

V3 = Form("jina-embeddings-v3", 64)
V5 = Form("jina-embeddings-v5-text-small", 64)
FIXED = "fixed.md"
LIMIT = 5
WHERE = f"source=docs/{FIXED}"  # runs change the other documents
SECTIONS = 32
QUESTIONS = tuple(f"which valve n{k} n{k + 7}" for k in range(12))
SCORE_TOLERANCE = 1e-5

Ranking = tuple[tuple[int, float], ...]
"""Start and score of each hit."""


def ranking(hits: list[Hit]) -> Ranking:
    return tuple((hit.start, hit.score) for hit in hits)


def equal(one: Ranking, other: Ranking) -> bool:
    return len(one) == len(other) and all(
        start == wanted and abs(score - expected) < SCORE_TOLERANCE
        for (start, score), (wanted, expected) in zip(one, other, strict=True)
    )


def embedding(world: World, form: Form) -> Embedding:
    return Embedding(form.model, form.dim, (BackendConfig(base_url=world.server.url),))


@dataclass
class Searches:
    """Searchers of a collection whose answers are checked against those of each generation."""

    world: World
    expected: dict[str, dict[Form, Ranking]]
    seen: dict[Form, int] = field(default_factory=lambda: {V3: 0, V5: 0})
    processes: int = 0
    failures: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        return sum(self.seen.values())

    def check(self, question: str, found: Ranking) -> None:
        """Count an answer for the generation that it equals."""
        for form, wanted in self.expected[question].items():
            if equal(found, wanted):
                with self.lock:
                    self.seen[form] += 1
                return
        raise AssertionError(f"{question}: {found} is of no generation: {self.expected[question]}")

    def library(self, number: int) -> None:
        """Search in this process, one question at a time and several at once."""
        rng = random.Random(number)
        world = self.world
        with open_collection(
            world.collection, store=world.store, environ=world.environ
        ) as searcher:
            while not self.stop.is_set():
                question = rng.choice(QUESTIONS)
                found = searcher.search(question, mode="dense", limit=LIMIT, where=WHERE)
                self.check(question, ranking(found))
                questions = rng.sample(QUESTIONS, 8)
                outcomes = searcher.search_many(questions, mode="dense", limit=LIMIT, where=WHERE)
                for question, outcome in zip(questions, outcomes, strict=True):
                    assert isinstance(outcome, list), outcome
                    self.check(question, ranking(outcome))

    def commands(self, number: int) -> None:
        """Search with one process per question."""
        for question in itertools.cycle(QUESTIONS):
            if self.stop.is_set():
                return
            words = ["search", question, "--mode", "dense", "--limit", str(LIMIT), "--json"]
            words += ["--where", WHERE, "--store", self.world.store]
            with start(self.world, *words) as process:
                out, err = process.communicate(timeout=PROCESS_SECONDS)
            assert process.returncode == 0, f"{question}: {process.returncode}: {out}{err}"
            hits = json.loads(out)["hits"]
            self.check(question, tuple((hit["start"], hit["score"]) for hit in hits))
            self.processes += 1

    def started(self, work: Callable[[int], None], number: int) -> threading.Thread:
        def guarded() -> None:
            try:
                work(number)
            except BaseException as error:  # noqa: BLE001
                self.failures.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread


def expected(world: World, tmp_path: Path) -> dict[str, dict[Form, Ranking]]:
    """Return the answers of each generation, from collections that nobody changes."""
    answers: dict[str, dict[Form, Ranking]] = {question: {} for question in QUESTIONS}
    with QdrantFacade() as facade:
        for form in (V3, V5):
            on_server = "://" in world.store
            other = world.elsewhere(facade.url if on_server else str(tmp_path / form.model))
            other = replace(other, collection=form.model)
            other.ingest(embedding=embedding(world, form), store=other.store)
            with open_collection(form.model, store=other.store, environ=world.environ) as searcher:
                for question in QUESTIONS:
                    found = searcher.search(question, mode="dense", limit=LIMIT, where=WHERE)
                    assert len(found) == LIMIT
                    answers[question][form] = ranking(found)
    for of in answers.values():
        assert [start for start, _ in of[V3]] != [start for start, _ in of[V5]]
    return answers


def change_collection(world: World, number: int) -> None:
    """Migrate to the other model with a scheduled run meanwhile; then roll back and prune."""
    goal, former = (V5, V3) if number % 2 == 0 else (V3, V5)
    pipeline = replace(world.pipeline(), embedding=embedding(world, goal))
    with closing(open_store(world.store, environ={})) as store:
        world.write("changing.md", paragraphs(f"edit {number}", "other"))
        world.write(f"new-{number}.md", paragraphs(f"new {number}"))
        run = threading.Thread(
            target=lambda: world.ingest(embedding=embedding(world, former), wait=True)
        )
        run.start()
        result = Migration(pipeline, store, world.environ, keep=number % 3).run()
        run.join()
        assert result.switched
        if number % 3 == 1:
            now, before = rollback(store, world.collection)
            world.ingest(embedding=embedding(world, former))
            assert rollback(store, world.collection, to=now) == (before, now)
        prune_generations(store, world.collection, keep=0)
        (world.root / f"new-{number}.md").unlink()
        world.ingest(embedding=embedding(world, goal))
        assert len(store.generations(world.collection)) == 1


def searched(world: World, tmp_path: Path, enough: int, seconds: float) -> Searches:
    """Change the collection until `enough` questions were answered, or for `seconds`."""
    world.write(FIXED, paragraphs(*(f"part n{k}" for k in range(SECTIONS))))
    answers = expected(world, tmp_path)
    for n in range(12):
        world.write(f"other-{n}.md", paragraphs(*(f"part {n} {k}" for k in range(4))))
    world.ingest()
    searches = Searches(world, answers)
    began = time.monotonic()
    threads = [searches.started(searches.library, number) for number in range(3)]
    threads.append(searches.started(searches.commands, 0))
    changes = 0
    try:
        while changes < 2 or (searches.total < enough and time.monotonic() - began < seconds):
            if searches.failures:
                break
            change_collection(world, changes)
            changes += 1
    finally:
        searches.stop.set()
        for thread in threads:
            thread.join()
    took = time.monotonic() - began
    print(
        f"{searches.total} answers ({searches.processes} by processes), "
        f"{searches.seen[V3]} and {searches.seen[V5]} by model; {changes} migrations; {took:.0f} s"
    )
    if searches.failures:
        raise searches.failures[0]
    assert searches.processes > 0
    assert min(searches.seen.values()) > 0
    return searches


def test_no_answer_fails_or_mixes_generations(world: World, tmp_path: Path) -> None:
    searched(world, tmp_path, enough=60, seconds=60)


@pytest.mark.soak
def test_ten_thousand_answers_are_each_of_one_generation(world: World, tmp_path: Path) -> None:
    assert searched(world, tmp_path, enough=10_000, seconds=900).total >= 10_000
