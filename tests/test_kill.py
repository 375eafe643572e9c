"""Runs stopped by SIGKILL, Ctrl-C or an outage at any point: the next run completes them (I2)."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ragctl.collection.text import text_hash
from ragctl.stores import is_server
from tests.servers import faults
from tests.servers.qdrant import QdrantFacade
from tests.waiting import PROCESS_SECONDS, until, within
from tests.world import DIM, NO_PARSER, World, counts, paragraphs

pytestmark = pytest.mark.slow

ROUNDS = 6


def command(world: World) -> list[str]:
    return [
        *(sys.executable, "-m", "ragctl", "ingest", str(world.root), "--store", world.store),
        *("--model", "jina-embeddings-v3", "--dim", str(DIM), "--base-url", world.server.url),
        *("--chunk-size", "64", "--workers", "1", "--prune-limit", "100"),
        *(word for language in world.languages for word in ("--language", language)),
    ]


@contextmanager
def running(world: World) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(world),
        env={**os.environ, **world.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hashes(world: World) -> set[str]:
    """Return the hashes of all texts whose vectors are in the store."""
    with closing(world.open()) as collection:
        return set(collection.facet("text_hash"))


def edit_folder(world: World, rng: random.Random, number: int) -> None:
    """Edit, rename, delete and add documents."""
    files = sorted(world.root.glob("**/*.md"))
    for path in rng.sample(files, 6):
        text = path.read_text()
        sections = text.split("\n\n## ")
        position = rng.randrange(len(sections))
        sections[position] = f"fresh {number} {path.stem}\n\n" + paragraphs("x").split("\n\n", 1)[1]
        world.write(str(path.relative_to(world.root)), "\n\n## ".join(sections))
    renamed, deleted = rng.sample(files, 2)
    renamed.rename(renamed.with_name(f"renamed-{number}-{renamed.name}"))
    deleted.unlink()
    world.write(f"added-{number}.md", paragraphs(*(f"added {number} {n}" for n in range(7))))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_runs_killed_at_random_points_reach_the_state_of_an_uninterrupted_run(
    world: World, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    for n in range(24):
        names = (f"section {n} {k}" for k in range(rng.randrange(1, 30)))
        world.write(f"{'sub/' * (n % 3)}{n}.md", paragraphs(*names))
    with QdrantFacade() as facade:
        other = world.elsewhere(
            facade.url if is_server(world.store) else str(tmp_path / "uninterrupted")
        )
        began = time.monotonic()
        subprocess.run(command(other), env={**os.environ, **world.environ}, check=True)
        run_seconds = time.monotonic() - began
        killed = 0
        for number in range(5 * ROUNDS):
            known = hashes(world) if number and _exists(world) else set()
            world.forget()
            began = time.monotonic()
            with running(world) as process:
                try:
                    process.wait(rng.uniform(0.15, 0.75) * run_seconds)
                    run_seconds = time.monotonic() - began  # later runs are shorter
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
            resent = known & {text_hash(text) for text in world.embedded()}
            assert not resent, f"{len(resent)} texts embedded though the store had them"
            if killed == ROUNDS:
                break
            if number % 2:
                edit_folder(world, rng, number)
        assert killed == ROUNDS
        world.ingest(prune_limit=100.0)
        assert counts(world.ingest(parsing=NO_PARSER)).keys() == {"unchanged"}
        other.ingest(prune_limit=100.0)
        fresh, survivor = other.state(), world.state()
        assert survivor.keys() == fresh.keys()
        assert survivor == fresh


def _exists(world: World) -> bool:
    from ragctl.stores import open_store

    with closing(open_store(world.store, environ={})) as store:
        return world.collection in store.names()


def test_ctrl_c_keeps_embedded_texts_and_exits_130(world: World) -> None:
    for n in range(60):
        world.write(f"{n}.md", paragraphs(*(f"section {n} {k}" for k in range(20))))
    with running(world) as process:
        until(lambda: len(world.server.texts) >= 256)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PROCESS_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped early" in out
    paid = {text_hash(text) for text in world.embedded()}
    assert paid
    assert paid == hashes(world) - {""}
    world.forget()
    world.ingest()
    assert not paid & {text_hash(text) for text in world.embedded()}
    assert len(world.sources()) == 60


def test_ctrl_c_during_the_first_request_ends_at_once(edge_world: World) -> None:
    world = edge_world
    world.write("a.md", paragraphs("one"))
    world.server.gate.clear()
    with running(world) as process:
        while not world.server.in_flight:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(within(5)) == 130
    world.server.gate.set()
    assert not _exists(world)
    assert counts(world.ingest()) == {"added": 1}


def test_an_outage_keeps_texts_embedded_before_it(edge_world: World) -> None:
    world = edge_world
    for n in range(40):
        world.write(f"{n}.md", paragraphs(*(f"section {n} {k}" for k in range(20))))
    world.server.credit = 300
    done = subprocess.run(
        command(world),
        env={**os.environ, **world.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert "balance" in done.stderr.lower()
    paid = {text_hash(text) for text in world.embedded()}
    assert 0 < len(paid) <= 300
    assert hashes(world) == paid
    world.server.credit = None
    world.forget()
    world.ingest()
    assert len(world.embedded()) == 800 - len(paid)


def test_transient_faults_of_the_backend_lose_nothing(edge_world: World) -> None:
    world = edge_world
    for n in range(10):
        world.write(f"{n}.md", paragraphs(*(f"section {n} {k}" for k in range(5))))
    world.server.faults.extend([faults.busy(0.01), faults.dropped(), faults.truncated()])
    assert counts(world.ingest()) == {"added": 10}
    assert len(world.state()) == 50


def test_search_answers_while_an_ingest_is_running(edge_world: World) -> None:
    world = edge_world
    for n in range(30):
        world.write(f"{n}.md", paragraphs(*(f"section {n} {k}" for k in range(20))))
    world.ingest()
    for n in range(30):
        world.write(f"{n}.md", paragraphs(*(f"other {n} {k}" for k in range(20))))
    world.forget()
    with running(world) as process:
        until(lambda: len(world.server.texts) > 0)
        world.server.gate.clear()  # the host delays its answer; the ingest waits
        began = time.monotonic()
        found = subprocess.run(
            [
                *(sys.executable, "-m", "ragctl", "search", "section 7", "--mode", "sparse"),
                *("--store", world.store),
            ],
            env={**os.environ, **world.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=PROCESS_SECONDS,
        )
        took = time.monotonic() - began
        assert found.returncode == 0, found.stderr
        assert "section 7" in found.stdout
        assert process.poll() is None, "the ingest ended before the search"
        world.server.gate.set()
        process.communicate(timeout=PROCESS_SECONDS)
    assert process.returncode == 0
    assert took < within(20)
