"""The embedder of a run, and the settings of a collection created with it."""

import time
from collections.abc import Mapping
from dataclasses import replace

from ragctl import chunking
from ragctl.catalog import RETRIEVAL, BackendConfig
from ragctl.collection.family import is_other_member, member_backends
from ragctl.collection.notes import BatchSize, VectorEncoding
from ragctl.collection.origin import Origin, fill_in_backends, stored_config
from ragctl.collection.settings import Settings
from ragctl.embedding import Embedder, Options, Patience, connect
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.embedding.token_bounds import TOKEN_RATIO
from ragctl.errors import IdentityMismatch
from ragctl.lexical.bm25 import Bm25Config
from ragctl.pipeline import DEFAULT_CHUNK_SIZE, DEFAULT_MODEL, DEFAULT_OVERLAP, Embedding, Pipeline
from ragctl.pipeline.command import migrate_command
from ragctl.records import Identity, Notify, ignore
from ragctl.stores import is_server
from ragctl.stores.base import Collection

LEARNED_DAYS = 30
"""For how long the batch size and the encoding that a backend took are kept."""

HEADING_TOKENS = 64
"""Tokens of a short model context reserved for the heading path in front of a chunk."""


def connect_for(
    pipeline: Pipeline,
    existing: Collection | None,
    environ: Mapping[str, str],
    *,
    dry: bool = False,
    notify: Notify = ignore,
) -> Embedder:
    """Connect to the pipeline's embedding model, or else to that of the existing collection.

    `notify` gets a line when a backend fails for a while. With `dry` no backend will be called,
    so no API key or library is needed.
    Raises IdentityMismatch if the embedder is not the one that made the collection.
    """
    if existing is not None:
        # Before a key is asked for: the backend of another model may need another one.
        with _connected(pipeline, existing, environ, dry=True, notify=notify) as described:
            command = migrate_command(
                pipeline, with_sources=existing.settings.identity.late_chunking
            )
            check_identity(existing, described, command)
    embedder = _connected(pipeline, existing, environ, dry=dry, notify=notify)
    if existing is not None:
        use_what_was_learned(embedder, existing, time.time())
    return embedder


def _connected(
    pipeline: Pipeline,
    existing: Collection | None,
    environ: Mapping[str, str],
    *,
    dry: bool,
    notify: Notify,
) -> Embedder:
    """Connect as `connect_for` does, without comparing the identities."""
    embedding = effective_embedding(pipeline, existing)
    return connect(
        embedding.model or DEFAULT_MODEL,
        dim=embedding.dim,
        task=embedding.task,
        backends=embedding.backends,
        catalog=pipeline.catalog,
        environ=environ,
        patience=Patience(total=embedding.patience) if embedding.patience is not None else None,
        options=Options(truncate=embedding.truncate, late_chunking=bool(embedding.late_chunking)),
        canary=existing.settings.origin.read_canary(existing.settings.dim)
        if existing is not None
        else None,
        threshold=CANARY_THRESHOLD if embedding.canary is None else embedding.canary,
        dry_run=dry,
        reference=None if existing is None else existing.settings.identity.model,
        notify=notify,
    )


def use_what_was_learned(embedder: Embedder, collection: Collection, now: float) -> None:
    """Limit batches to the sizes that earlier runs learned, and use the encodings of vectors.

    They are forgotten after `LEARNED_DAYS`: the backend may have become faster, or be another
    version.
    """
    notes = collection.notes()
    for backend, size in notes.get("batch_sizes", {}).items():
        if now - size["learned"] < LEARNED_DAYS * 86_400:
            embedder.limit_batch(backend, size["texts"])
    for backend, found in notes.get("encodings", {}).items():
        if now - found["learned"] < LEARNED_DAYS * 86_400:
            embedder.use_encoding(backend, found["encoding"])


def note_member(embedder: Embedder, collection: Collection) -> None:
    """Note, before its first vector, that another model of the family writes."""
    if not is_other_member(collection.settings.identity, embedder.model):
        return
    known = collection.notes().get("members", [])
    if embedder.model.name not in known:
        collection.note({"members": [*known, embedder.model.name]})


def batch_sizes_note(
    embedder: Embedder, collection: Collection, now: float
) -> dict[str, BatchSize] | None:
    """Return the note `batch_sizes` with what this run learned; None if nothing is new."""
    kept = collection.notes().get("batch_sizes", {})
    learned = {
        backend: BatchSize(texts=texts, learned=round(now))
        for backend, texts in embedder.batch_sizes.items()
        if backend not in kept or kept[backend]["texts"] != texts
    }
    return {**kept, **learned} if learned else None


def encodings_note(
    embedder: Embedder, collection: Collection, now: float
) -> dict[str, VectorEncoding] | None:
    """Return the note `encodings` with what this run found out; None if nothing is new."""
    learned = {
        backend: VectorEncoding(encoding=encoding, learned=round(now))
        for backend, encoding in embedder.encodings.items()
    }
    return {**collection.notes().get("encodings", {}), **learned} if learned else None


def effective_embedding(pipeline: Pipeline, existing: Collection | None) -> Embedding:
    """Return the pipeline's embedding settings, completed from the existing collection.

    Nothing is taken from a collection of another model, unless the two are of one family.
    """
    embedding = pipeline.embedding
    if existing is None:
        return embedding
    identity, stored = existing.settings.identity, existing.settings.origin
    model, made = identity.model, stored.backends
    if embedding.model is not None:
        row = pipeline.catalog.model(embedding.model)
        model = row.name
        if is_other_member(identity, row):
            made = member_backends(made, pipeline.catalog, row)
        elif model != identity.model:
            return embedding
    late = embedding.late_chunking
    return replace(
        embedding,
        model=model,
        dim=embedding.dim or existing.settings.dim,
        task=embedding.task or stored.task,
        late_chunking=identity.late_chunking if late is None else late,
        backends=fill_in_backends(embedding.backends, made, remote=is_server(pipeline.store)),
    )


def check_identity(collection: Collection, embedder: Embedder, command: str) -> None:
    """Raise IdentityMismatch, naming both values of every difference, if the two differ.

    `command`: moves the collection to the embedder's identity; the message ends with it.
    """
    stored = collection.settings
    differences = identity_differences(stored.identity, embedder.identity)
    tasks = (stored.origin.task or RETRIEVAL, embedder.task or RETRIEVAL)
    if is_other_member(stored.identity, embedder.model) and tasks[0] != tasks[1]:
        differences.append(f"task {tasks[0]} ≠ {tasks[1]}")
    if differences:
        raise IdentityMismatch(
            f"collection {collection.name!r} and this run differ in {'; '.join(differences)}. "
            "Their vectors cannot be compared. Use the collection's own model or another "
            f"--collection, or move this one: {command}"
        )


def identity_differences(stored: Identity, current: Identity) -> list[str]:
    """Return both values of every difference; of two models, only what a user chooses.

    Two models of one family share a vector space: neither their names differ, nor what each
    of them expects with a text.
    """
    if stored.model == current.model:
        names = _CHOSEN | _OF_MODEL
    elif stored.family is not None and stored.family == current.family:
        names = {key: name for key, name in _CHOSEN.items() if key != "model"} | _OF_VECTORS
    else:
        names = _CHOSEN
    pairs = {
        name: (getattr(stored, attribute), getattr(current, attribute))
        for attribute, name in names.items()
    }
    return [f"{name} {_show(a)} ≠ {_show(b)}" for name, (a, b) in pairs.items() if a != b]


_CHOSEN = {"model": "model", "dimension": "dimension", "late_chunking": "late chunking"}
_OF_VECTORS = {
    "normalized": "unit length of vectors",
    "distance": "distance",
    "element": "number type of vectors",
}
_OF_MODEL = {
    "revision": "revision of the model",
    "document": "task or prompt of documents",
    "query": "task or prompt of questions",
    **_OF_VECTORS,
}
"""What `check_identity` calls the attributes of an identity."""


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def new_settings(pipeline: Pipeline, embedder: Embedder) -> Settings:
    """Return the settings of a new collection, without its canary (see `add_canary`)."""
    backends = pipeline.embedding.backends or (BackendConfig(),)
    tenant = pipeline.server.tenant
    return Settings(
        identity=embedder.identity,
        sparse=Bm25Config(languages=pipeline.languages),
        origin=Origin(
            backends=tuple(
                stored_config(config.with_default_name(embedder.model.backend))
                for config in backends
            ),
            task=pipeline.embedding.task,
            chunk_size=pipeline.chunk_size or default_chunk_size(pipeline, embedder),
            overlap=DEFAULT_OVERLAP if pipeline.overlap is None else pipeline.overlap,
        ),
        fields=pipeline.fields if tenant is None else {**pipeline.fields, tenant: "keyword"},
        quantization=pipeline.quantization,
        server=pipeline.server.options(),
    )


def add_canary(settings: Settings, embedder: Embedder) -> Settings:
    """Return the settings with the model's canary vectors. Sends the canary texts."""
    canary = embedder.canary()
    if canary is None:
        return settings
    return replace(settings, origin=replace(settings.origin, canary=canary.to_json()))


def model_warnings(pipeline: Pipeline, embedder: Embedder) -> list[str]:
    """Return what a user should know about the model before a collection is created with it."""
    model, dim = embedder.model, embedder.dim
    lines = []
    backends = pipeline.embedding.backends or (BackendConfig(),)
    rows = [config.resolve(pipeline.catalog, model.name) for config in backends]
    if model.non_commercial and not all(row.licensed for row in rows):
        lines.append(
            f"its licence ({model.licence}) does not allow commercial use, unless through a "
            "backend that licenses it, such as jina"
        )
    if model.trained and dim not in model.trained:
        nearest = min(model.trained, key=lambda size: (abs(size - dim), size))
        lines.append(
            f"it was not trained at {dim} dimensions; the nearest trained size is {nearest}"
        )
    return lines


def default_chunk_size(pipeline: Pipeline, embedder: Embedder) -> int:
    """Return the default chunk size in tokens: DEFAULT_CHUNK_SIZE, or less for a short context."""
    context = context_limit(pipeline, embedder)
    if context is None:
        return DEFAULT_CHUNK_SIZE
    prompt = chunking.count(embedder.model.document.prompt or "")
    return max(
        chunking.MIN_SIZE,
        min(DEFAULT_CHUNK_SIZE, int(context / TOKEN_RATIO) - prompt - HEADING_TOKENS),
    )


def context_limit(pipeline: Pipeline, embedder: Embedder) -> int | None:
    """Return the tokens that the model takes on every backend of the run; None if unknown."""
    name = embedder.model.name
    backends = pipeline.embedding.backends or (BackendConfig(),)
    served = [config.resolve(pipeline.catalog, name).models[name].context for config in backends]
    return min((size for size in (embedder.model.context, *served) if size), default=None)
