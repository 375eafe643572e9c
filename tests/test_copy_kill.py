"""Copies between both kinds of store, killed by SIGKILL at random points.

`pytest -m soak tests/test_copy_kill.py` kills more: RAGCTL_TEST_KILLS processes. RAGCTL_TEST_SEED
selects another seed.
"""

import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from ragctl.stores import open_store
from tests.moving import Form, Killer, edit_folder, fill_folder, ingest_words
from tests.servers.counting_proxy import CountingProxy
from tests.servers.qdrant import QdrantFacade
from tests.test_copy import exact
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

V3 = Form("jina-embeddings-v3", 64)
SEED = int(os.environ.get("RAGCTL_TEST_SEED", "1"))
KILLS = int(os.environ.get("RAGCTL_TEST_KILLS", "50"))


def copy_until_whole(killer: Killer, source: str, target: str, enough: int) -> None:
    """Copy, killed until `enough` processes were killed, and compare point by point."""
    words = ["copy", source, target, "--prune-limit", "100", "--wait"]
    while killer.kills.total() >= enough or killer.kill(*words) is None:
        if killer.kills.total() >= enough:
            killer.run(*words)
            break
    assert exact(target) == exact(source)


def there_and_back(world: World, tmp_path: Path, kills: int, documents: int) -> None:
    """Copy to a server and back with edits in between, until `kills` copies were killed."""
    rng = random.Random(SEED)
    fill_folder(world, rng, documents, 6)
    killer = Killer(world, rng)
    killer.run(*ingest_words(world, V3))
    back, rounds = str(tmp_path / "back"), 0
    with QdrantFacade() as facade:
        while killer.kills.total() < kills or rounds == 0:
            rounds += 1
            enough = kills if kills < 10 else min(kills, 6 * rounds)
            copy_until_whole(killer, world.store, facade.url, enough - enough // 3)
            copy_until_whole(killer, facade.url, back, enough)
            edit_folder(world, rng, rounds)
            killer.run(*ingest_words(world, V3))
            if rounds % 2:  # the next ones start from nothing, the others with a difference
                with closing(open_store(facade.url, environ={})) as store:
                    store.drop("docs")
                shutil.rmtree(back)
        world.forget()
        copy_until_whole(killer, world.store, facade.url, kills)
        copy_until_whole(killer, facade.url, back, kills)
        assert world.server.requests == []
    print(f"copies killed: {killer.kills['copy']}; rounds: {rounds}")
    assert killer.kills["copy"] >= kills


def test_killed_copies_are_equal_point_by_point(edge_world: World, tmp_path: Path) -> None:
    there_and_back(edge_world, tmp_path, kills=2, documents=12)


@pytest.mark.soak
def test_fifty_killed_copies_are_equal_point_by_point(edge_world: World, tmp_path: Path) -> None:
    there_and_back(edge_world, tmp_path, kills=KILLS, documents=40)


@pytest.mark.parametrize("back", [False, True], ids=["to a server", "from a server"])
def test_one_percent_changed_moves_few_bytes(
    edge_world: World, tmp_path: Path, *, back: bool
) -> None:
    """Count what crosses the socket, with the small vectors of the tests: the hardest case."""
    world = edge_world
    for n in range(100):
        world.write(f"{n}.md", paragraphs(*(f"part {n} {k}" for k in range(10))))
    world.ingest()
    killer = Killer(world, random.Random(SEED))
    with QdrantFacade() as facade, CountingProxy(facade.url) as proxy:
        source, target = world.store, proxy.url
        if back:
            killer.run("copy", world.store, facade.url)
            source, target = proxy.url, str(tmp_path / "back")
        killer.run("copy", source, target)
        whole = proxy.bytes
        world.write("50.md", paragraphs(*(f"part 50 {k}" for k in range(9)), "new"))
        world.ingest()
        if back:
            killer.run("copy", world.store, facade.url)
        proxy.bytes = 0
        killer.run("copy", source, target)
        moved = proxy.bytes
        print(f"{whole:,} bytes for the whole, {moved:,} for 1 %: {moved / whole:.2%}")
        assert exact(target) == exact(world.store)
        assert moved <= 0.05 * whole
