"""Apply a plan: read, chunk, reuse or embed, write; documents that are gone are removed last.

    work items ─► Pool (load, chunk, BM25) ─► DocumentIndexer (reuse or embed) ─► Writer

One thread runs this loop; parsing happens in worker processes and embedding requests in
the stream's threads, so all three overlap.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from ragctl.batch.jobs import Jobs
from ragctl.collection.conditions import own_matches
from ragctl.collection.points import version
from ragctl.collection.shard_keys import ShardKeys
from ragctl.collection.state import State, StoredDocument
from ragctl.embedding.embedder import Embedder
from ragctl.embedding.stream import DocumentStream
from ragctl.errors import BudgetReached, DocumentError, Interrupted, RagctlError
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.document_progress import DocumentProgress
from ragctl.index.indexer import DocumentIndexer
from ragctl.index.pending import PendingFile
from ragctl.index.plan import Plan, WorkItem, check_removal, renamed_sources
from ragctl.index.prepare import FileEnd, ParseResult, UnchangedDocument
from ragctl.index.prepared import PreparedDocument
from ragctl.index.recipe import Recipe
from ragctl.index.report import Report
from ragctl.index.verify import Damage
from ragctl.index.writer import Writer
from ragctl.progress import Progress
from ragctl.sources.fetching import Fetching
from ragctl.stores.base import Collection
from ragctl.workers import Ended, Pool


class Ingest:
    """One application of a plan to a collection. Call `run` once; `report` is kept up to date."""

    def __init__(
        self,
        collection: Collection,
        embedder: Embedder,
        recipe: Recipe,
        report: Report,
        *,
        budget: BudgetTracker,
        cancellation: Cancellation,
        progress: Progress,
        damage: Damage,
        donor: Collection | None = None,
        delete_from_kept: Callable[[Sequence[str]], object] = lambda _: None,
        jobs: Jobs | None = None,
    ) -> None:
        """Prepare the run. `donor`: a collection of the same identity that lends its vectors.

        `delete_from_kept` deletes documents from the kept generations. `jobs`: batch jobs.
        """
        self.report = report
        self._donor = donor
        self._jobs = jobs
        self._delete_from_kept = delete_from_kept
        self._collection = collection
        self._embedder = embedder
        self._recipe = recipe
        self._budget = budget
        self._cancellation = cancellation
        self._progress = progress
        self._damage = damage
        self._documents = DocumentProgress(progress, ())
        self._writer = Writer(collection, progress)
        self._left = 0  # files
        self._vanished: list[StoredDocument] = []  # records that are gone from their file

    def run(self, plan: Plan, state: State, pool: Pool, *, prune_share: float | None) -> None:
        """Apply the plan. `prune_share`: share of documents that may be removed; None: none.

        Raises Interrupted, BudgetReached, BackendError or StoreError after the requests in
        flight have been written; the next run continues from there. Raises PruneRefused
        before anything is removed.
        """
        self._left = self.report.left = len(plan.work_items)
        indexer: DocumentIndexer | None = None
        try:
            with DocumentStream[str](self._embedder) as stream:
                indexer = DocumentIndexer(
                    self._collection,
                    self._writer,
                    stream,
                    self.report,
                    budget=self._budget,
                    cancellation=self._cancellation,
                    progress=self._progress,
                    damage=self._damage,
                    on_document_end=self._document_end,
                    donor=self._donor,
                    jobs=self._jobs,
                )
                try:
                    with Fetching() as fetching:
                        self._read(plan, pool, indexer, fetching)
                    indexer.finish()
                except Interrupted:
                    indexer.collect_in_flight()
                    raise
                except BudgetReached:
                    self._submit()  # what was reserved before
                    raise
                finally:
                    self.report.stages["embed"] = stream.seconds
                    self._writer.flush()
            self._submit()
            with self.report.stage("prune"):
                self._remove(plan, state, prune_share, indexer)
                self._writer.delete(sorted(self._damage.strays))
                self._writer.flush()
        finally:
            self.report.stages["write"] = self._writer.seconds
            self.report.chunks = replace(
                self._writer.written,
                unstored=max(0, indexer.embedded - self._writer.written.embedded) if indexer else 0,
            )

    def _submit(self) -> None:
        """Send the texts of this run to a batch API, if it uses one."""
        if self._jobs is not None:
            with self.report.stage("embed"), self._cancellation.interruptible():
                self._jobs.submit()

    def _read(self, plan: Plan, pool: Pool, indexer: DocumentIndexer, fetching: Fetching) -> None:
        work_items = {work.stat.file: work for work in plan.work_items}
        self._documents = DocumentProgress(self._progress, plan.work_items)
        files: dict[str, PendingFile] = {}
        results = pool.stream(self._recipe.jobs(plan.work_items, fetching))
        while True:
            self._progress.stage("read")
            with self.report.stage("read"), self._cancellation.interruptible():
                job, result = next(results, (None, None))
            self._progress.stage("embed")
            if job is None:
                pool.release()
                return
            file = files.setdefault(job.file, PendingFile(job.file))
            self._handle(work_items[job.file], file, result, indexer)
            if isinstance(result, Ended):
                fetching.release(job.location)
                del files[job.file]
            indexer.collect()

    def _handle(
        self,
        work: WorkItem,
        file: PendingFile,
        result: ParseResult | Ended | None,
        indexer: DocumentIndexer,
    ) -> None:
        """Handle one result of a parsing process."""
        match result:
            case PreparedDocument() if reason := self._wrong_tenant(result):
                self._failed(file, DocumentError(f"{result.source}: {reason}"))
            case PreparedDocument():
                self._documents.found(file.file)
                file.changed = True
                file.seen[result.source] = version(result.source, result.digest)
                file.outstanding += 1
                indexer.add(work, file, result)
            case UnchangedDocument():
                file.seen[result.source] = version(result.source, result.digest)
                file.restat = True
                self.report.documents.unchanged += 1
                self._documents.found(file.file)
                self._progress.advance()
            case DocumentError():
                self._failed(file, result)
            case FileEnd():
                self._file_end(work, file, result)
            case Ended():
                if result.error is not None:
                    self._failed(file, result.error)
                file.ended = True
                self._count_if_done(file)
                self._documents.read(file.file)

    def _wrong_tenant(self, document: PreparedDocument) -> str | None:
        """Return why a document has no shard in a collection with shard keys; None if it has."""
        shards = ShardKeys.of_options(self._collection.settings.server)
        return None if shards is None else shards.fault_of(document.meta)

    def _failed(self, file: PendingFile, error: RagctlError) -> None:
        file.failed = True
        documents = error.documents if isinstance(error, DocumentError) else 1
        self._documents.found(file.file, documents)
        self._progress.advance(documents)
        reason = str(error).removeprefix(f"{file.file}: ")
        self.report.add_failure(file.file, reason, file.file, documents)

    def _file_end(self, work: WorkItem, file: PendingFile, end: FileEnd) -> None:
        """Collect the records that are gone; seal the file when its last document is written."""
        stat = work.stat
        gone = [d for d in work.stored if d.source not in file.seen]
        is_same = work.why == "doubtful" and not (work.restamped or file.changed or gone)
        if not is_same and (file.restat or set(file.seen) != {file.file}):
            file.seal = {
                "size": stat.size,
                "mtime_ns": stat.mtime_ns,
                "source_name": stat.source_name,
                "stamp": stat.stamp,
                "parts": end.documents,
            }
        if not file.failed:
            # The placeholder of a file without records is not a document of its own.
            self._vanished += [d._replace(digest="") if d.source == d.file else d for d in gone]
        self._seal_if_done(file)

    def _document_end(self, file: PendingFile) -> None:
        file.outstanding -= 1
        self._seal_if_done(file)
        self._count_if_done(file)

    def _seal_if_done(self, file: PendingFile) -> None:
        # A file with a failed document is not sealed: the next run must read it again.
        if file.seal and not (file.outstanding or file.failed or file.waiting):
            # By version: a point of another program may have the same source.
            for where in own_matches("version", sorted(file.seen.values())):
                self._writer.merge(where, file.seal)

    def _count_if_done(self, file: PendingFile) -> None:
        if file.ended and not file.outstanding:
            self._writer.when_written(self._count_file)

    def _count_file(self) -> None:
        self._left -= 1
        self.report.left = self._left

    def _remove(
        self, plan: Plan, state: State, share: float | None, indexer: DocumentIndexer
    ) -> None:
        """Remove the documents that are gone from the sources. Raises PruneRefused.

        `share` None: only those that have new names, because their source was renamed.
        """
        failed = {failure.file for failure in self.report.failures}
        gone = [d for d in plan.removed if not plan.keeps(d, failed)]
        if share is not None:
            gone += self._vanished
        complete = [document for document in gone if document.digest]
        renamed = renamed_sources(complete, indexer.added)
        if share is not None:
            lost = [d for d in complete if d.source not in renamed]
            lost = [d for d in lost if d.file not in plan.renamed_files]
            check_removal(Counter(each.source_name for each in lost), state, share)
        self._cancellation.raise_if_cancelled()
        sources = [document.source for document in gone]
        self._progress.begin("delete", "document", len(sources))
        if sources:
            self._delete_from_kept(sources)
        counted = {document.source: document.file for document in complete}

        def deleted(sources: Sequence[str]) -> None:
            documents = self.report.documents
            self._progress.advance(len(sources))
            for source in counted.keys() & set(sources):
                if source in renamed:
                    documents.renamed += 1
                    documents.added -= 1
                elif counted[source] in plan.renamed_files:  # added by a run that was killed
                    documents.renamed += 1
                else:
                    documents.removed += 1

        self._writer.delete_documents(sources, deleted)
        self._writer.flush()
