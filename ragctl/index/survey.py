"""What a pipeline would do, found out by reading only: files, collection, plan."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ragctl import chunking, loaders
from ragctl.embedding import Embedder, connect
from ragctl.embedding.sparse import SparseConfig
from ragctl.errors import IdentityMismatch
from ragctl.index.plan import Plan, check_prune, make_plan
from ragctl.index.points import CONTEXT, FileStat, digest
from ragctl.index.prepare import Recipe
from ragctl.index.scan import Scan
from ragctl.index.state import State, read_state
from ragctl.loaders import LoadOptions
from ragctl.pipeline import CHUNK_SIZE, MODEL, OVERLAP, Pipeline
from ragctl.records import Json
from ragctl.stores.base import Collection, Settings


@dataclass(frozen=True, slots=True)
class Survey:
    """`conflicts`: files left alone because a document of another root has their name."""

    settings: Settings
    recipe: Recipe
    state: State
    plan: Plan
    conflicts: tuple[tuple[str, str], ...]


def connect_for(
    pipeline: Pipeline, existing: Collection | None, environ: Mapping[str, str]
) -> Embedder:
    """The embedder that the pipeline names, or else the collection's own.

    Raises IdentityMismatch when it is not the one that made the collection.
    """
    wanted = pipeline.embedding
    if existing is None:
        model, dim = wanted.model or MODEL, wanted.dim
        backend, base_url = wanted.backend, wanted.base_url
    else:
        identity, origin = (
            existing.settings.identity,
            cast(dict[str, Any], existing.settings.origin),
        )
        model = wanted.model or str(identity["model"])
        dim = wanted.dim or (existing.settings.dim if model == identity["model"] else None)
        backend, base_url = wanted.backend, wanted.base_url
        if model == identity["model"] and backend in (None, origin.get("backend")):
            backend, base_url = origin.get("backend"), base_url or origin.get("base_url")
    embedder = connect(model, dim=dim, backend=backend, base_url=base_url, environ=environ)
    if existing is not None:
        try:
            check_identity(existing, embedder)
        except IdentityMismatch:
            embedder.close()
            raise
    return embedder


def check_identity(collection: Collection, embedder: Embedder) -> None:
    """Raises IdentityMismatch naming each point in which the two differ, both sides."""
    has, gets = collection.settings.identity, embedder.identity
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
    """What a collection for this pipeline is made with."""
    return Settings(
        dim=embedder.dim,
        identity=embedder.identity,
        sparse=SparseConfig(languages=pipeline.languages).to_json(),
        origin={
            "backend": pipeline.embedding.backend or embedder.model.backend,
            "base_url": pipeline.embedding.base_url,
            "chunk_size": pipeline.chunk_size or CHUNK_SIZE,
            "overlap": OVERLAP if pipeline.overlap is None else pipeline.overlap,
        },
    )


def survey(
    pipeline: Pipeline, found: Scan, existing: Collection | None, embedder: Embedder
) -> Survey:
    """Compare files and collection. Raises PruneRefused before anything is written."""
    settings = existing.settings if existing else new_settings(pipeline, embedder)
    recipe = _recipe(pipeline, settings)
    state = read_state(existing) if existing else State()
    conflicts = _conflicts(found.files, state)
    names = {file for file, _ in conflicts}
    plan = make_plan(
        [file for file in found.files if file.file not in names],
        state,
        _recipe_names(recipe),
        scopes=frozenset(found.scopes) if pipeline.prune else frozenset(),
        keep={*names, *(source for source, _ in found.failures)}.__contains__,
    )
    check_prune(plan, state, pipeline.prune_limit / 100)
    return Survey(settings, recipe, state, plan, tuple(conflicts))


def _recipe(pipeline: Pipeline, settings: Settings) -> Recipe:
    origin = cast(dict[str, Any], settings.origin)
    languages = SparseConfig.from_json(settings.sparse).languages
    if pipeline.languages and tuple(pipeline.languages) != languages:
        raise IdentityMismatch(
            f"the collection's BM25 languages are {', '.join(languages) or 'detected'}, "
            f"this run says {', '.join(pipeline.languages)}; leave them out, or use another "
            "--collection"
        )
    parsing = pipeline.parsing
    size = pipeline.chunk_size or origin.get("chunk_size") or CHUNK_SIZE
    overlap = pipeline.overlap if pipeline.overlap is not None else origin.get("overlap", OVERLAP)
    chunking.recipe(size, overlap)  # refuses wrong sizes before anything is read
    return Recipe(
        options=LoadOptions(
            max_bytes=parsing.max_file_mb * 1_000_000,
            encoding=parsing.encoding,
            jsonl_text=parsing.jsonl_text,
            jsonl_id=parsing.jsonl_id,
            jsonl_metadata=parsing.jsonl_metadata,
            pdf_password=pipeline.pdf_password,
        ),
        size=size,
        overlap=overlap,
        meta=pipeline.meta,
        languages=languages,
    )


def _recipe_names(recipe: Recipe) -> Callable[[str], str]:
    """The fingerprint of all that decides a file's chunks, by file name."""
    common: dict[str, Json] = {
        "chunks": chunking.recipe(recipe.size, recipe.overlap),
        "context": CONTEXT,
        "meta": dict(recipe.meta),
        "languages": list(recipe.languages),
    }
    known: dict[str, str] = {}

    def name(file: str) -> str:
        suffix = Path(file).suffix.lower() or Path(file).name
        if suffix not in known:
            whole = {**common, "loader": loaders.recipe(file, recipe.options)}
            known[suffix] = digest(json.dumps(whole, sort_keys=True).encode())
        return known[suffix]

    return name


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
