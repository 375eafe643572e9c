"""Embed the stored chunk texts of one collection into another one.

The texts go through the same indexer as those of files: each distinct text is embedded once,
the budget is kept, a refused text fails its document alone, and a killed run goes on where it
ended.
"""

from collections.abc import Iterator, Sequence

from ragctl import chunking
from ragctl.collection.payload import Payload, Point, SparseVector
from ragctl.collection.state import State, StoredDocument
from ragctl.collection.text import context_of, embedded_text
from ragctl.embedding.embedder import Embedder
from ragctl.embedding.stream import DocumentStream
from ragctl.errors import Interrupted
from ragctl.index.budget import BudgetTracker
from ragctl.index.cancellation import Cancellation
from ragctl.index.indexer import DocumentIndexer
from ragctl.index.pending import PendingFile
from ragctl.index.plan import WorkItem
from ragctl.index.prepared import FileStat, PreparedChunk, PreparedDocument
from ragctl.index.report import Report
from ragctl.index.verify import Damage
from ragctl.index.writer import Writer
from ragctl.lexical.bm25 import Bm25Encoder
from ragctl.progress import Progress
from ragctl.stores.base import Collection
from ragctl.transfer.documents import Difference, in_groups, is_whole, read_points


class Reembedding:
    """Brings a target collection of another model to the documents of a source collection."""

    def __init__(
        self,
        source: Collection,
        target: Collection,
        embedder: Embedder,
        report: Report,
        *,
        budget: BudgetTracker,
        cancellation: Cancellation,
        progress: Progress,
    ) -> None:
        self._source = source
        self._target = target
        self._embedder = embedder
        self._report = report
        self._budget = budget
        self._cancellation = cancellation
        self._progress = progress
        self._sparse = target.settings.document_bm25()

    def sync(self, difference: Difference, stored: State) -> None:
        """Write the difference; `stored` is the state of the target.

        A document that changes meanwhile is left to the next call. Raises Interrupted,
        BudgetReached, BackendError or StoreError after the requests in flight have been written.
        """
        self._progress.begin("embed", "document", len(difference.changed))
        writer = Writer(self._target, self._progress)
        try:
            self._embed(writer, difference, stored)
            self._cancellation.raise_if_cancelled()
            writer.delete_documents(difference.removed)
            writer.flush()
        finally:
            chunks = self._report.chunks
            chunks.embedded += writer.written.embedded
            chunks.reused += writer.written.reused
            chunks.deleted += writer.written.deleted

    def _embed(self, writer: Writer, difference: Difference, stored: State) -> None:
        """Write the changed documents; also when it raises, all that is paid for is written."""
        indexer: DocumentIndexer | None = None
        try:
            with DocumentStream[str](self._embedder) as stream:
                indexer = DocumentIndexer(
                    self._target,
                    writer,
                    stream,
                    self._report,
                    budget=self._budget,
                    cancellation=self._cancellation,
                    progress=self._progress,
                    damage=Damage(),
                    on_document_end=lambda _: None,
                )
                try:
                    for work, file, document in self._documents(difference.changed, stored):
                        self._cancellation.raise_if_cancelled()
                        indexer.add(work, file, document)
                        indexer.collect()
                    indexer.finish()
                except Interrupted:
                    indexer.collect_in_flight()
                    raise
        finally:
            try:
                writer.flush()
            finally:
                if indexer is not None:
                    unstored = indexer.embedded - writer.written.embedded
                    self._report.chunks.unstored += max(0, unstored)

    def _documents(
        self, documents: Sequence[StoredDocument], stored: State
    ) -> Iterator[tuple[WorkItem, PendingFile, PreparedDocument]]:
        for group in in_groups(documents):
            points = read_points(self._source, group, vectors=False)
            for document in group:
                found = points[document.source]
                if not is_whole(found, document):
                    continue
                stat = FileStat(
                    document.file,
                    document.source_name,
                    document.size,
                    document.mtime_ns,
                    stamp=document.stamp,
                )
                known = stored.documents.get(document.source)
                work = WorkItem(stat, document.recipe, "changed", (known,) if known else ())
                yield work, PendingFile(document.file), prepared(found, self._sparse)


def prepared(points: Sequence[Point], sparse: Bm25Encoder) -> PreparedDocument:
    """Return a document as it was prepared, from its points in order. Computes BM25 anew."""
    rows = tuple(point.payload for point in points)
    first = rows[0]
    chunks = [row for row in rows if row["chunks"]]
    texts = [embedded_text(row["text"], row["heading"]) for row in chunks]
    terms = sparse.documents(texts, [first["lang"]] * len(texts)) if texts else []
    return PreparedDocument(
        source=first["source"],
        digest=first["digest"],
        title=first["title"],
        lang=first["lang"],
        meta=first["meta"],
        warnings=(),
        chunks=tuple(
            _chunk(row, SparseVector(*vector)) for row, vector in zip(chunks, terms, strict=True)
        ),
        rows=rows,
    )


def _chunk(row: Payload, terms: SparseVector) -> PreparedChunk:
    return PreparedChunk(
        start=row["start"],
        end=row["end"],
        text=row["text"],
        hash=row["text_hash"],
        page=row["page"],
        line=row["line"],
        heading=tuple(row["heading"]),
        tokens=row["tokens"],
        context_tokens=chunking.count(context_of(row["text"], row["heading"])),
        terms=terms,
    )
