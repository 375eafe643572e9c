"""Whatever is damaged, a collection can be listed, brought back, deleted and made again.

`python -m tests.damage_outcomes` prints every damage; docs/durability.md has the result.
"""

from pathlib import Path

import pytest

from tests.damage_outcomes import Damaged, assess

pytestmark = pytest.mark.slow

SEALED, UNSEALED = "shard/segments/SEALED", "shard/segments/UNSEALED"
SAMPLE = {
    "current: removed": ("absorbed", 1.0),
    "collection.json: flipped": ("absorbed", 1.0),
    "notes.json: half": ("absorbed", 1.0),
    "shard: removed": ("reported by run, rebuilt", 0.0),
    "shard/edge_config.json: half": ("reported by run, rebuilt", 1.0),
    f"{SEALED}: removed": ("repaired by the next run", 0.1),
    f"{SEALED}/payload_index/config.json: half": ("reported by run, rebuilt", 1.0),
    f"{SEALED}/payload_storage/bitmask.dat: half": ("reported by run, rebuilt", 1.0),
    f"{SEALED}/segment.json: flipped": ("reported by run, rebuilt", 1.0),
    f"{SEALED}/vector_storage-dense/deleted.dat: removed": ("absorbed", 1.0),
    f"{UNSEALED}/mutable_id_tracker.mappings: half": (None, 0.5),
    "shard/wal/first-index: half": (None, 1.0),
}
"""How the damage ends (None: it depends), and the least share of points that come back."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    return Damaged(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("title", SAMPLE)
def test_a_damaged_collection_is_brought_back(title: str, whole: Damaged, tmp_path: Path) -> None:
    (damage,) = (each for each in whole.damages if each.title == title)
    outcome = assess(damage, whole, tmp_path)
    kind, share = SAMPLE[title]
    assert kind in (None, outcome.kind)
    assert outcome.salvaged >= share
    assert outcome.wrong == 0
    for error in (outcome.run, outcome.verify):
        assert error is None or ("ragctl rebuild docs" in error and "\n" not in error)


@pytest.mark.soak
def test_every_damaged_collection_is_brought_back(whole: Damaged, tmp_path: Path) -> None:
    for number, damage in enumerate(whole.damages):
        outcome = assess(damage, whole, tmp_path / str(number))
        for error in (outcome.run, outcome.verify):
            assert error is None or "ragctl rebuild docs" in error, damage.title
