"""What a pipeline would do, found out by reading only: files, collection, plan."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ragctl import chunking, loaders
from ragctl.catalog import BackendConfig
from ragctl.collection.origin import Origin, fill_in_backends, remembered
from ragctl.collection.points import digest
from ragctl.collection.settings import Settings
from ragctl.collection.state import State, read_state, with_incomplete
from ragctl.collection.text import CONTEXT_VERSION
from ragctl.embedding import Embedder, Options, Patience, connect
from ragctl.embedding.canary import THRESHOLD
from ragctl.embedding.guard import RATIO
from ragctl.errors import IdentityMismatch, UsageError
from ragctl.index import failures
from ragctl.index.failures import Failed
from ragctl.index.plan import Plan, check_prune, make_plan
from ragctl.index.prepare import Loading, Recipe
from ragctl.index.prepared import FileStat
from ragctl.index.scan import Scan
from ragctl.lexical.bm25 import SparseConfig
from ragctl.loaders import LoadOptions, matcher
from ragctl.pipeline import CHUNK_SIZE, MODEL, OVERLAP, Embedding, Pipeline, Source
from ragctl.records import Json
from ragctl.stores import is_server
from ragctl.stores.base import Collection

_HEADINGS = 64  # tokens kept free for the heading path before a chunk


@dataclass(frozen=True, slots=True)
class Survey:
    """`conflicts`: files left alone because a document of another root has their name."""

    settings: Settings
    recipe: Recipe
    state: State
    plan: Plan
    conflicts: tuple[tuple[str, str], ...]
    failures: tuple[tuple[str, str], ...]  # of what could not be looked at: source, error
    terms: str  # what failures depend on beside the files, a digest
    known: Mapping[str, Failed]  # files that failed in earlier runs
    held: tuple[Failed, ...]  # those of them that are not tried now
    looked_at: Callable[[Failed], bool]  # whether this run would have seen such a file
    advice: tuple[str, ...] = ()  # to whoever makes the collection


def connect_for(
    pipeline: Pipeline,
    existing: Collection | None,
    environ: Mapping[str, str],
    *,
    dry: bool = False,
) -> Embedder:
    """The embedder that the pipeline names, or else the collection's own.

    `dry`: nobody will be asked, so no key or library is needed.
    Raises IdentityMismatch when it is not the one that made the collection.
    """
    wanted = settled(pipeline, existing)
    embedder = connect(
        wanted.model or MODEL,
        dim=wanted.dim,
        task=wanted.task,
        backends=wanted.backends,
        catalog=pipeline.catalog,
        environ=environ,
        patience=Patience(total=wanted.patience) if wanted.patience is not None else None,
        options=Options(truncate=wanted.truncate, late_chunking=bool(wanted.late_chunking)),
        canary=existing.settings.origin.read_canary(existing.settings.dim)
        if existing is not None
        else None,
        threshold=THRESHOLD if wanted.canary is None else wanted.canary,
        dry=dry,
    )
    if existing is not None:
        try:
            check_identity(existing, embedder)
        except IdentityMismatch:
            embedder.close()
            raise
    return embedder


def settled(pipeline: Pipeline, existing: Collection | None) -> Embedding:
    """What the pipeline asks for, with what it leaves out taken from its collection.

    A collection of another model has nothing to add.
    """
    wanted = pipeline.embedding
    if existing is None:
        return wanted
    identity = existing.settings.identity
    if wanted.model not in (None, identity.model):
        return wanted
    late = wanted.late_chunking
    made = existing.settings.origin
    return replace(
        wanted,
        model=identity.model,
        dim=wanted.dim or existing.settings.dim,
        task=wanted.task or made.task,
        late_chunking=identity.late_chunking if late is None else late,
        backends=fill_in_backends(wanted.backends, made.backends, remote=is_server(pipeline.store)),
    )


def check_identity(collection: Collection, embedder: Embedder) -> None:
    """Raises IdentityMismatch naming each point in which the two differ, both sides."""
    has, gets = collection.settings.identity.to_json(), embedder.identity.to_json()
    differ = [key for key in {**has, **gets} if has.get(key) != gets.get(key)]
    if differ:
        sides = "; ".join(f"{key} {_show(has.get(key))} ≠ {_show(gets.get(key))}" for key in differ)
        raise IdentityMismatch(
            f"collection {collection.name!r} and this run differ in {sides}. "
            "Vectors of both cannot meet: use another --collection, or the collection's own model"
        )


def _show(value: Json | None) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def new_settings(pipeline: Pipeline, embedder: Embedder) -> Settings:
    """What a collection for this pipeline is made with; the canary is added when it is made."""
    wanted = pipeline.embedding
    backends = wanted.backends or (BackendConfig(),)
    return Settings(
        identity=embedder.identity,
        sparse=SparseConfig(languages=pipeline.languages),
        origin=Origin(
            backends=tuple(remembered(c.named(embedder.model.backend)) for c in backends),
            task=wanted.task,
            chunk_size=pipeline.chunk_size or default_size(pipeline, embedder),
            overlap=OVERLAP if pipeline.overlap is None else pipeline.overlap,
        ),
        fields=pipeline.fields,
        quantization=pipeline.quantization,
    )


def advice(pipeline: Pipeline, embedder: Embedder) -> list[str]:
    """What a user should know before a collection of this model is made."""
    model, dim = embedder.model, embedder.dim
    said = []
    backends = pipeline.embedding.backends or (BackendConfig(),)
    rows = [config.row(pipeline.catalog, model.name) for config in backends]
    if model.non_commercial and not all(row.licensed for row in rows):
        said.append(
            f"its licence ({model.licence}) does not allow commercial use, unless through a "
            "backend that licenses it, such as jina"
        )
    if model.trained and dim not in model.trained:
        near = min(model.trained, key=lambda size: (abs(size - dim), size))
        said.append(f"it was not trained at {dim} dimensions; the nearest that it was is {near}")
    return said


def with_canary(settings: Settings, embedder: Embedder) -> Settings:
    """The settings with the vectors by which this model is known again. Asks the backend."""
    canary = embedder.canary()
    if canary is None:
        return settings
    return replace(settings, origin=replace(settings.origin, canary=canary.to_json()))


def default_size(pipeline: Pipeline, embedder: Embedder) -> int:
    """Tokens a chunk where nobody says: CHUNK_SIZE, or what a short context has room for."""
    context = _context(pipeline, embedder)
    if context is None:
        return CHUNK_SIZE
    prompt = chunking.count(embedder.model.document.prompt or "")
    return max(chunking.SMALLEST, min(CHUNK_SIZE, int(context / RATIO) - prompt - _HEADINGS))


def _context(pipeline: Pipeline, embedder: Embedder) -> int | None:
    """Tokens that every backend of the run takes."""
    name = embedder.model.name
    backends = pipeline.embedding.backends or (BackendConfig(),)
    served = [config.row(pipeline.catalog, name).models[name].context for config in backends]
    return min((size for size in (embedder.model.context, *served) if size), default=None)


def survey(
    pipeline: Pipeline,
    found: Scan,
    existing: Collection | None,
    embedder: Embedder,
    *,
    now: float,
    damaged: frozenset[str] = frozenset(),
) -> Survey:
    """Compare files and collection. Raises PruneRefused before anything is written.

    `now` (seconds since 1970) decides which failed documents are due. `damaged`:
    documents that do not stand, whatever their marks say.
    """
    settings = existing.settings if existing else new_settings(pipeline, embedder)
    _check_quantization(pipeline, settings)
    recipe = _recipe(pipeline, settings, embedder)
    state = read_state(existing) if existing else State()
    state = with_incomplete(state, damaged)
    only = matcher(pipeline.only, "--only")
    conflicts = _conflicts(found.files, state)
    names = {file for file, _ in conflicts}
    plan = make_plan(
        [file for file in found.files if file.file not in names],
        state,
        _recipe_names(recipe),
        scopes=frozenset(found.scopes) if pipeline.prune else frozenset(),
        keep={*names, *(source for source, _ in found.failures)}.__contains__,
        looked_at=only,
    )
    check_prune(plan, state, pipeline.prune_limit / 100)
    known = failures.read(existing)
    _refuse_nothing(pipeline, only, (*(f.file for f in found.files), *state.files, *known))
    terms = _terms(pipeline, embedder)
    plan, held = failures.held_back(plan, {} if pipeline.retry_failed else known, terms, now)
    roots = found.scopes | {file.root for file in found.files}
    return Survey(
        settings=settings,
        recipe=recipe,
        state=state,
        plan=plan,
        conflicts=tuple((file, error) for file, error in conflicts if only(file)),
        failures=tuple((source, error) for source, error in found.failures if only(source)),
        terms=terms,
        known=known,
        held=tuple(held),
        looked_at=lambda failed: failed.root in roots and only(failed.file),
        advice=() if existing else tuple(advice(pipeline, embedder)),
    )


def _check_quantization(pipeline: Pipeline, settings: Settings) -> None:
    wanted, has = pipeline.quantization, settings.quantization
    if wanted not in (None, has):
        raise pipeline.wrong(
            "quantization",
            f"the collection was made with {has or 'none'}, this run says {wanted}; "
            "leave it out, or use another --collection",
        )


def _terms(pipeline: Pipeline, embedder: Embedder) -> str:
    """What a document's failure may come from, beside its content and its recipe."""
    parsing = pipeline.parsing
    parts: list[Json] = [
        [account.name for account in embedder.usage.accounts],
        embedder.options.truncate,
        pipeline.pdf_password is not None,
        [parsing.timeout, parsing.memory_mb, parsing.max_file_mb],
    ]
    return digest(json.dumps(parts).encode())


def _refuse_nothing(pipeline: Pipeline, only: Callable[[str], bool], there: Iterable[str]) -> None:
    """A pattern that names nothing is a slip of the pen, not a run without work."""
    if pipeline.only and not any(map(only, there)):
        raise UsageError(f"--only {' '.join(pipeline.only)}: no file and no document is like that")


def _recipe(pipeline: Pipeline, settings: Settings, embedder: Embedder) -> Recipe:
    made, languages = settings.origin, settings.sparse.languages
    if pipeline.languages and tuple(pipeline.languages) != languages:
        raise IdentityMismatch(
            f"the collection's BM25 languages are {', '.join(languages) or 'detected'}, "
            f"this run says {', '.join(pipeline.languages)}; leave them out, or use another "
            "--collection"
        )
    size = pipeline.chunk_size or made.chunk_size or CHUNK_SIZE
    overlap = next(n for n in (pipeline.overlap, made.overlap, OVERLAP) if n is not None)
    chunking.recipe(size, overlap)  # refuses wrong sizes before anything is read
    context = _context(pipeline, embedder)
    if context is not None and size > context and not pipeline.embedding.truncate:
        raise pipeline.wrong(
            "chunking.size",
            f"chunks of {size} tokens do not fit the {context} of {embedder.model.name}; "
            f"use --chunk-size {default_size(pipeline, embedder)} or less",
        )
    window = None
    if embedder.options.late_chunking:
        if overlap:
            raise pipeline.wrong(
                "chunking.overlap", "late chunking needs no overlap: each chunk knows its document"
            )
        window = int((context or CHUNK_SIZE) / RATIO)
    return Recipe(
        sources=tuple(_loading(pipeline, source) for source in pipeline.sources),
        size=size,
        overlap=overlap,
        languages=languages,
        window=window,
    )


def _loading(pipeline: Pipeline, source: Source) -> Loading:
    """A source's own settings over those of the whole pipeline."""
    parsing, fields = pipeline.parsing, source.jsonl_metadata
    options = LoadOptions(
        max_bytes=parsing.max_file_mb * 1_000_000,
        encoding=source.encoding or parsing.encoding,
        jsonl_text=source.jsonl_text or parsing.jsonl_text,
        jsonl_id=source.jsonl_id or parsing.jsonl_id,
        jsonl_metadata=parsing.jsonl_metadata if fields is None else fields,
        pdf_password=pipeline.pdf_password,
    )
    return Loading(options, {**pipeline.meta, **source.meta})


def _recipe_names(recipe: Recipe) -> Callable[[FileStat], str]:
    """The fingerprint of all that decides a file's chunks, by source and kind of file."""
    common: dict[str, Json] = {
        "chunks": chunking.recipe(recipe.size, recipe.overlap),
        "context": CONTEXT_VERSION,
        "languages": list(recipe.languages),
    }
    if recipe.window is not None:
        common["window"] = recipe.window
    known: dict[tuple[int, str], str] = {}

    def fingerprint(stat: FileStat) -> str:
        file, source = stat.file, recipe.sources[stat.source_number]
        name = file[file.rfind("/") + 1 :]
        dot = name.rfind(".")
        kind = (stat.source_number, name[dot:].lower() if dot > 0 else name)
        if kind not in known:
            loader = loaders.recipe(file, source.options)
            whole = {**common, "meta": dict(source.meta), "loader": loader}
            known[kind] = digest(json.dumps(whole, sort_keys=True).encode())
        return known[kind]

    return fingerprint


def _conflicts(files: list[FileStat], state: State) -> list[tuple[str, str]]:
    """Files whose name belongs to a document of another root where it still exists."""
    conflicts = []
    for file in files:
        for stored in state.files.get(file.file, ()):
            if stored.root == file.root:
                continue
            other, this = Path(stored.root) / file.file, Path(file.root) / file.file
            if other.is_file() and not other.samefile(this):
                conflicts.append(
                    (
                        file.file,
                        f"a document of this name is indexed from {stored.root} and still there; "
                        "ingest the common parent folder, or use another --collection",
                    )
                )
                break
    return conflicts
