"""The store: does it answer, and does the collection fit what the pipeline says?"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ragctl.check.findings import Finding, StoreReport, failed, good, note
from ragctl.embedding import Embedder
from ragctl.errors import IdentityMismatch, Locked, StoreError
from ragctl.index.embedder import check_identity
from ragctl.pipeline import Pipeline
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Collection, Store


@dataclass(slots=True)
class Target:
    """A pipeline's store, as far as it could be opened. Close it.

    Nothing is written: a collection that does not exist is not made.
    """

    store: Store
    report: StoreReport
    collection: Collection | None = None

    @property
    def failed(self) -> bool:
        """Whether it is unknown what is stored."""
        return self.report.exists is None

    def compare(self, embedder: Embedder) -> bool:
        """Find whether the collection, where there is one, is of this model. Return if it is."""
        if self.collection is None:
            return True
        try:
            check_identity(self.collection, embedder)
        except IdentityMismatch as error:
            self.add(failed("identity", error))
            return False
        identity = self.collection.settings.identity
        late = ", late chunking" if identity.late_chunking else ""
        made = f"{identity.model}, {self.collection.settings.dim} dimensions{late}"
        self.add(good("identity", f"{made}: as this run wants"))
        return True

    def add(self, finding: Finding) -> None:
        self.report = replace(self.report, findings=(*self.report.findings, finding))

    def close(self) -> None:
        if self.collection is not None:
            self.collection.close()
        self.store.close()


def look(pipeline: Pipeline, seconds: float) -> Target:
    """Open the pipeline's store and its collection; what fails is in the report.

    `seconds`: about how long it may take. Raises UsageError for a location, key or
    name that cannot be one.
    """
    store = open_store(pipeline.store, environ=pipeline.environ, patience=seconds / 2)
    place = Target(store, StoreReport(store.location, pipeline.collection, ()))
    try:
        _open(place)
    except StoreError as error:
        place.add(failed("store", error))
    except BaseException:
        place.close()
        raise
    return place


def _open(place: Target) -> None:
    store = place.store
    remote = is_server(store.location)
    if not remote:
        _check_folder(Path(store.location))
    began = time.monotonic()
    names = store.names()
    name = place.report.collection
    place.collection = found = store.open(name)
    spent = (time.monotonic() - began) * 1000
    version = _version(store) if remote else None
    place.report = replace(
        place.report,
        milliseconds=spent,
        version=version,
        names=tuple(names),
        exists=found is not None,
    )
    kind = f"Qdrant {version}, " if version else ""
    count = _counted(len(names), "collection")
    place.add(good("store", f"{store.location}: {kind}{count}, {spent:.0f} ms"))
    if found is None:
        place.add(note("collection", f"{name} does not exist yet; the first ingest makes it"))
        return
    try:
        points = found.count()
    except Locked as error:
        place.add(note("collection", f"{name} cannot be counted now: {error}"))
        return
    place.report = replace(place.report, points=points)
    place.add(good("collection", f"{name}: {_counted(points, 'point')}"))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _version(store: Store) -> str:
    from ragctl.stores.server import ServerStore

    assert isinstance(store, ServerStore), "only a server has an address"
    return ".".join(map(str, store.version))


def _check_folder(folder: Path) -> None:
    """Raise StoreError where an ingest could not make or write the store's files."""
    there = next((path for path in (folder, *folder.parents) if _is(path.exists)), Path("/"))
    if not _is(there.is_dir):
        raise StoreError(f"{there} is no folder; give another with --store")
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        raise StoreError(f"the folder {there} cannot be written to; give another with --store")


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # nobody may look there
        return False
