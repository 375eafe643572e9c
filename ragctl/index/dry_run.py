"""What a plan would embed: every changed file is read and chunked, nothing is sent or written."""

from dataclasses import replace
from itertools import islice

from ragctl.collection.points import PreparedDocument
from ragctl.collection.state import Stored
from ragctl.errors import DocumentError
from ragctl.index.cancellation import Cancellation
from ragctl.index.plan import WorkItem
from ragctl.index.planning import RunPlan
from ragctl.index.prepare import ProcessLimits, UnchangedDocument, parsers
from ragctl.index.report import Change, Progress, Report
from ragctl.index.stored_points import StoredPoints
from ragctl.stores.base import Collection
from ragctl.stores.size import Size, foretell
from ragctl.workers import Ended

_WHAT = {"new": "added", "changed": "updated", "recipe": "rechunked", "incomplete": "repaired"}
_WHY = {
    "new": "a new file",
    "changed": "its content changed",
    "recipe": "another recipe: chunk size, loader or metadata",
    "incomplete": "a run ended before it was done",
}


_SAMPLE = 200  # points whose texts are measured where no file is read


class DryRun:
    """One plan read through. `report` tells what an ingest would do, `changes` included."""

    def __init__(
        self, collection: Collection | None, run_plan: RunPlan, report: Report, *, why_new: str = ""
    ) -> None:
        """`why_new`: why documents are new, where it is not that their files are."""
        self._stored_points = None if collection is None else StoredPoints(collection, ())
        self._plan = run_plan.plan
        self._recipe = run_plan.recipe
        self._report = report
        self._why = {**_WHY, "new": why_new or _WHY["new"]}
        self._sent: set[str] = set()  # hashes of the texts that would be
        self._changes: list[Change] = []
        self._new: dict[str, list[int]] = {}  # by digest, positions in _changes of added documents
        self._settings = run_plan.settings
        self._collection = collection
        self._points = sum(max(1, d.chunks) for d in run_plan.state.documents.values())
        self._texts: list[int] = []  # bytes of each chunk that was read

    def read(self, limits: ProcessLimits, progress: Progress, cancellation: Cancellation) -> None:
        """Read every file of the plan."""
        tasks = {task.stat.file: task for task in self._plan.work_items}
        with parsers(limits, self._plan.work_items) as pool:
            items = pool.stream(self._recipe.job(task) for task in tasks.values())
            while True:
                with cancellation.interruptible():
                    job, item = next(items, (None, None))
                if job is None:
                    break
                task = tasks[job.file]
                match item:
                    case PreparedDocument():
                        self._document(item, task)
                    case UnchangedDocument():
                        self._same(item, task)
                    case DocumentError():
                        self._failed(job.file, item)
                    case Ended():
                        if item.error is not None:
                            self._failed(job.file, item.error)
                        progress.file(task.stat.size)
        self._removed()
        self._report.changes = sorted(self._changes, key=lambda change: change.source)

    def size(self, *, server: bool) -> Size:
        """How large the collection will be. `server`: it is on one."""
        texts = self._texts
        if not texts and self._collection is not None:
            some = islice(self._collection.scroll(fields=["text"]), _SAMPLE)
            texts = [len(str(point.payload.get("text", "")).encode()) for point in some]
        return foretell(
            self._points,
            self._settings.dim,
            text_bytes=sum(texts) / len(texts) if texts else 0.0,
            quantization=self._settings.quantization,
            server=server,
        )

    def _failed(self, file: str, error: Exception) -> None:
        self._report.add_failure(file, str(error).removeprefix(f"{file}: "), file)

    def _same(self, item: UnchangedDocument, task: WorkItem) -> None:
        self._report.documents.unchanged += 1
        if task.why == "changed":
            self._changes.append(Change(item.source, "restamped", "its file has another time"))

    def _document(self, document: PreparedDocument, task: WorkItem) -> None:
        for warning in document.warnings:
            self._report.add_warning(document.source, warning)
        known = any(d.source == document.source and d.digest for d in task.stored)
        why = task.why if known else "incomplete" if task.why == "incomplete" else "new"
        if known:
            self._report.documents.updated += 1
        else:
            self._report.documents.added += 1
            self._new.setdefault(document.digest, []).append(len(self._changes))
        before = [max(1, d.chunks) for d in task.stored if d.source == document.source]
        self._points += max(1, len(document.chunks)) - sum(before)
        self._texts += [len(chunk.text.encode()) for chunk in document.chunks]
        embedded, tokens = self._chunks(document)
        reused = len(document.chunks) - embedded
        self._changes.append(
            Change(document.source, _WHAT[why], self._why[why], embedded, reused, tokens)
        )

    def _chunks(self, document: PreparedDocument) -> tuple[int, int]:
        """Count the texts that neither the store nor an earlier document has, and their tokens."""
        tokens = {c.hash: c.sent_tokens for c in document.chunks if c.hash not in self._sent}
        if self._stored_points is not None:
            for value in self._stored_points.embedded(tokens):
                del tokens[value]
        self._sent.update(tokens)
        embedded = len(tokens)
        self._report.chunks.embedded += embedded
        self._report.chunks.reused += len(document.chunks) - embedded
        # In late chunking a window is sent whole for any chunk of it.
        whole = {c.window for c in document.chunks if c.hash in tokens and c.window is not None}
        sent = sum(
            chunk.sent_tokens
            for chunk in document.chunks
            if chunk.window in whole or tokens.pop(chunk.hash, None) is not None
        )
        self._report.tokens += sent
        return embedded, sent

    def _removed(self) -> None:
        """What is gone: removed, or renamed where its content came back under another name."""
        self._points -= sum(max(1, document.chunks) for document in self._plan.removed)
        whole = [document for document in self._plan.removed if document.digest]
        for document in whole:
            positions = self._new.get(document.digest)
            if positions:
                self._renamed(positions.pop(0), document)
            else:
                self._changes.append(Change(document.source, "removed", "its file is gone"))
                self._report.documents.removed += 1

    def _renamed(self, position: int, document: Stored) -> None:
        self._changes[position] = replace(
            self._changes[position],
            what="renamed",
            why=f"it was {document.source}",
            was=document.source,
        )
        self._report.documents.renamed += 1
        self._report.documents.added -= 1
