"""The recipe of a run: the loader and chunker settings that decide a document's chunks."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ragctl import chunking, loaders
from ragctl.collection.points import digest
from ragctl.collection.settings import Settings
from ragctl.collection.text import CONTEXT_VERSION
from ragctl.embedding import Embedder
from ragctl.embedding.token_bounds import TOKEN_RATIO
from ragctl.errors import IdentityMismatch
from ragctl.index.embedder import context_limit, default_chunk_size
from ragctl.index.plan import WorkItem
from ragctl.index.prepare import Job
from ragctl.index.prepared import FileStat
from ragctl.lexical.bm25 import Bm25Config
from ragctl.loaders import LoadOptions, Location, format_of
from ragctl.pipeline import DEFAULT_CHUNK_SIZE, DEFAULT_OVERLAP, Pipeline, Source
from ragctl.pipeline.command import migrate_command
from ragctl.records import Json
from ragctl.sources.fetching import Fetching
from ragctl.text import counted


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The load options of one source, and the metadata added to each of its documents."""

    options: LoadOptions
    meta: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything apart from a document's content that decides its chunks.

    `sources` are in the order of the pipeline. `size` and `overlap` are in tokens.
    `languages`: the BM25 languages allowed; empty: any. `window`: tokens embedded in one
    context in late chunking. `sparse`: compute BM25 vectors with this configuration;
    None: do not compute them.
    """

    sources: tuple[SourceOptions, ...]
    size: int
    overlap: int
    languages: tuple[str, ...] = ()
    window: int | None = None
    sparse: Bm25Config | None = None

    def jobs(self, work_items: Iterable[WorkItem], fetching: Fetching) -> Iterator[Job]:
        """Yield the parsing job of each file of a plan; files elsewhere are fetched ahead."""
        for work, location in fetching.ahead(work_items, _location):
            yield self.job(work, location)

    def job(self, work: WorkItem, location: Location) -> Job:
        """Return the parsing job of one file of the plan, which is at `location` by now."""
        file_format = format_of(work.stat.file)
        source = self.sources[work.stat.source_number]
        return Job(
            location=location,
            file=work.stat.file,
            recipe=work.recipe,
            options=source.options,
            size=self.size,
            overlap=self.overlap,
            meta={**dict(work.stat.meta), **source.meta},
            title=work.stat.title,
            languages=self.languages,
            known=work.known,
            keeps_lines=file_format is not None and file_format.keeps_lines,
            many_documents=file_format is not None and file_format.many_documents,
            window=self.window,
            sparse=self.sparse,
        )


def _location(work: WorkItem) -> Location:
    assert work.stat.location is not None, "a file of the scan can be opened"
    return work.stat.location


def make_recipe(pipeline: Pipeline, settings: Settings, embedder: Embedder) -> Recipe:
    """Return the recipe of a run; what the pipeline leaves out comes from the collection.

    Raises IdentityMismatch for other BM25 languages than the collection's, UsageError
    for chunk settings that are invalid or do not fit the model.
    """
    stored, languages = settings.origin, settings.sparse.languages
    if pipeline.languages and tuple(pipeline.languages) != languages:
        raise IdentityMismatch(
            f"the collection's BM25 languages are {', '.join(languages) or 'detected'}, "
            f"this run says {', '.join(pipeline.languages)}; leave them out, use another "
            f"--collection, or move this one: {migrate_command(pipeline)}"
        )
    size = pipeline.chunk_size or stored.chunk_size or DEFAULT_CHUNK_SIZE
    overlap = next(n for n in (pipeline.overlap, stored.overlap, DEFAULT_OVERLAP) if n is not None)
    chunking.recipe(size, overlap)  # raises for wrong sizes before anything is read
    context = context_limit(pipeline, embedder)
    if context is not None and size > context and not pipeline.embedding.truncate:
        raise pipeline.error(
            "chunking.size",
            f"chunks of {counted(size, 'token')} do not fit the {context} of "
            f"{embedder.model.name}; "
            f"use --chunk-size {default_chunk_size(pipeline, embedder)} or less",
        )
    window = None
    if embedder.options.late_chunking:
        if overlap:
            raise pipeline.error(
                "chunking.overlap",
                "late chunking takes no overlap: each chunk is embedded in its document's context",
            )
        window = int((context or DEFAULT_CHUNK_SIZE) / TOKEN_RATIO)
    return Recipe(
        sources=tuple(_source_options(pipeline, source) for source in pipeline.sources),
        size=size,
        overlap=overlap,
        languages=languages,
        window=window,
    )


def _source_options(pipeline: Pipeline, source: Source) -> SourceOptions:
    """Return a source's settings; what it leaves out comes from the whole pipeline."""
    parsing, fields = pipeline.parsing, source.jsonl_metadata
    options = LoadOptions(
        max_bytes=parsing.max_bytes,
        encoding=source.encoding or parsing.encoding,
        jsonl_text=source.jsonl_text or parsing.jsonl_text,
        jsonl_id=source.jsonl_id or parsing.jsonl_id,
        jsonl_metadata=parsing.jsonl_metadata if fields is None else fields,
        pdf_password=pipeline.pdf_password,
    )
    return SourceOptions(options, {**pipeline.meta, **source.meta})


def recipe_digests(recipe: Recipe) -> Callable[[FileStat], str]:
    """Return a function from a file to the digest of its recipe.

    The digest depends on the file's source and suffix, for which it is computed once, and on the
    title and metadata that the source gives it.
    """
    common: dict[str, Json] = {
        "chunks": chunking.recipe(recipe.size, recipe.overlap),
        "context": CONTEXT_VERSION,
        "languages": list(recipe.languages),
    }
    if recipe.window is not None:
        common["window"] = recipe.window
    cache: dict[tuple[int, str], str] = {}

    def of_file(stat: FileStat) -> str:
        file, source = stat.file, recipe.sources[stat.source_number]
        name = file[file.rfind("/") + 1 :]
        dot = name.rfind(".")
        kind = (stat.source_number, name[dot:].lower() if dot > 0 else name)
        if kind not in cache:
            loader = loaders.recipe(file, source.options)
            whole = {**common, "meta": dict(source.meta), "loader": loader}
            cache[kind] = digest(json.dumps(whole, sort_keys=True).encode())
        if not stat.meta and not stat.title:
            return cache[kind]
        given: Json = [stat.title, [list(each) for each in stat.meta]]
        return digest(cache[kind].encode("ascii"), json.dumps(given).encode())

    return of_file
