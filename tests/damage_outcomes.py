"""What becomes of a damaged collection: python -m tests.damage_outcomes [PART…] prints a line each.

The table in docs/durability.md is made of the last lines.
"""

import shutil
import sys
import tempfile
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragctl.collection.payload import Point, SparseVector
from ragctl.collection.state import read_state
from ragctl.errors import StoreError
from ragctl.index.verify import inspect_collection
from ragctl.stores import open_store
from ragctl.stores.base import Batch, Query, Store
from ragctl.transfer.rebuild import rebuild
from ragctl.transfer.rebuild_settings import PipelineSettings
from tests.damages import Damage, copy_store, damages, make_collection, pipeline, run

QUERY = Query(
    10, np.ones(64, dtype=np.float32), SparseVector(list(range(0, 1 << 32, 1 << 20)), [1.0] * 4096)
)
"""A query that reads every vector."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen of one damage.

    `run`, `verify`, `search`: the error of what each reads; None without one. `faults`: what
    verify found. `same`: every point is read as it was. `repaired`: an ingest brought everything
    back. `rebuilt`: a rebuild and an ingest did. `salvaged`: share of the points that `salvage`
    returns intact; `wrong`: number of points that it returns with another payload or vector.
    `lost`: what it says.
    """

    title: str
    run: str | None
    verify: str | None
    search: str | None
    faults: int
    same: bool
    repaired: bool
    rebuilt: bool
    salvaged: float
    wrong: int
    lost: list[str]

    @property
    def kind(self) -> str:
        """How the damage ends, the mildest first."""
        if self.same and not (self.run or self.verify or self.search or self.faults):
            return "absorbed"
        if self.repaired:
            return "repaired by the next run"
        if self.run:
            return "reported by run, rebuilt"
        return "reported by verify, rebuilt"


def points_of(store: Store) -> dict[str, Point]:
    """Return every point by id."""
    collection = store.open("docs")
    assert collection is not None
    with closing(collection):
        return {point.id: point for point in collection.scroll(vectors=True)}


def chunk(point: Point) -> tuple[object, object]:
    """Return what tells a point from all others without its id."""
    return point.payload.get("version"), point.payload.get("ordinal")


def equal(one: Point, other: Point) -> bool:
    """Return whether payload and vectors are the same; a missing sparse vector does not count."""
    if one.payload != other.payload:
        return False
    if one.dense is None or other.dense is None:
        return one.dense is other.dense
    return bool(np.allclose(one.dense, other.dense, atol=1e-5))


class Damaged:
    """An intact collection, copies of which are damaged: documents, store, points, settings."""

    def __init__(self, folder: Path) -> None:
        self.documents, self.store = folder / "docs", folder / "whole"
        make_collection(self.documents, self.store)
        self.damages = damages(self.store / "collections" / "docs")
        copy_store(self.store, folder / "read")  # the engine changes files when it opens them
        with closing(open_store(str(folder / "read"), environ={})) as store:
            self.points = points_of(store)
            self.settings = store.generations("docs")[0].settings


def assess(damage: Damage, whole: Damaged, place: Path) -> Outcome:
    """Damage a copy of the store below `place`, and use it. Raises what is not expected.

    After every damage the collection can be listed, read by `salvage`, brought back, deleted and
    made again.
    """
    location, documents, before = place / "store", whole.documents, whole.points
    copy_store(whole.store, location)
    with closing(open_store(str(location), environ={}, patience=10)) as store:
        damage.apply(location / "collections" / "docs")
        assert store.names() == ["docs"]
        store.generations("docs")
        salvage = store.salvage("docs")
        assert salvage is not None
        own = {chunk(point): point_id for point_id, point in before.items()}
        # A point has another id where the ids of its segment are lost.
        salvaged = {
            point.id if point.id in before else own.get(chunk(point), point.id): point
            for point in salvage.points
        }
        intact = sum(
            point.dense is not None and point_id in before and equal(point, before[point_id])
            for point_id, point in salvaged.items()
        )
        bare = sum(point.dense is None for point in salvaged.values())
        errors, faults = _use(store)
        same = False
        if not errors["verify"]:
            found = points_of(store)
            same = found.keys() == before.keys() and all(
                equal(point, before[point_id]) for point_id, point in found.items()
            )
        repaired = rebuilt = False
        if not same or faults or any(errors.values()):
            repaired = _is_whole_after_run(store, documents, location)
            if not repaired:
                rebuild(
                    store, "docs", otherwise=PipelineSettings(pipeline(documents, location), {})
                )
                rebuilt = _is_whole_after_run(store, documents, location)
                assert rebuilt, "neither a run nor a rebuild brings it back"
                shutil.rmtree(location)
                copy_store(whole.store, location)
                damage.apply(location / "collections" / "docs")
        store.drop("docs")
        assert store.names() == []
        assert list((location / "collections").iterdir()) == []
        assert whole.settings is not None
        with closing(store.create("docs", whole.settings)) as again:
            again.apply(Batch(upserts=list(before.values())[:3]))
            assert again.count() == 3
    shutil.rmtree(location)
    return Outcome(
        damage.title,
        **errors,
        faults=faults,
        same=same,
        repaired=repaired,
        rebuilt=rebuilt,
        salvaged=intact / len(before),
        wrong=len(salvaged) - bare - intact,
        lost=salvage.lost,
    )


def _is_whole_after_run(store: Store, documents: Path, location: Path) -> bool:
    """Ingest the documents, and return whether everything is there and can be read."""
    with suppress(StoreError):
        run(documents, location)
        errors, faults = _use(store)
        return not any(errors.values()) and faults == 0
    return False


def _use(store: Store) -> tuple[dict[str, str | None], int]:
    """Do what a run, verify and a search read; return their errors, and the faults found."""
    errors: dict[str, str | None] = dict.fromkeys(("run", "verify", "search"))
    faults = 0
    try:
        collection = store.open("docs")
        assert collection is not None
    except StoreError as error:
        return dict.fromkeys(errors, str(error)), 0
    with closing(collection):
        try:
            read_state(collection)
            collection.facet("mark")
            collection.notes()
        except StoreError as error:
            errors["run"] = str(error)
        try:
            faults = len(inspect_collection(collection).faults)
        except StoreError as error:
            errors["verify"] = str(error)
        try:
            collection.query(QUERY)
        except StoreError as error:
            errors["search"] = str(error)
    return errors, faults


def main() -> None:
    """Assess the damages whose title has one of the given parts, and count the outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Damaged(Path(folder))
        kinds: Counter[str] = Counter()
        for number, damage in enumerate(whole.damages):
            if sys.argv[1:] and not any(part in damage.title for part in sys.argv[1:]):
                continue
            place = Path(folder, str(number))
            try:
                outcome = assess(damage, whole, place)
            except Exception as error:  # noqa: BLE001 - to be seen with all others
                kinds["FAILED"] += 1
                print(f"FAILED | {damage.title} | {type(error).__name__}: {error}", flush=True)
                continue
            finally:
                shutil.rmtree(place, ignore_errors=True)
            kinds[outcome.kind] += 1
            print(
                f"{outcome.kind} | {outcome.title} | {outcome.salvaged:.0%} come back, "
                f"{outcome.wrong} wrong | {outcome.run or outcome.verify or outcome.search or ''}"
                f" | {outcome.lost}",
                flush=True,
            )
        print(dict(kinds))


if __name__ == "__main__":
    main()
