"""Load, chunk and hash the documents of one file. Runs in the limited worker processes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ragctl import chunking
from ragctl.chunking import split
from ragctl.collection.payload import SparseVector
from ragctl.collection.points import digest
from ragctl.collection.text import context_of, embedded_text, text_hash
from ragctl.errors import DocumentError
from ragctl.index.contents import file_digest
from ragctl.index.plan import WorkItem
from ragctl.index.prepared import PreparedChunk, PreparedDocument
from ragctl.index.windows import split_into_windows
from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder
from ragctl.lexical.languages import detect
from ragctl.loaders import LoadOptions, Location, load_content, with_failures
from ragctl.records import Chunk, Document, Json
from ragctl.workers import Pool

BYTES_PER_PROCESS = 500_000
"""Parsing this many bytes takes about as long as starting a process."""

NO_TEXT = "it has no text, so no search finds it"
"""Warning about a document without chunks."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to prepare.

    `recipe`: digest of its recipe. `size` and `overlap`: of chunks, in tokens. `known`:
    source → digest of its documents that are complete in the collection; if their content is
    unchanged they are not parsed. `languages`: those that a document may be indexed in;
    empty: any. `keeps_lines`: whether lines of a document's text are lines of the file.
    `many_documents`: whether the file may hold any number of documents. `window`: tokens
    embedded in one context in late chunking. `sparse`: None: do not compute BM25 vectors.
    `title`: instead of the document's own, unless it is empty.
    """

    location: Location
    file: str
    recipe: str
    options: LoadOptions
    size: int
    overlap: int
    meta: Mapping[str, Json]
    languages: tuple[str, ...]
    known: Mapping[str, str]
    keeps_lines: bool
    many_documents: bool
    window: int | None = None
    sparse: Bm25Config | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of parsing: worker processes, seconds per file, bytes of memory per process."""

    workers: int
    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class UnchangedDocument:
    """A document whose content is the same as in the collection."""

    source: str
    digest: str


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The end of a file: how many documents it has, and how many of them failed."""

    documents: int
    failed: int


ParseResult = PreparedDocument | UnchangedDocument | DocumentError | FileEnd


def parsers(limits: ProcessLimits, work_items: Sequence[WorkItem]) -> Pool:
    """Return the pool of parsing processes, fewer if there is little to parse."""
    size = sum(work.stat.size for work in work_items)
    return Pool(
        f"{__name__}:prepare",
        workers=min(limits.workers, 1 + size // BYTES_PER_PROCESS),
        seconds=limits.seconds,
        memory=limits.memory,
    )


def warm() -> None:
    """Load the tokenizer before the first job: nearly every document needs it."""
    chunking.count("")


def prepare(job: Job) -> Iterator[ParseResult]:
    """Yield every document of the file as it is read, then a FileEnd."""
    documents = failed = 0
    for item in with_failures(job.file, _documents(job)):
        count = item.documents if isinstance(item, DocumentError) else 1
        documents += count
        failed += count if isinstance(item, DocumentError) else 0
        yield item
    yield FileEnd(max(documents, 1), failed)


def _documents(job: Job) -> Iterator[ParseResult]:
    """Yield every document of the file, which is opened and read once."""
    with job.location.open() as content:
        if job.many_documents:
            item = None
            for item in load_content(content, job.file, job.options):
                yield item if isinstance(item, DocumentError) else _record(item, job)
            if item is None:
                yield _record(Document(source=job.file, text=""), job)
            return
        content_digest = file_digest(content.read(job.options.max_bytes), job.recipe)
        if job.known.get(job.file) == content_digest:
            yield UnchangedDocument(job.file, content_digest)
            return
        for item in load_content(content, job.file, job.options):
            if isinstance(item, DocumentError):
                yield item
            else:
                yield _prepared(item, content_digest, job)


def _record(document: Document, job: Job) -> ParseResult:
    content = json.dumps(
        [document.text, document.title, dict(document.meta)], ensure_ascii=False, sort_keys=True
    )
    content_digest = digest(content.encode("utf-8"), job.recipe.encode("ascii"))
    if job.known.get(document.source) == content_digest:
        return UnchangedDocument(document.source, content_digest)
    return _prepared(document, content_digest, job)


def _prepared(document: Document, content_digest: str, job: Job) -> PreparedDocument:
    chunks = []
    count = cache(chunking.count)  # the chunks of a section have the same heading path
    line, counted = 1, 0  # line number, counted up to this character
    cut = split(document, size=job.size, overlap=job.overlap)
    for chunk, (vector_hash, window) in zip(cut, _hashes(cut, job.window), strict=True):
        line += document.text.count("\n", counted, max(counted, chunk.start))
        counted = max(counted, chunk.start)
        chunks.append(
            PreparedChunk(
                start=chunk.start,
                end=chunk.end,
                text=chunk.text,
                hash=vector_hash,
                page=chunk.page,
                line=line if job.keeps_lines else None,
                heading=chunk.heading,
                tokens=chunk.tokens,
                window=window,
                context_tokens=0
                if window is not None
                else count(context_of(chunk.text, chunk.heading)),
            )
        )
    language = language_of(document.text, job.languages)
    return PreparedDocument(
        source=document.source,
        digest=content_digest,
        title=job.title or document.title,
        lang=language,
        meta={**document.meta, **job.meta},
        warnings=document.warnings if chunks or document.warnings else (NO_TEXT,),
        chunks=tuple(
            chunks if job.sparse is None else _with_sparse_vectors(chunks, language, job.sparse)
        ),
    )


def _with_sparse_vectors(
    chunks: Sequence[PreparedChunk], language: str, config: Bm25Config
) -> Iterator[PreparedChunk]:
    texts = [chunk.bm25_text for chunk in chunks]
    weights = Bm25Encoder(config).documents(texts, [language] * len(chunks))
    for chunk, (indices, values) in zip(chunks, weights, strict=True):
        yield chunk._replace(terms=SparseVector(indices, values))


def _hashes(chunks: Sequence[Chunk], budget: int | None) -> Iterator[tuple[str, int | None]]:
    """Yield the hash of what each chunk's vector depends on, and the number of its window.

    Without late chunking (`budget` None) that is the embedded text, and the window is None.
    In late chunking it is the whole text of the window and the chunk's position in it: a
    window that changed anywhere is embedded again. `budget`: tokens of a window.
    """
    if budget is None:
        for chunk in chunks:
            yield text_hash(embedded_text(chunk.text, chunk.heading)), None
        return
    for number, window in enumerate(split_into_windows(chunks, budget)):
        whole = digest(*(chunks[n].text.encode() for n in window)).encode("ascii")
        for n in window:
            yield digest(whole, str(n - window.start).encode("ascii")), number


def language_of(text: str, languages: Sequence[str]) -> str:
    """Return the language whose BM25 rules apply to a document, one of `languages` if given."""
    if len(languages) == 1:
        return languages[0]
    detected = detect(text)
    return detected if not languages or detected in languages else "und"
