"""A dry run: read and chunk every file of a plan, and count what would be embedded."""

from dataclasses import replace
from itertools import islice

from ragctl.batch.waiting import PendingTexts, Waiting
from ragctl.collection.state import StoredDocument
from ragctl.errors import DocumentError, RagctlError
from ragctl.index.cancellation import Cancellation
from ragctl.index.document_progress import DocumentProgress
from ragctl.index.plan import WorkItem
from ragctl.index.planning import RunPlan
from ragctl.index.prepare import ProcessLimits, UnchangedDocument, parsers
from ragctl.index.prepared import PreparedDocument
from ragctl.index.report import Change, Report
from ragctl.index.stored_points import StoredPoints
from ragctl.progress import Progress
from ragctl.sources.fetching import Fetching
from ragctl.stores.base import Collection
from ragctl.stores.size import Size, estimate_size
from ragctl.workers import Ended

_WHAT = {
    "new": "added",
    "changed": "updated",
    "doubtful": "updated",
    "recipe": "rechunked",
    "incomplete": "repaired",
}
_WHY = {
    "new": "a new file",
    "changed": "its content changed",
    "doubtful": "its content changed, but not its size and time",
    "recipe": "the recipe changed: chunk size, loader or metadata",
    "incomplete": "an earlier run ended before it was complete",
}

SAMPLED_POINTS = 200
"""Stored points whose mean text length is measured when the plan reads no text."""


class DryRun:
    """A run that embeds and writes nothing. It fills `report`, including `changes`."""

    def __init__(
        self, collection: Collection | None, run_plan: RunPlan, report: Report, *, why_new: str = ""
    ) -> None:
        """Prepare the run. `why_new`: reason shown for new documents; "": their files are new."""
        self._collection = collection
        self._stored_points = None if collection is None else StoredPoints(collection, ())
        self._plan = run_plan.plan
        self._recipe = run_plan.recipe
        self._settings = run_plan.settings
        self._report = report
        self._why = {**_WHY, "new": why_new or _WHY["new"]}
        notes = [] if collection is None else collection.notes().get("batches", [])
        self._pending = PendingTexts(notes, run_plan.settings.identity)
        report.waiting = Waiting.of(notes)
        self._sent: set[str] = set()  # hashes of the texts that would be sent
        self._changes: list[Change] = []
        self._added: dict[str, list[int]] = {}  # digest → indices of added documents in _changes
        self._points = sum(max(1, d.chunks) for d in run_plan.state.documents.values())
        self._text_sizes: list[int] = []  # bytes of each chunk read

    def read(self, limits: ProcessLimits, progress: Progress, cancellation: Cancellation) -> None:
        """Read every file of the plan. Raises Interrupted."""
        work_items = {work.stat.file: work for work in self._plan.work_items}
        documents = DocumentProgress(progress, work_items.values())
        with parsers(limits, self._plan.work_items) as pool, Fetching() as fetching:
            results = pool.stream(self._recipe.jobs(work_items.values(), fetching))
            while True:
                with cancellation.interruptible():
                    job, result = next(results, (None, None))
                if job is None:
                    break
                work = work_items[job.file]
                match result:
                    case PreparedDocument():
                        documents.found(job.file)
                        self._document(result, work)
                        progress.advance()
                    case UnchangedDocument():
                        documents.found(job.file)
                        self._unchanged(result, work)
                        progress.advance()
                    case DocumentError():
                        documents.found(job.file, result.documents)
                        self._failed(job.file, result)
                        progress.advance(result.documents)
                    case Ended():
                        if result.error is not None:
                            documents.found(job.file)
                            self._failed(job.file, result.error)
                            progress.advance()
                        documents.read(job.file)
                        fetching.release(job.location)
        self._removed()
        self._report.changes = sorted(self._changes, key=lambda change: change.source)

    def size(self, *, server: bool) -> Size:
        """Return the expected size of the collection, on a Qdrant server or embedded."""
        sizes = self._text_sizes
        if not sizes and self._collection is not None:
            sample = islice(self._collection.scroll(fields=["text"]), SAMPLED_POINTS)
            sizes = [len(str(point.payload.get("text", "")).encode()) for point in sample]
        return estimate_size(
            self._points,
            self._settings.dim,
            text_bytes=sum(sizes) / len(sizes) if sizes else 0.0,
            quantization=self._settings.quantization,
            server=self._settings.server if server else None,
        )

    def _failed(self, file: str, error: RagctlError) -> None:
        documents = error.documents if isinstance(error, DocumentError) else 1
        reason = str(error).removeprefix(f"{file}: ")
        self._report.add_failure(file, reason, file, documents)

    def _unchanged(self, document: UnchangedDocument, work: WorkItem) -> None:
        self._report.documents.unchanged += 1
        if work.why == "changed":
            self._changes.append(
                Change(
                    document.source,
                    "restamped",
                    "its file has another time, its content is the same",
                )
            )

    def _document(self, document: PreparedDocument, work: WorkItem) -> None:
        for warning in document.warnings:
            self._report.add_warning(document.source, warning)
        known = any(d.source == document.source and d.digest for d in work.stored)
        why = work.why if known else "incomplete" if work.why == "incomplete" else "new"
        if known:
            self._report.documents.updated += 1
        else:
            self._report.documents.added += 1
            self._added.setdefault(document.digest, []).append(len(self._changes))
        stored_points = sum(max(1, d.chunks) for d in work.stored if d.source == document.source)
        self._points += max(1, len(document.chunks)) - stored_points
        self._text_sizes += [len(chunk.text.encode()) for chunk in document.chunks]
        embedded, waiting, tokens = self._chunks(document)
        reused = len(document.chunks) - embedded - waiting
        new_record = why == "new" and work.stored and document.source != work.stat.file
        reason = "a new record" if new_record else self._why[why]
        self._changes.append(
            Change(
                document.source,
                _WHAT[why],
                reason,
                embedded,
                reused,
                tokens,
                waiting=waiting,
            )
        )

    def _chunks(self, document: PreparedDocument) -> tuple[int, int, int]:
        """Count the chunks to be embedded, those in open batch jobs, and the tokens to be sent."""
        tokens = {c.hash: c.sent_tokens for c in document.chunks if c.hash not in self._sent}
        if self._stored_points is not None:
            for known in self._stored_points.embedded(tokens):
                del tokens[known]
        waiting = [text_hash for text_hash in tokens if text_hash in self._pending]
        for text_hash in waiting:
            del tokens[text_hash]
        if waiting:
            self._report.waiting = replace(
                self._report.waiting, documents=self._report.waiting.documents + 1
            )
        self._sent.update(tokens)
        embedded = len(tokens)
        self._report.chunks.embedded += embedded
        self._report.chunks.reused += len(document.chunks) - embedded - len(waiting)
        # In late chunking all of a window is sent if any chunk of it must be embedded.
        sent_windows = {
            c.window for c in document.chunks if c.hash in tokens and c.window is not None
        }
        sent = sum(
            chunk.sent_tokens
            for chunk in document.chunks
            if chunk.window in sent_windows or tokens.pop(chunk.hash, None) is not None
        )
        self._report.tokens += sent
        return embedded, len(waiting), sent

    def _removed(self) -> None:
        """Count removed documents; one whose content was added under another name is renamed."""
        self._points -= sum(max(1, document.chunks) for document in self._plan.removed)
        complete = [document for document in self._plan.removed if document.digest]
        for document in complete:
            indices = self._added.get(document.digest)
            if indices:
                self._renamed(indices.pop(0), document)
            elif document.file in self._plan.renamed_files:
                name = self._plan.renamed_files[document.file]
                self._changes.append(Change(document.source, "removed", f"it is {name} now"))
                self._report.documents.renamed += 1
            else:
                self._changes.append(Change(document.source, "removed", "its file is gone"))
                self._report.documents.removed += 1

    def _renamed(self, index: int, document: StoredDocument) -> None:
        self._changes[index] = replace(
            self._changes[index],
            what="renamed",
            why=f"it was {document.source}",
            was=document.source,
        )
        self._report.documents.renamed += 1
        self._report.documents.added -= 1
