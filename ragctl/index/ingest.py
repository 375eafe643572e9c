"""Carry out a plan: read, chunk, reuse or embed, write; what is removed goes last.

    tasks ─► Pool (load, chunk, BM25) ─► group ─► store lookup ─► reuse ─────────┐
                                                     └─► DocumentStream ─► place ┴► Writer

One thread runs this loop; parsing happens in worker processes and embedding
requests in the stream's threads, so all three overlap.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from ragctl.collection.conditions import Match
from ragctl.collection.payload import Payload, Vector
from ragctl.collection.points import PreparedDocument, namespace, payloads, point_ids
from ragctl.collection.state import State, Stored
from ragctl.embedding.base import Embedder, Vectors
from ragctl.embedding.stream import DocumentStream
from ragctl.errors import BudgetReached, DocumentError, Interrupted
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.pending import PendingDocument, PendingFile
from ragctl.index.plan import Plan, WorkItem, check_removal, renames
from ragctl.index.prepare import FileEnd, Item, UnchangedDocument
from ragctl.index.recipe import Recipe
from ragctl.index.report import Progress, Report
from ragctl.index.stored_points import StoredPoints
from ragctl.index.verify import Damage
from ragctl.index.writer import Writer
from ragctl.stores.base import Collection
from ragctl.workers import Ended, Pool

_GROUP_CHUNKS = 128  # documents are compared with the store in groups of about so many chunks,
_GROUP_SECONDS = 0.2  # or when the first of them has waited so long
_SOME = 256  # chunks obtained at a time, and values in one filter


class Ingest:
    """One run over one collection. Make it, call `run` once, read `report`."""

    def __init__(
        self,
        collection: Collection,
        embedder: Embedder,
        recipe: Recipe,
        report: Report,
        *,
        ledger: BudgetTracker,
        cancellation: Cancellation,
        progress: Progress,
        damage: Damage,
    ) -> None:
        self.report = report
        self._embedder = embedder
        self._recipe = recipe
        self._ledger = ledger
        self._cancellation = cancellation
        self._progress = progress
        self._damage = damage
        self._stored_points = StoredPoints(collection, damage.distrusted)
        self._space = namespace(collection.name)
        self._writer = Writer(collection)
        self._waiting: dict[str, list[tuple[PendingDocument, int]]] = {}  # by hash of the text sent
        self._group: list[tuple[WorkItem, PendingFile, PreparedDocument]] = []
        self._group_since = 0.0
        self._vanished: list[Stored] = []
        self._added: Counter[str] = Counter()  # digests of documents new in this run

    def run(self, plan: Plan, state: State, pool: Pool, *, prune_share: float | None) -> None:
        """Do all of it. `prune_share` None removes nothing.

        Raises Interrupted, BudgetReached, BackendError or StoreError after what was
        in flight has been written; the next run goes on from there.
        """
        self.report.left = len(plan.work_items)
        try:
            with DocumentStream[str](self._embedder) as stream:
                try:
                    self._read(plan, pool, stream)
                    self._compare(stream)
                    self._drain(stream)
                except Interrupted:
                    self._rescue(stream)
                    raise
                finally:
                    self.report.stages["embed"] = stream.seconds
        finally:
            self._writer.flush()
            self.report.stages["write"] = self._writer.seconds
            self._count()
        with self.report.stage("prune"):
            if prune_share is not None:
                self._remove(plan, state, prune_share)
            self._writer.drop(sorted(self._damage.strays))
            self._writer.flush()
        self._count()

    def _drain(self, stream: DocumentStream[str]) -> None:
        stream.flush()
        while stream.pending:
            self._cancellation.raise_if_cancelled()
            self._placed(stream.completed(block=True))

    def _read(self, plan: Plan, pool: Pool, stream: DocumentStream[str]) -> None:
        tasks = {task.stat.file: task for task in plan.work_items}
        files: dict[str, PendingFile] = {}
        items = pool.stream(self._recipe.job(task) for task in plan.work_items)
        while True:
            with self.report.stage("read"), self._cancellation.interruptible():
                job, item = next(items, (None, None))
            if job is None:
                pool.close()
                return
            file = files.setdefault(job.file, PendingFile(job.file))
            self._item(tasks[job.file], file, item, stream)
            if isinstance(item, Ended):
                del files[job.file]
            self._placed(stream.completed(block=False))

    def _item(
        self,
        task: WorkItem,
        file: PendingFile,
        item: Item | Ended | None,
        stream: DocumentStream[str],
    ) -> None:
        match item:
            case PreparedDocument():
                file.seen.add(item.source)
                file.outstanding += 1
                if not self._group:
                    self._group_since = time.monotonic()
                self._group.append((task, file, item))
                self._compare_if_due(stream)
            case UnchangedDocument():
                file.seen.add(item.source)
                file.restat = True
                self.report.documents.unchanged += 1
            case DocumentError():
                self._failed(file, task.stat.file, str(item))
            case FileEnd():
                self._file_end(task, file, item)
            case Ended():
                if item.error is not None:
                    self._failed(file, task.stat.file, str(item.error))
                file.ended = True
                self._count_if_done(file)
                self._progress.file(task.stat.size)

    def _failed(self, file: PendingFile, source: str, error: str) -> None:
        file.failed = True
        self.report.add_failure(source, error.removeprefix(f"{source}: "), file.file)

    def _count_if_done(self, file: PendingFile) -> None:
        if file.ended and not file.outstanding:
            self.report.left -= 1

    def _file_end(self, task: WorkItem, file: PendingFile, end: FileEnd) -> None:
        """All of the file was read: seal it when its last document is written."""
        if file.restat or file.seen != {file.file}:
            stat = task.stat
            file.seal = {
                "size": stat.size,
                "mtime_ns": stat.mtime_ns,
                "root": stat.root,
                "parts": end.documents,
            }
        if not file.failed:
            gone = [d for d in task.stored if d.source not in file.seen]
            # What stood for a file without any record is no document of its own.
            self._vanished += [d._replace(digest="") if d.source == d.file else d for d in gone]
        self._seal_if_done(file)

    def _seal_if_done(self, file: PendingFile) -> None:
        # Not after a failure inside: the file must be read again next time.
        if file.seal and not file.outstanding and not file.failed:
            sources = sorted(file.seen)
            for first in range(0, len(sources), _SOME):
                some = Match("source", tuple(sources[first : first + _SOME]))
                self._writer.merge((some,), file.seal)

    # Comparing with the store

    def _compare_if_due(self, stream: DocumentStream[str]) -> None:
        chunks = sum(len(document.chunks) or 1 for _, _, document in self._group)
        if chunks >= _GROUP_CHUNKS or time.monotonic() - self._group_since > _GROUP_SECONDS:
            self._compare(stream)

    def _compare(self, stream: DocumentStream[str]) -> None:
        """Take the group's documents apart into what the store has and what must be embedded."""
        group, self._group = self._group, []
        stored = self._stored_points.by_source(
            [
                document.source
                for task, _, document in group
                if any(known.source == document.source for known in task.stored)
            ]
        )
        assemblies = [
            self._assembly(task, file, document, stored.get(document.source))
            for task, file, document in group
        ]
        while assemblies:
            count, over = self._affordable(assemblies)
            self._take_up(assemblies[:count], stream)
            assemblies = assemblies[count:]
            if over is None:
                return
            if not stream.pending:
                for assembly in assemblies:
                    self._uncount(assembly)
                raise over
            self._drain(stream)  # it was only estimated: its bill may leave room

    def _affordable(self, assemblies: list[PendingDocument]) -> tuple[int, BudgetReached | None]:
        """How many of them, from the first on, the budget has room for."""
        if not self._ledger.limited:
            return len(assemblies), None
        hashes = {a.document.chunks[o].hash for a in assemblies for o in a.needed}
        here = hashes & (self._waiting.keys() | self._writer.recent.keys())
        known = here | self._stored_points.embedded(hashes - here)
        for count, assembly in enumerate(assemblies):
            try:
                self._ledger.take(assembly.document.source, assembly.tokens(known))
            except BudgetReached as over:
                return count, over
            known.update(assembly.document.chunks[o].hash for o in assembly.needed)
        return len(assemblies), None

    def _take_up(self, assemblies: list[PendingDocument], stream: DocumentStream[str]) -> None:
        needed = [(assembly, ordinal) for assembly in assemblies for ordinal in assembly.needed]
        for assembly in assemblies:
            self.report.chunks.reused += len(assembly.document.chunks) - len(assembly.needed)
            if not assembly.needed:
                self._finish(assembly)
        for some in _portions(needed):
            self._obtain(some, stream)

    def _assembly(
        self,
        task: WorkItem,
        file: PendingFile,
        document: PreparedDocument,
        stored: Mapping[str, Payload] | None,
    ) -> PendingDocument:
        # A record of a file stands only when the file is sealed.
        own = document.source == task.stat.file
        stat = task.stat if own else task.stat._replace(size=-1, mtime_ns=-1)
        rows = payloads(document, stat, recipe=task.recipe, parts=1 if own else 0)
        ids = point_ids(self._space, document.source, [c.hash for c in document.chunks] or [""])
        for warning in document.warnings:
            self.report.add_warning(document.source, warning)
        new = not any(d.source == document.source and d.digest for d in task.stored)
        if new:
            self.report.documents.added += 1
            self._added[document.digest] += 1
        else:
            self.report.documents.updated += 1
        damaged = self._damage.rewrite
        return PendingDocument(document, file, rows, ids, stored or {}, damaged, new=new)

    def _obtain(
        self, needed: list[tuple[PendingDocument, int]], stream: DocumentStream[str]
    ) -> None:
        """Find the vectors of these chunks in the store or in this run, else send the texts."""
        hashes = {assembly.document.chunks[ordinal].hash for assembly, ordinal in needed}
        recent = self._writer.recent
        found = recent | self._stored_points.vectors(hashes - self._waiting.keys() - recent.keys())
        send: list[tuple[PendingDocument, int]] = []
        # First all that is known, then the sending: results that come in while
        # sending may be written, and leave both `_waiting` and `recent`.
        for assembly, ordinal in needed:
            value = assembly.document.chunks[ordinal].hash
            if value in found:
                self.report.chunks.reused += 1
                self._place(assembly, ordinal, found[value])
            elif value in self._waiting:
                self.report.chunks.reused += 1
                self._waiting[value].append((assembly, ordinal))
            else:
                self._waiting[value] = [(assembly, ordinal)]
                send.append((assembly, ordinal))
        self._send(send, stream)
        self._writer.flush_if_due()

    def _send(self, chunks: list[tuple[PendingDocument, int]], stream: DocumentStream[str]) -> None:
        """Send texts to be embedded; in late chunking the windows that they are in."""
        sent: set[tuple[int, int]] = set()
        for assembly, ordinal in chunks:
            self._cancellation.raise_if_cancelled()
            chunk = assembly.document.chunks[ordinal]
            if chunk.window is None:
                stream.add(chunk.hash, chunk.sent, chunk.sent_tokens)
            elif (id(assembly), chunk.window) not in sent:
                sent.add((id(assembly), chunk.window))
                window = [c for c in assembly.document.chunks if c.window == chunk.window]
                stream.add_together([(c.hash, c.sent, c.sent_tokens) for c in window])
            self._placed(stream.completed(block=False))

    # Vectors that came back

    def _placed(self, results: list[tuple[str, Vectors | DocumentError]]) -> None:
        for value, outcome in results:
            waiting = self._waiting.pop(value, None)
            if waiting is None:
                continue  # known before; it was sent as the context of its window
            if isinstance(outcome, DocumentError):
                for assembly, ordinal in waiting:
                    self._refused(assembly, ordinal, outcome)
                continue
            first, ordinal = waiting[0]
            self._progress.tokens(first.document.chunks[ordinal].sent_tokens)
            self.report.chunks.embedded += 1
            for assembly, ordinal in waiting:
                self._place(assembly, ordinal, outcome)
        self._writer.flush_if_due()

    def _place(self, assembly: PendingDocument, ordinal: int, vector: Vector) -> None:
        if assembly.failed:
            return
        assembly.place(ordinal, vector, self._writer)
        if assembly.missing == 0:
            self._finish(assembly)

    def _finish(self, assembly: PendingDocument) -> None:
        assembly.finish(self._writer)
        assembly.file.outstanding -= 1
        self._seal_if_done(assembly.file)
        self._count_if_done(assembly.file)

    def _refused(self, assembly: PendingDocument, ordinal: int, error: DocumentError) -> None:
        """The backend will not take a chunk: its document keeps what it had."""
        if assembly.failed:
            return
        assembly.abandon(self._writer)
        document, chunk = assembly.document, assembly.document.chunks[ordinal]
        where = f"characters {chunk.start}-{chunk.end}"
        self._failed(assembly.file, document.source, f"{where}: {error}")
        self._uncount(assembly)
        assembly.file.outstanding -= 1
        self._count_if_done(assembly.file)

    def _uncount(self, assembly: PendingDocument) -> None:
        """A document that was counted as added or updated is neither."""
        if assembly.new:
            self.report.documents.added -= 1
            self._added[assembly.document.digest] -= 1
        else:
            self.report.documents.updated -= 1

    def _rescue(self, stream: DocumentStream[str]) -> None:
        """After Ctrl-C: start nothing new, take in what is in flight (it is paid for)."""
        stream.stop()
        while stream.pending:
            self._placed(stream.completed(block=True))

    # The end

    def _remove(self, plan: Plan, state: State, share: float) -> None:
        """Last of all, what is gone from the sources goes from the collection."""
        gone = [*plan.removed, *self._vanished]
        whole = [document for document in gone if document.digest]
        renamed = renames(whole, self._added)
        check_removal(len(whole) - renamed, len(state.documents), share)
        self._cancellation.raise_if_cancelled()
        self._writer.drop_documents([document.source for document in gone])
        self._writer.flush()
        documents = self.report.documents
        documents.renamed = renamed
        documents.added -= renamed
        documents.removed = len(whole) - renamed

    def _count(self) -> None:
        self.report.chunks.deleted = self._writer.deleted


def _portions(
    needed: list[tuple[PendingDocument, int]],
) -> Iterator[list[tuple[PendingDocument, int]]]:
    """Chunks to look up at a time; those of one window stay together."""
    portion: list[tuple[PendingDocument, int]] = []
    before: tuple[int, int | None] | None = None
    for assembly, ordinal in needed:
        window = assembly.document.chunks[ordinal].window
        this = (id(assembly), window)
        if len(portion) >= _SOME and (window is None or this != before):
            yield portion
            portion = []
        portion.append((assembly, ordinal))
        before = this
    if portion:
        yield portion
