"""The writer: which points a batch contains, and in which order."""

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
UNMARKED: Payload = {"source": "a", "text_hash": "h"}


class RecordedCollection:
    """A collection that records the batches applied to it."""

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


def new_writer(folder: Path) -> tuple[Writer, RecordedCollection]:
    recorded = RecordedCollection(folder)
    return Writer(recorded.collection), recorded


def test_a_first_point_marked_before_the_flush_is_written_once(tmp_path: Path) -> None:
    writer, recorded = new_writer(tmp_path)
    writer.put_first(Point(FIRST, UNMARKED, VECTOR))
    writer.put(Point(SECOND, UNMARKED, VECTOR))
    writer.remark(FIRST, MARK)
    writer.flush()
    (batch,) = recorded.batches
    assert [point.id for point in batch.upserts] == [SECOND]
    assert [point.id for point in batch.marks] == [FIRST]
    assert not batch.mark_overwrites
    assert recorded.payloads == {FIRST: MARK, SECOND: UNMARKED}
    recorded.collection.close()


def test_a_first_point_already_written_is_marked_by_a_payload_update(tmp_path: Path) -> None:
    writer, recorded = new_writer(tmp_path)
    writer.put_first(Point(FIRST, UNMARKED, VECTOR))
    assert "h" in writer.recent
    writer.flush()
    assert recorded.payloads == {FIRST: UNMARKED}, "embedded points are kept"
    writer.remark(FIRST, MARK)
    writer.flush()
    assert recorded.batches[1].mark_overwrites == [(FIRST, MARK)]
    assert recorded.payloads == {FIRST: MARK}
    recorded.collection.close()


def test_a_first_point_that_is_taken_back_is_not_written(tmp_path: Path) -> None:
    writer, recorded = new_writer(tmp_path)
    writer.put_first(Point(FIRST, UNMARKED, VECTOR))
    writer.take_back([FIRST])
    writer.flush()
    assert not recorded.batches[0].upserts
    assert recorded.payloads == {}
    recorded.collection.close()
