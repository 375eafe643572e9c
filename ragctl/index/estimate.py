"""What a plan would embed: every changed file is read and chunked, nothing is sent or written."""

from collections import Counter

from ragctl.errors import DocumentError
from ragctl.index.plan import Task, renames
from ragctl.index.points import PreparedDocument
from ragctl.index.prepare import Limits, Same
from ragctl.index.report import Progress, Report
from ragctl.index.stop import Stop
from ragctl.index.survey import Survey
from ragctl.limited import Ended, Pool
from ragctl.stores.base import Collection, Match

_SOME = 256  # values in one filter


def estimate(
    collection: Collection | None,
    surveyed: Survey,
    limits: Limits,
    report: Report,
    progress: Progress,
    stop: Stop,
) -> None:
    """Fill `report` with what an ingest would do: documents, chunks to embed, their tokens."""
    tasks = {task.stat.file: task for task in surveyed.plan.tasks}
    sent: set[str] = set()
    added: Counter[str] = Counter()
    with Pool(
        "ragctl.index.prepare:prepare",
        workers=limits.workers,
        seconds=limits.seconds,
        memory=limits.memory,
    ) as pool:
        items = pool.stream(surveyed.recipe.job(task) for task in tasks.values())
        while True:
            with stop.waiting():
                job, item = next(items, (None, None))
            if job is None:
                break
            task = tasks[job.file]
            match item:
                case PreparedDocument():
                    _document(item, task, report, added)
                    _chunks(item, collection, sent, report)
                case Same():
                    report.documents.unchanged += 1
                case DocumentError():
                    report.fail(job.file, str(item).removeprefix(f"{job.file}: "))
                case Ended():
                    if item.error is not None:
                        report.fail(job.file, str(item.error))
                    progress.file(task.stat.size)
    whole = [document for document in surveyed.plan.removed if document.digest]
    report.documents.renamed = renames(whole, added)
    report.documents.added -= report.documents.renamed
    report.documents.removed = len(whole) - report.documents.renamed


def _document(document: PreparedDocument, task: Task, report: Report, added: Counter[str]) -> None:
    for warning in document.warnings:
        report.warn(document.source, warning)
    if any(stored.source == document.source and stored.digest for stored in task.stored):
        report.documents.updated += 1
    else:
        report.documents.added += 1
        added[document.digest] += 1


def _chunks(
    document: PreparedDocument, collection: Collection | None, sent: set[str], report: Report
) -> None:
    """Count the texts that neither the store nor an earlier document of this run has."""
    tokens = {chunk.hash: chunk.sent_tokens for chunk in document.chunks if chunk.hash not in sent}
    wanted = sorted(tokens)
    for first in range(0, len(wanted), _SOME):
        if collection is None:
            break
        where = (Match("text_hash", tuple(wanted[first : first + _SOME])),)
        for point in collection.scroll(where, fields=("text_hash",)):
            tokens.pop(str(point.payload["text_hash"]), None)
    sent.update(tokens)
    report.chunks.embedded += len(tokens)
    report.chunks.reused += len(document.chunks) - len(tokens)
    # In late chunking a window is sent whole for any chunk of it.
    whole = {c.window for c in document.chunks if c.hash in tokens and c.window is not None}
    report.tokens += sum(
        chunk.sent_tokens
        for chunk in document.chunks
        if chunk.window in whole or tokens.pop(chunk.hash, None) is not None
    )
