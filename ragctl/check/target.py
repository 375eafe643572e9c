"""Test of the store: whether it answers, and whether the collection fits the pipeline."""

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
from ragctl.pipeline.command import migrate_command
from ragctl.stores import is_server, open_store
from ragctl.stores.base import Collection, Store
from ragctl.text import counted


@dataclass(slots=True)
class Target:
    """The store and collection of a pipeline, as far as they could be opened. Close it.

    Nothing is written: a collection that does not exist is not created. `migrate_command`: the
    command that moves the collection to the pipeline's settings.
    """

    store: Store
    migrate_command: str
    report: StoreReport
    collection: Collection | None = None

    @property
    def failed(self) -> bool:
        """Whether the store could not be read, so that its content is unknown."""
        return self.report.exists is None

    def compare(self, embedder: Embedder) -> bool:
        """Return whether the collection, if it exists, has this model's identity; add a finding."""
        if self.collection is None:
            return True
        try:
            check_identity(self.collection, embedder, self.migrate_command)
        except IdentityMismatch as error:
            self.add(failed("identity", error))
            return False
        identity = self.collection.settings.identity
        late = ", late chunking" if identity.late_chunking else ""
        identity_text = f"{identity.model}, {self.collection.settings.dim} dimensions{late}"
        self.add(good("identity", f"{identity_text}: matches these settings"))
        return True

    def add(self, finding: Finding) -> None:
        """Add a finding to the report."""
        self.report = replace(self.report, findings=(*self.report.findings, finding))

    def close(self) -> None:
        """Close the collection and the store."""
        if self.collection is not None:
            self.collection.close()
        self.store.close()


def open_target(pipeline: Pipeline, seconds: float) -> Target:
    """Open the pipeline's store and its collection; failures become findings.

    `seconds` is the approximate time limit. Raises UsageError for an invalid location, API
    key or collection name.
    """
    store = open_store(pipeline.store, environ=pipeline.environ, patience=seconds / 2)
    target = Target(
        store, migrate_command(pipeline), StoreReport(store.location, pipeline.collection, ())
    )
    try:
        _open(target)
    except StoreError as error:
        target.add(failed("store", error))
    except BaseException:
        target.close()
        raise
    return target


def _open(target: Target) -> None:
    store = target.store
    remote = is_server(store.location)
    if not remote:
        check_folder(Path(store.location))
    began = time.monotonic()
    names = store.names()
    name = target.report.collection
    target.collection = found = store.open(name)
    spent = (time.monotonic() - began) * 1000
    version = _version(store) if remote else None
    target.report = replace(
        target.report,
        milliseconds=spent,
        version=version,
        names=tuple(names),
        exists=found is not None,
    )
    kind = f"Qdrant {version}, " if version else ""
    count = counted(len(names), "collection")
    target.add(good("store", f"{store.location}: {kind}{count}, {spent:.0f} ms"))
    if found is None:
        target.add(note("collection", f"{name} does not exist yet; the first ingest creates it"))
        return
    try:
        points = found.count()
    except Locked as error:
        target.add(note("collection", f"{name} cannot be counted now: {error}"))
        return
    target.report = replace(target.report, points=points)
    target.add(good("collection", f"{name}: {counted(points, 'point')}"))


def _version(store: Store) -> str:
    from ragctl.stores.server import ServerStore

    assert isinstance(store, ServerStore), "only a server has an address"
    return ".".join(map(str, store.version))


def check_folder(folder: Path) -> None:
    """Raise StoreError if an ingest could not create or write the store's files."""
    existing = next((path for path in (folder, *folder.parents) if _holds(path.exists)), Path("/"))
    if not _holds(existing.is_dir):
        raise StoreError(f"{existing} is not a folder; give another with --store")
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        raise StoreError(f"the folder {existing} cannot be written to; give another with --store")


def _holds(test: Callable[[], bool]) -> bool:
    """Return the result of a test of a path; False if access is denied."""
    try:
        return test()
    except OSError:
        return False
