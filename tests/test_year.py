"""A year of nightly runs over a changing folder that also moves, on both stores.

`pytest -m soak tests/test_year.py` runs whole years; RAGCTL_TEST_SEED selects another seed.
"""

import os
import random
from pathlib import Path

import pytest

from ragctl.pipeline import Source
from tests import year_places
from tests.world import World
from tests.year import NIGHTS as ORDINARY_NIGHTS
from tests.year import Year

pytestmark = pytest.mark.slow

NIGHTS = {**ORDINARY_NIGHTS, **year_places.NIGHTS}
_COMMON = ["quiet"] * 3  # in a year, most nights are quiet


def _new_year(world: World, tmp_path: Path, seed: int) -> Year:
    hosts = (tmp_path / "host-a", tmp_path / "host-b")
    year = Year(world=world, rng=random.Random(seed), hosts=hosts, places=tmp_path / "places")
    year.create_documents()
    year.run(sources=(Source(world.root / "sub"),))  # a source of its own, until the next run
    year.quiet()
    return year


def test_a_short_year_keeps_the_collection_in_sync(world: World, tmp_path: Path) -> None:
    """Each kind of night, in random order."""
    seed = int(os.environ.get("RAGCTL_TEST_SEED", "1"))
    year = _new_year(world, tmp_path, seed)
    nights = [*NIGHTS, *_COMMON]
    year.rng.shuffle(nights)
    for name in nights:
        year.change_folder()
        print(f"night {year.night}: {name}")
        NIGHTS[name](year)
    assert year.events["budget reached"] == 1
    print(dict(year.events))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_a_long_year_keeps_the_collection_in_sync(world: World, tmp_path: Path, seed: int) -> None:
    year = _new_year(world, tmp_path, 1000 * int(os.environ.get("RAGCTL_TEST_SEED", "1")) + seed)
    for _ in range(365):
        year.change_folder()
        name = year.rng.choice([*NIGHTS, *_COMMON])
        print(f"night {year.night}: {name}")
        NIGHTS[name](year)
    ordinary = ("run killed", "budget reached", "locked out")
    places = ("moved", "continued on another machine", "name given", "nested", "surrounded")
    for event in (*ordinary, *places, "remounted"):
        assert year.events[event] > 0, event
