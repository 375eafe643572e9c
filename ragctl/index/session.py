"""What the runs of one process share: the open collection, the backend, a parsing process.

Starting the engine, loading a model and starting a parser take longer than indexing one file, so a
watcher keeps them between its runs. A run by itself has a session of its own.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Self

from ragctl.embedding import Embedder
from ragctl.index.embedder import connect_for
from ragctl.index.plan import WorkItem
from ragctl.index.prepare import BYTES_PER_PROCESS, ProcessLimits, parsers
from ragctl.pipeline import Pipeline
from ragctl.records import Notify
from ragctl.stores.base import Collection, RunStore
from ragctl.workers import Pool


class Session:
    """Open parts of runs with one pipeline, one after the other. Close it at the end.

    `kept`: it serves several runs, so that a parsing process is kept for small ones.
    """

    def __init__(self, *, kept: bool = False) -> None:
        self._kept = kept
        self._collection: Collection | None = None
        self._embedder: Embedder | None = None
        self._made_for: str | None = None  # the generation that the embedder was connected for
        self._pool: Pool | None = None
        self._limits: ProcessLimits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self, store: RunStore, name: str) -> Collection | None:
        """Return the collection, if it exists: the generation that is current now.

        The caller holds the lock of the name.
        """
        if self._collection is not None and not self._is_current(store, name):
            self._close_collection()
        if self._collection is None:
            self._collection = store.open(name)
        return self._collection

    def created(self, collection: Collection) -> None:
        """Keep a collection that the run has created."""
        self._collection = collection

    def connect(
        self,
        pipeline: Pipeline,
        collection: Collection | None,
        environ: Mapping[str, str],
        notify: Notify,
    ) -> Embedder:
        """Return an embedder for the collection, with nothing counted yet; see `connect_for`."""
        made_for = None if collection is None else collection.settings.creation_id
        if self._embedder is not None and made_for is not None and made_for == self._made_for:
            self._embedder.usage.reset()
            return self._embedder
        self._close_embedder()
        self._embedder = connect_for(pipeline, collection, environ, notify=notify)
        self._made_for = made_for
        return self._embedder

    def parsers(
        self, limits: ProcessLimits, work_items: Sequence[WorkItem]
    ) -> AbstractContextManager[Pool]:
        """Return the parsing processes of a run."""
        self._limits = limits
        if not self._kept or sum(work.stat.size for work in work_items) > BYTES_PER_PROCESS:
            return parsers(limits, work_items)
        return nullcontext(self._kept_parser(limits))

    def warm(self) -> None:
        """Start the parsing process that is kept, without waiting until it is ready."""
        if self._limits is not None:
            self._kept_parser(self._limits).warm(1)

    def _kept_parser(self, limits: ProcessLimits) -> Pool:
        if self._pool is None:
            self._pool = parsers(replace(limits, workers=1), ())
            self._pool.kept = True
        return self._pool

    def refresh(self) -> None:
        """Close what a run checks when it opens it: the collection, and a backend elsewhere.

        A model in this process stays loaded; its vectors cannot change.
        """
        self._close_collection()
        if self._embedder is not None:
            usages = self._embedder.usage.usages
            if self._embedder.failures or not all(usage.in_process for usage in usages):
                self._close_embedder()

    def close(self) -> None:
        """Close everything."""
        try:
            self._close_collection()
        finally:
            self._close_embedder()
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def _is_current(self, store: RunStore, name: str) -> bool:
        assert self._collection is not None
        opened = self._collection.settings
        for each in store.generations(name):
            if each.current and each.settings is not None:
                same = each.settings.creation_id == opened.creation_id
                return same and each.settings == opened  # the declared fields may have changed
        return False

    def _close_collection(self) -> None:
        if self._collection is not None:
            collection, self._collection = self._collection, None
            collection.close()

    def _close_embedder(self) -> None:
        if self._embedder is not None:
            embedder, self._embedder = self._embedder, None
            embedder.close()
