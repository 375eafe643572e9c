"""Batches of writes: what is in them, and in which order."""

from pathlib import Path

import numpy as np

from ragctl.collection.payload import Payload, Point
from ragctl.collection.settings import Settings
from ragctl.index.writer import Writer
from ragctl.lexical.bm25 import Bm25Config
from ragctl.records import Identity
from ragctl.stores.base import Batch
from ragctl.stores.edge import EdgeStore
from tests.store_contract import ident

FIRST, SECOND = ident(1), ident(2)
VECTOR = np.ones(2, dtype=np.float32)
MARK: Payload = {"source": "a", "text_hash": "h", "mark": "en"}
BARE: Payload = {"source": "a", "text_hash": "h"}


class Seen:
    """A collection, and the batches that went to it."""

    def __init__(self, folder: Path) -> None:
        self.batches: list[Batch] = []
        settings = Settings(Identity(model="builtin", dimension=2), Bm25Config())
        self.collection = EdgeStore(folder).create("docs", settings)
        self.apply = self.collection.apply
        self.collection.apply = self._apply  # type: ignore[method-assign]

    def _apply(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.apply(batch)

    @property
    def payloads(self) -> dict[str, Payload]:
        return {point.id: point.payload for point in self.collection.scroll()}


def made(folder: Path) -> tuple[Writer, Seen]:
    seen = Seen(folder)
    return Writer(seen.collection), seen


def test_a_first_point_marked_before_the_flush_is_written_once(tmp_path: Path) -> None:
    writer, seen = made(tmp_path)
    writer.put_first(Point(FIRST, BARE, VECTOR))
    writer.put(Point(SECOND, BARE, VECTOR))
    writer.remark(FIRST, MARK)
    writer.flush()
    (batch,) = seen.batches
    assert [point.id for point in batch.upserts] == [SECOND]
    assert [point.id for point in batch.marks] == [FIRST]
    assert not batch.mark_overwrites
    assert seen.payloads == {FIRST: MARK, SECOND: BARE}
    seen.collection.close()


def test_a_first_point_already_written_is_marked_by_a_payload_update(tmp_path: Path) -> None:
    writer, seen = made(tmp_path)
    writer.put_first(Point(FIRST, BARE, VECTOR))
    assert "h" in writer.recent
    writer.flush()
    assert seen.payloads == {FIRST: BARE}, "what was paid for is kept"
    writer.remark(FIRST, MARK)
    writer.flush()
    assert seen.batches[1].mark_overwrites == [(FIRST, MARK)]
    assert seen.payloads == {FIRST: MARK}
    seen.collection.close()


def test_a_first_point_taken_back_is_not_written(tmp_path: Path) -> None:
    writer, seen = made(tmp_path)
    writer.put_first(Point(FIRST, BARE, VECTOR))
    writer.take_back([FIRST])
    writer.flush()
    assert not seen.batches[0].upserts
    assert seen.payloads == {}
    seen.collection.close()
