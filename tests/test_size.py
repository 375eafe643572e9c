"""An estimated size is near the measured one, and grows with what it depends on."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragctl.collection.payload import Payload, Point, SparseVector
from ragctl.collection.server_options import ServerOptions
from ragctl.collection.settings import QUANTIZATIONS
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from ragctl.stores.size import SERVER_LOG_BYTES, Size, estimate_size
from tests.store_contract import SETTINGS, ident, with_dimension
from tests.world import World, paragraphs

pytestmark = pytest.mark.slow

COUNT, DIM = 1500, 256


def on_disk(folder: Path) -> int:
    """Return the bytes of the blocks in use: the engine's files are sparse."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on a disk: in a file system in memory the files use other blocks."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


def test_an_embedded_collection_is_about_as_large_as_estimated(disk: Path) -> None:
    random = np.random.default_rng(5)
    made = EdgeStore(disk).create("docs", with_dimension(SETTINGS, DIM))
    words = [f"{number:05}" for number in range(100_000)]
    sizes = []
    for first in range(0, COUNT, 250):
        points = []
        for number in range(first, first + 250):
            text = " ".join(words[n] for n in random.integers(0, 100_000, 140))
            sizes.append(len(text))
            terms = sorted(set(random.zipf(1.25, 160).clip(max=10**9).tolist()))[:80]
            body: Payload = {
                "source": f"docs/{number // 8}.md",
                "source_name": "docs",
                "stamp": str(1_700_000_000_000_000_000 + number),
                "digest": f"{number:064}",
                "version": f"{number // 8:064}",
                "text_hash": f"{number:064}",
                "text": text,
                "heading": ["One chapter of it", "And one section"],
                "meta": {"team": "sales", "day": "2026-01-31"},
            }
            vector = random.normal(size=DIM).astype(np.float32)
            sparse = SparseVector(terms, [1.0] * len(terms))
            points.append(Point(ident(number), body, vector, sparse))
        made.apply(Batch(upserts=points))
    made.finish()
    made.close()
    text_bytes = sum(sizes) / len(sizes)
    size = estimate_size(COUNT, DIM, text_bytes=text_bytes, quantization=None, server=None)
    assert size.disk_bytes == pytest.approx(on_disk(disk / "collections"), rel=0.25)


@pytest.mark.parametrize("server", [False, True])
def test_copies_save_memory_and_cost_disk(server: bool) -> None:
    def size(quantization: str | None, points: int = 100_000) -> tuple[int, int]:
        found = estimate_size(
            points,
            1024,
            text_bytes=1000,
            quantization=quantization,
            server=ServerOptions() if server else None,
        )
        return found.memory_bytes, found.disk_bytes

    memory, disk = size(None)
    assert (memory > 400e6) is not server  # a server maps whole vectors from the disk
    for kind in QUANTIZATIONS:
        assert size(kind)[1] > disk
        assert server or size(kind)[0] < memory / 2
    assert size("binary")[0] < size("turbo4")[0] < size("scalar")[0]
    assert size(None, 200_000)[1] > 1.7 * disk
    assert size(None, 0)[1] <= 64e6


def test_a_plan_estimates_the_points(world: World) -> None:
    world.write("a.md", paragraphs("one", "two", "three"))
    world.write("b.md", paragraphs("four"))
    world.write("empty.md", "\n")
    planned = world.run().dry_run()
    world.ingest()
    assert planned.size is not None
    assert planned.size.points == sum(world.sources().values())
    world.write("a.md", paragraphs("one", "two", "three", "five", "six"))
    world.write("c.md", paragraphs("seven"))
    (world.root / "b.md").unlink()
    planned = world.run().dry_run()
    world.ingest()
    assert planned.size is not None
    assert planned.size.points == sum(world.sources().values())
    again = world.run().dry_run()
    assert again.size is not None
    assert again.size.points == planned.size.points
    assert again.size.disk_bytes == pytest.approx(planned.size.disk_bytes, rel=0.2)
    assert again.to_json()["size"] == again.size.to_json()


def test_server_options_change_the_estimate() -> None:
    def size(**options: Any) -> Size:
        server = ServerOptions(**options)
        return estimate_size(100_000, 1024, text_bytes=1000, quantization=None, server=server)

    plain = size()
    vectors = 100_000 * 1024 * 4
    assert size(datatype="float16").disk_bytes == plain.disk_bytes - vectors // 2
    assert size(vectors_on_disk=False).memory_bytes == plain.memory_bytes + vectors
    assert size(vectors_on_disk=False).disk_bytes == plain.disk_bytes
    assert size(payload_on_disk=False).memory_bytes > plain.memory_bytes + 100_000 * 1000
    assert size(replicas=2).disk_bytes == 2 * plain.disk_bytes
    assert size(replicas=2).memory_bytes == 2 * plain.memory_bytes
    assert size(hnsw_m=0).memory_bytes < plain.memory_bytes < size(hnsw_m=32).memory_bytes
    assert size(shards=3).disk_bytes == plain.disk_bytes + 2 * SERVER_LOG_BYTES
