"""A file → documents, chunked and hashed. Runs in the limited worker processes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ragctl import chunking
from ragctl.chunking import split
from ragctl.collection.payload import SparseVector
from ragctl.collection.points import (
    PreparedChunk,
    PreparedDocument,
    context_of,
    digest,
    embedded_text,
    text_hash,
)
from ragctl.errors import DocumentError
from ragctl.index.plan import WorkItem
from ragctl.index.windows import windows
from ragctl.lexical.bm25 import Sparse, SparseConfig
from ragctl.lexical.languages import detect
from ragctl.loaders import LoadOptions, load
from ragctl.records import Chunk, Document, Json
from ragctl.workers import Pool

_READ = 1 << 20
_WORTH = 500_000  # bytes of files that take about as long as the start of a process


@dataclass(frozen=True, slots=True)
class Job:
    """One file to prepare.

    `known`: source → digest of its documents that are whole in the store, so
    that content which did not change is not parsed or sent again.
    `languages`: those that a document may be indexed under; empty = any.
    """

    path: Path
    file: str
    recipe: str
    options: LoadOptions
    size: int
    overlap: int
    meta: Mapping[str, Json]
    languages: tuple[str, ...]
    known: Mapping[str, str]
    lines: bool  # whether lines of the text are lines of the file
    many: bool  # whether the file may hold any number of documents
    window: int | None = None  # tokens embedded in one context, for late chunking
    sparse: SparseConfig | None = None  # None: the chunks' terms are not wanted


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Of parsing: worker processes, seconds a file, bytes of memory a process."""

    workers: int
    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class UnchangedDocument:
    """A document whose content is the one in the store."""

    source: str
    digest: str


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file was read to its end: how many documents it has, and how many of them failed."""

    documents: int
    failed: int


Item = PreparedDocument | UnchangedDocument | DocumentError | FileEnd


def parsers(limits: ProcessLimits, work_items: Sequence[WorkItem]) -> Pool:
    """The processes in which files are prepared, no more than pay for their start."""
    size = sum(work.stat.size for work in work_items)
    return Pool(
        f"{__name__}:prepare",
        workers=min(limits.workers, 1 + size // _WORTH),
        seconds=limits.seconds,
        memory=limits.memory,
    )


def warm() -> None:
    """Load what nearly every document needs, before there is one."""
    chunking.count("")


def prepare(job: Job) -> Iterator[Item]:
    """Every document of the file as it is read, then a FileEnd."""
    documents = failed = 0
    if job.many:
        for item in load(job.path, job.file, job.options):
            documents += 1
            failed += isinstance(item, DocumentError)
            yield item if isinstance(item, DocumentError) else _record(item, job)
        if documents == 0:
            yield _record(Document(source=job.file, text=""), job)
    else:
        found = digest(_file_hash(job), job.recipe.encode("ascii"))
        if job.known.get(job.file) == found:
            yield UnchangedDocument(job.file, found)
        else:
            for item in load(job.path, job.file, job.options):
                failed += isinstance(item, DocumentError)
                yield item if isinstance(item, DocumentError) else _prepared(item, found, job)
    yield FileEnd(max(documents, 1), failed)


def _file_hash(job: Job) -> bytes:
    """Of the bytes; of nothing where they will not be read (loading says why)."""
    hasher = hashlib.blake2b(digest_size=16)
    try:
        if job.path.stat().st_size <= job.options.max_bytes:
            with job.path.open("rb") as file:
                while block := file.read(_READ):
                    hasher.update(block)
    except OSError:
        return b""
    return hasher.digest()


def _record(document: Document, job: Job) -> Item:
    content = json.dumps(
        [document.text, document.title, dict(document.meta)], ensure_ascii=False, sort_keys=True
    )
    found = digest(content.encode("utf-8"), job.recipe.encode("ascii"))
    if job.known.get(document.source) == found:
        return UnchangedDocument(document.source, found)
    return _prepared(document, found, job)


def _prepared(document: Document, found: str, job: Job) -> PreparedDocument:
    chunks = []
    count = cache(chunking.count)  # sections have many chunks
    line, counted = 1, 0
    cut = split(document, size=job.size, overlap=job.overlap)
    for chunk, (found_hash, window) in zip(cut, _hashes(cut, job.window), strict=True):
        line += document.text.count("\n", counted, max(counted, chunk.start))
        counted = max(counted, chunk.start)
        chunks.append(
            PreparedChunk(
                start=chunk.start,
                end=chunk.end,
                text=chunk.text,
                hash=found_hash,
                page=chunk.page,
                line=line if job.lines else None,
                heading=chunk.heading,
                tokens=chunk.tokens,
                window=window,
                context=0 if window is not None else count(context_of(chunk.text, chunk.heading)),
            )
        )
    language = _language(document.text, job.languages)
    return PreparedDocument(
        source=document.source,
        digest=found,
        title=document.title,
        lang=language,
        meta={**document.meta, **job.meta},
        warnings=document.warnings,
        chunks=tuple(chunks if job.sparse is None else _weighed(chunks, language, job.sparse)),
    )


def _weighed(
    chunks: Sequence[PreparedChunk], language: str, config: SparseConfig
) -> Iterator[PreparedChunk]:
    found = Sparse(config).documents([chunk.words for chunk in chunks], [language] * len(chunks))
    for chunk, (indices, values) in zip(chunks, found, strict=True):
        yield chunk._replace(terms=SparseVector(indices, values))


def _hashes(chunks: Sequence[Chunk], budget: int | None) -> Iterator[tuple[str, int | None]]:
    """What each chunk's vector depends on, and its window (None without late chunking).

    In late chunking that is all the text of its window, and where in it the chunk
    stands: a window that changed anywhere is embedded whole.
    """
    if budget is None:
        for chunk in chunks:
            yield text_hash(embedded_text(chunk.text, chunk.heading)), None
        return
    for number, window in enumerate(windows(chunks, budget)):
        whole = digest(*(chunks[n].text.encode() for n in window)).encode("ascii")
        for n in window:
            yield digest(whole, str(n - window.start).encode("ascii")), number


def _language(text: str, languages: Sequence[str]) -> str:
    """Under whose rules BM25 reads a document, where only some `languages` are allowed."""
    if len(languages) == 1:
        return languages[0]
    found = detect(text)
    return found if not languages or found in languages else "und"
