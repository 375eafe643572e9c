"""Turn prepared documents into points: reuse vectors, or embed the texts.

documents ─► groups ─► compare with stored points ─► budget ─► vector known? ─► Writer
                                                                 └► DocumentStream ─┘
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from ragctl.batch.jobs import Jobs
from ragctl.batch.spool import SpooledText
from ragctl.collection.conditions import MAX_FILTER_VALUES
from ragctl.collection.payload import Payload, Vector
from ragctl.collection.points import namespace, point_ids
from ragctl.embedding.base import Vectors
from ragctl.embedding.stream import DocumentStream
from ragctl.errors import BudgetReached, DocumentError
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.pending import PendingDocument, PendingFile
from ragctl.index.plan import WorkItem
from ragctl.index.prepared import PreparedDocument, payloads
from ragctl.index.report import Report
from ragctl.index.stored_points import StoredPoints
from ragctl.index.verify import Damage
from ragctl.index.writer import Writer
from ragctl.progress import Progress
from ragctl.stores.base import Collection

GROUP_CHUNKS = 128
"""Documents are compared with the collection in groups of about this many chunks."""
MAX_GROUP_AGE_SECONDS = 0.2
"""A group is compared at the latest when its first document has waited this long."""


class DocumentIndexer:
    """Indexes documents of one run, over one stream of texts to be embedded.

    `added`: number of documents that this run added and the store acknowledged, by digest.
    `embedded`: number of chunks whose vectors a backend has returned. `on_document_end` is
    called with the file of each document that was completed, or refused by the backend.
    `donor`: a collection of the same identity, whose vectors are used as well.
    `jobs`: batch jobs, whose vectors are used too; documents whose texts are in one that has not
    ended are left as they are, and so are all others if new jobs may be made.
    """

    def __init__(
        self,
        collection: Collection,
        writer: Writer,
        stream: DocumentStream[str],
        report: Report,
        *,
        budget: BudgetTracker,
        cancellation: Cancellation,
        progress: Progress,
        damage: Damage,
        on_document_end: Callable[[PendingFile], None],
        donor: Collection | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self.added: Counter[str] = Counter()
        self.embedded = 0
        self._writer = writer
        self._stream = stream
        self._report = report
        self._budget = budget
        self._cancellation = cancellation
        self._progress = progress
        self._damage = damage
        self._on_document_end = on_document_end
        self._jobs = jobs
        self._collected: dict[str, Vector] = {}  # vectors of jobs for the group, by text hash
        self._stored_points = StoredPoints(collection, damage.distrusted, donor)
        self._namespace = namespace(collection.settings.namespace)
        # Text hash → chunks (document, ordinal) that wait for its vector.
        self._waiting: dict[str, list[tuple[PendingDocument, int]]] = {}
        self._group: list[tuple[WorkItem, PendingFile, PreparedDocument]] = []
        self._group_since = 0.0

    def add(self, work: WorkItem, file: PendingFile, document: PreparedDocument) -> None:
        """Accept a document; it is indexed together with others of a group.

        Raises BudgetReached, BackendError, Interrupted or StoreError.
        """
        if not self._group:
            self._group_since = time.monotonic()
        self._group.append((work, file, document))
        chunks = sum(len(document.chunks) or 1 for _, _, document in self._group)
        age = time.monotonic() - self._group_since
        if chunks >= GROUP_CHUNKS or age > MAX_GROUP_AGE_SECONDS:
            self._index_group()

    def finish(self) -> None:
        """Index the documents still waiting, and wait for all vectors. Raises as `add`."""
        self._index_group()
        self._drain()

    def collect(self) -> None:
        """Write the points whose vectors have arrived, without waiting for more."""
        self._add_vectors(self._stream.completed(block=False))

    def collect_in_flight(self) -> None:
        """After an interruption: send nothing more, but keep what is in flight and paid for."""
        self._stream.stop()
        while self._stream.pending:
            self._add_vectors(self._stream.completed(block=True))

    def _drain(self) -> None:
        self._stream.flush()
        while self._stream.pending:
            self._cancellation.raise_if_cancelled()
            self._add_vectors(self._stream.completed(block=True))

    def _index_group(self) -> None:
        """Compare the group's documents with the collection, then reuse or embed."""
        group, self._group = self._group, []
        stored = self._stored_points.by_source(
            [
                document.source
                for work, _, document in group
                if any(known.source == document.source for known in work.stored)
            ]
        )
        documents = [
            self._pending(work, file, document, stored.get(document.source))
            for work, file, document in group
        ]
        while documents:
            count, over_budget = self._affordable(documents)
            self._index(documents[:count])
            documents = documents[count:]
            if over_budget is None:
                return
            if not self._stream.pending:
                raise over_budget
            self._drain()  # the bill may be lower than the estimate: try again

    def _pending(
        self,
        work: WorkItem,
        file: PendingFile,
        document: PreparedDocument,
        stored: Mapping[str, Payload] | None,
    ) -> PendingDocument:
        # A record of a file is up to date only when the file is sealed.
        is_file = document.source == work.stat.file
        stat = work.stat if is_file else work.stat._replace(size=-1, mtime_ns=-1)
        rows: Sequence[Payload] = document.rows or payloads(
            document, stat, recipe=work.recipe, parts=1 if is_file else 0
        )
        hashes = [chunk.hash for chunk in document.chunks] or [""]
        ids = point_ids(self._namespace, document.source, hashes)
        for warning in document.warnings:
            self._report.add_warning(document.source, warning)
        new = not any(d.source == document.source and d.digest for d in work.stored)
        damaged = self._damage.rewrite
        return PendingDocument(document, file, rows, ids, stored or {}, damaged, new=new)

    def _affordable(self, documents: list[PendingDocument]) -> tuple[int, BudgetReached | None]:
        """Reserve tokens for one document after the other.

        Returns how many fit the budget, and the error of the first that does not.
        """
        if not self._budget.limited:
            return len(documents), None
        hashes = {pending.document.chunks[o].hash for pending in documents for o in pending.needed}
        in_run = hashes & (self._waiting.keys() | self._writer.recent.keys())
        known = in_run | self._stored_points.embedded(hashes - in_run)
        if self._jobs is not None:
            known |= self._jobs.covered(hashes - known)
        for count, pending in enumerate(documents):
            try:
                self._budget.reserve(pending.document.source, pending.tokens(known))
            except BudgetReached as over:
                return count, over
            known.update(pending.document.chunks[o].hash for o in pending.needed)
        return len(documents), None

    def _index(self, documents: list[PendingDocument]) -> None:
        if self._jobs is not None:
            documents = self._without_deferred(documents, self._jobs)
        needed = [(pending, ordinal) for pending in documents for ordinal in pending.needed]
        for pending in documents:
            if not pending.needed:
                self._finish(pending)
        for portion in _portions(needed):
            self._reuse_or_embed(portion)
        self._collected.clear()

    def _without_deferred(
        self, documents: list[PendingDocument], jobs: Jobs
    ) -> list[PendingDocument]:
        """Return the documents that can be written now, or embedded without a batch job.

        A document is written only when all of its texts have vectors: until then its old points
        stay alone.
        """
        hashes = {pending.document.chunks[o].hash for pending in documents for o in pending.needed}
        hashes -= self._waiting.keys() | self._writer.recent.keys()
        hashes -= self._stored_points.embedded(hashes)
        found = jobs.results(hashes)
        ready = []
        for pending in documents:
            missing = {
                pending.document.chunks[ordinal].hash: ordinal
                for ordinal in pending.needed
                if pending.document.chunks[ordinal].hash in hashes
            }
            failed = next((h for h in missing if isinstance(found.get(h), str)), None)
            if failed is not None:
                jobs.refused += 1
                self._refused(pending, missing[failed], DocumentError(str(found[failed])))
                jobs.keep(missing)
            elif all(h in found for h in missing) or (
                jobs.submission is None and not any(map(jobs.pending, missing))
            ):
                ready.append(pending)
            else:
                self._defer(pending, [missing[h] for h in missing if h not in found], jobs)
                jobs.keep(missing)
        self._collected = {h: value for h, value in found.items() if not isinstance(value, str)}
        return ready

    def _defer(self, pending: PendingDocument, missing: Sequence[int], jobs: Jobs) -> None:
        """Leave a document to a later run; its texts go to a new batch job, or are in one."""
        texts = []
        for ordinal in missing:
            chunk = pending.document.chunks[ordinal]
            if not jobs.pending(chunk.hash) and jobs.submission is not None:
                try:
                    text = jobs.fit(chunk.sent)
                except DocumentError as error:
                    self._refused(pending, ordinal, error)
                    return
                texts.append(SpooledText(chunk.hash, text, chunk.sent_tokens))
        for each in texts:
            jobs.add(each)
        jobs.deferred += 1
        pending.file.waiting = True
        self._progress.advance()
        self._on_document_end(pending.file)

    def _reuse_or_embed(self, needed: list[tuple[PendingDocument, int]]) -> None:
        """Take the chunks' vectors from the collection or from this run, or send their texts."""
        hashes = {pending.document.chunks[ordinal].hash for pending, ordinal in needed}
        recent = self._writer.recent
        known = recent | self._stored_points.vectors(hashes - self._waiting.keys() - recent.keys())
        unknown: list[tuple[PendingDocument, int]] = []
        # Use known vectors before sending: results that arrive while sending may be written,
        # and are then in neither `_waiting` nor `recent`.
        for pending, ordinal in needed:
            text_hash = pending.document.chunks[ordinal].hash
            if text_hash in self._collected and text_hash not in known:
                vector = known[text_hash] = self._collected[text_hash]
                self.embedded += 1
                self._add_vector(pending, ordinal, vector, embedded=True)
            elif text_hash in known:
                self._add_vector(pending, ordinal, known[text_hash], embedded=False)
            elif text_hash in self._waiting:
                self._waiting[text_hash].append((pending, ordinal))
            else:
                self._waiting[text_hash] = [(pending, ordinal)]
                unknown.append((pending, ordinal))
        self._send(unknown)
        self._writer.flush_if_due()

    def _send(self, chunks: list[tuple[PendingDocument, int]]) -> None:
        """Send the chunks' texts; in late chunking, the windows that the chunks are in."""
        sent: set[tuple[int, int]] = set()
        for pending, ordinal in chunks:
            self._cancellation.raise_if_cancelled()
            chunk = pending.document.chunks[ordinal]
            if chunk.window is None:
                self._stream.add(chunk.hash, chunk.sent, chunk.sent_tokens)
            elif (id(pending), chunk.window) not in sent:
                sent.add((id(pending), chunk.window))
                window = [c for c in pending.document.chunks if c.window == chunk.window]
                self._stream.add_together([(c.hash, c.sent, c.sent_tokens) for c in window])
            self.collect()

    def _add_vectors(self, results: list[tuple[str, Vectors | DocumentError]]) -> None:
        for text_hash, result in results:
            waiting = self._waiting.pop(text_hash, None)
            if waiting is None:
                continue  # its vector was known; it was sent only as context of its window
            if isinstance(result, DocumentError):
                for pending, ordinal in waiting:
                    self._refused(pending, ordinal, result)
                continue
            first, ordinal = waiting[0]
            self._progress.tokens(first.document.chunks[ordinal].sent_tokens)
            self.embedded += 1
            embedded = True  # for the first of equal chunks; the others reuse its vector
            for pending, ordinal in waiting:
                if not pending.failed:
                    self._add_vector(pending, ordinal, result, embedded=embedded)
                    embedded = False
        self._writer.flush_if_due()

    def _add_vector(
        self, pending: PendingDocument, ordinal: int, vector: Vector, *, embedded: bool
    ) -> None:
        if pending.failed:
            return
        pending.add_vector(ordinal, vector, self._writer, embedded=embedded)
        if pending.missing == 0:
            self._finish(pending)

    def _finish(self, pending: PendingDocument) -> None:
        pending.finish(self._writer)
        self._writer.when_written(partial(self._count_document, pending))
        self._on_document_end(pending.file)

    def _refused(self, pending: PendingDocument, ordinal: int, error: DocumentError) -> None:
        """Record that the backend refused a chunk; its document keeps its old points."""
        if pending.failed:
            return
        pending.abandon(self._writer)
        self._progress.advance()
        chunk = pending.document.chunks[ordinal]
        pending.file.failed = True
        self._report.add_failure(
            pending.document.source,
            f"characters {chunk.start}-{chunk.end}: {error}",
            pending.file.file,
        )
        self._on_document_end(pending.file)

    def _count_document(self, pending: PendingDocument) -> None:
        """Count a document whose mark is stored."""
        self._progress.advance()
        if pending.new:
            self._report.documents.added += 1
            self.added[pending.document.digest] += 1
        else:
            self._report.documents.updated += 1


def _portions(
    needed: list[tuple[PendingDocument, int]],
) -> Iterator[list[tuple[PendingDocument, int]]]:
    """Yield the chunks in portions of about MAX_FILTER_VALUES; a window is not divided."""
    portion: list[tuple[PendingDocument, int]] = []
    before: tuple[int, int | None] | None = None
    for pending, ordinal in needed:
        window = pending.document.chunks[ordinal].window
        current = (id(pending), window)
        if len(portion) >= MAX_FILTER_VALUES and (window is None or current != before):
            yield portion
            portion = []
        portion.append((pending, ordinal))
        before = current
    if portion:
        yield portion
