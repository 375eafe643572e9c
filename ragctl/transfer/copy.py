"""Copy a collection to another store or name, with its vectors: nothing is embedded.

The copy keeps point ids, payloads, marks, identity and canary, so the next run into it finds
everything unchanged. Repeated, it writes what differs, and deletes what the original does not have.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ragctl.collection.server_options import ServerOptions
from ragctl.collection.state import read_state
from ragctl.errors import IdentityMismatch, StoreError, UsageError
from ragctl.index.cancellation import Cancellation
from ragctl.index.kept import delete_from_kept
from ragctl.index.plan import check_removal
from ragctl.index.report import Report
from ragctl.progress import Progress
from ragctl.records import Notify, ignore
from ragctl.stores import is_server
from ragctl.stores.base import Collection, Store
from ragctl.text import counted
from ragctl.transfer.documents import Difference, Original, compare_with
from ragctl.transfer.mirror import Mirror

MAX_PASSES = 10
"""Comparisons of a copy with an original that runs keep changing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A collection in a store: `name` in `store`."""

    store: Store
    name: str

    def __str__(self) -> str:
        return f"collection {self.name!r} in {self.store.location}"


@dataclass(slots=True)
class Copying:
    """One copy of a collection.

    `prune_share`: share of the copy's documents that may be deleted, from 0 to 1. `on_plan` is
    called with each difference before it is written. `open_original`: opens the source.
    `source_name`: the copy may have documents from elsewhere too, and only those of this source
    are compared.
    """

    source: Place
    target: Place
    prune_share: float = 0.3
    patience: float = 0.0
    cancellation: Cancellation = field(default_factory=Cancellation)
    notify: Notify = ignore
    progress: Progress = field(default_factory=Progress)
    on_plan: Callable[[Difference], None] = lambda _: None
    open_original: Callable[[Place], Original | None] = lambda place: place.store.open(place.name)
    source_name: str | None = None
    report: Report | None = None

    def run(self) -> Report:
        """Copy. Raises RagctlError; the next call goes on where this one ended."""
        started = time.monotonic()
        with ExitStack() as stack:
            original = self.open_original(self.source)
            if original is None:
                raise UsageError(f"there is no {self.source}")
            stack.callback(original.close)
            self.report = report = Report(self.target.name, original.settings.identity)
            stack.enter_context(
                self.target.store.lock(
                    self.target.name, patience=self.patience, waiting=self.notify
                )
            )
            copy = self._target(original)
            stack.callback(copy.close)
            try:
                self._sync(original, copy, report)
            finally:
                report.seconds = time.monotonic() - started
        return report

    def _target(self, original: Original) -> Collection:
        """Return the existing copy, or a new one with the original's settings."""
        copy = self.target.store.open(self.target.name)
        if copy is None:
            settings = original.settings
            if not is_server(self.target.store.location):
                settings = replace(settings, server=ServerOptions())
            return self.target.store.create(self.target.name, settings)
        try:
            check_copy(original, copy, self.target)
        except IdentityMismatch:
            copy.close()
            raise
        return copy

    def _sync(self, original: Original, copy: Collection, report: Report) -> None:
        mirror = Mirror(
            original,
            copy,
            exact=is_exact(copy),
            rewrite=self.source_name is not None,
            cancellation=self.cancellation,
            report=report,
            progress=self.progress,
        )
        copy.declare(original.settings.fields)
        self.progress.begin("compare")
        wanted = read_state(original)
        for number in range(MAX_PASSES):
            # The comparison that finds no difference has verified the copy, by count and hash.
            difference, stored = compare_with(wanted, copy, source_name=self.source_name)
            if number and not difference.is_empty:  # a run has changed the original meanwhile
                wanted = read_state(original)
                difference, stored = compare_with(wanted, copy, source_name=self.source_name)
            if number == 0:
                report.documents.unchanged = difference.unchanged
            if difference.is_empty:
                break
            self.on_plan(difference)
            removed = Counter(stored.documents[each].source_name for each in difference.removed)
            check_removal(removed, stored, self.prune_share)
            if difference.removed:
                delete_from_kept(self.target.store, self.target.name, difference.removed)
            mirror.sync(difference, stored)
            self.progress.begin("compare")
        else:
            raise StoreError(
                f"{counted(len(difference.changed) + len(difference.removed), 'document')} of "
                f"{self.target} "
                f"differ from {self.source}: a run changes it; copy again when it has ended"
            )
        # What a killed run left unfinished is copied as it is: the vectors are paid for.
        if difference.unfinished:
            mirror.sync(difference, stored, unfinished=True)
        notes = original.notes()
        notes.pop("request_bytes", None)  # of the original's address
        notes.pop("replaces", None)  # of its generations
        notes.pop("batches", None)  # a job belongs to one collection
        notes.pop("baseline", None)
        copy.note(notes)
        self.progress.begin("finish")
        copy.finish()


def check_copy(original: Original, copy: Collection, target: Place) -> None:
    """Raise IdentityMismatch unless `copy` can hold the points of `original` as they are."""
    own, other = original.settings, copy.settings
    differences = [
        f"{key}: {value!r} ≠ {other.identity.to_json()[key]!r}"
        for key, value in own.identity.to_json().items()
        if other.identity.to_json()[key] != value
    ]
    if own.namespace != other.namespace:
        differences.append(f"point ids of {own.namespace!r} ≠ {other.namespace!r}")
    if own.sparse != other.sparse:
        differences.append("BM25 settings")
    if differences:
        raise IdentityMismatch(
            f"{target} exists and is no copy of this one ({'; '.join(differences)}); choose "
            "another name for the copy, or delete it: ragctl delete --all -c "
            f"{target.name}"
        )


def is_exact(collection: Collection) -> bool:
    """Return whether a collection stores dense vectors as float32."""
    return collection.settings.server.datatype in (None, "float32")
