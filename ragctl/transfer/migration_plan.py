"""What a migration changes, and where the new vectors come from. Sends nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ragctl.catalog import Model
from ragctl.collection.family import is_other_member
from ragctl.collection.payload import Vector
from ragctl.collection.server_options import ServerOptions
from ragctl.collection.settings import Settings
from ragctl.collection.state import read_state
from ragctl.embedding.canary import CANARY_THRESHOLD, Canary
from ragctl.embedding.embedder import Embedder
from ragctl.errors import BackendError, PruneRefused, UsageError
from ragctl.evaluate.truncation import BUILTIN, truncate
from ragctl.index.embedder import (
    connect_for,
    context_limit,
    default_chunk_size,
    effective_embedding,
    new_settings,
)
from ragctl.index.naming import name_sources
from ragctl.index.plan import check_removal
from ragctl.index.scan import scan
from ragctl.pipeline import Pipeline
from ragctl.stores import is_server
from ragctl.stores.base import Collection
from ragctl.text import counted

How = Literal["keep", "cut", "embed", "sources"]
"""Where the new vectors come from: kept as they are, cut from the stored ones, embedded from the
stored texts, or from the sources, which are read and chunked anew.
"""


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What a migration changes.

    `pipeline`: the settings wanted, completed from the collection. `settings`: those of the new
    generation, without its canary.
    """

    how: How
    pipeline: Pipeline
    settings: Settings
    model: Model

    def convert(self, vector: Vector) -> Vector:
        """Return a stored vector as the new generation stores it, shape (dim,)."""
        cut: Vector = truncate(vector[None, :], self.settings.dim, self.model)[0]
        return cut


def plan_migration(
    pipeline: Pipeline,
    current: Collection,
    environ: Mapping[str, str],
    *,
    has_sources: bool,
    embed_again: bool = False,
) -> MigrationPlan:
    """Return the plan. `has_sources`: the pipeline's sources are those of the collection.

    Raises UsageError for settings that do not go together, or that need the sources when there
    are none; PruneRefused if these lack documents of the collection.
    """
    stored = current.settings
    wanted = replace(
        pipeline,
        embedding=effective_embedding(pipeline, current),
        chunk_size=pipeline.chunk_size or stored.origin.chunk_size,
        overlap=stored.origin.overlap if pipeline.overlap is None else pipeline.overlap,
        quantization=pipeline.quantization or stored.quantization,
        languages=pipeline.languages or stored.sparse.languages,
    )
    with connect_for(wanted, None, environ, dry=True) as embedder:
        settings = replace(
            new_settings(wanted, embedder),
            fields={**stored.fields, **pipeline.fields},
            namespace=stored.namespace,
            server=_server_options(stored.server, pipeline.server.options()),
        )
        how = _how(stored, settings, embedder, embed_again=embed_again)
        context = context_limit(wanted, embedder)
        size = settings.origin.chunk_size
        if context is not None and size is not None and size > context:
            raise UsageError(
                f"the collection's chunks of up to {counted(size, 'token')} do not fit the "
                f"{context} of "
                f"{embedder.model.name}; add --chunk-size {default_chunk_size(wanted, embedder)}, "
                "which reads the sources again"
            )
        model = embedder.model
    if how == "embed" and not embed_again:
        _check_family(stored, model)
    if how == "sources":
        _check_sources(current)
    elif how != "embed":
        origin = replace(settings.origin, unverified=stored.origin.unverified)
        settings = replace(settings, origin=origin)
    if how == "sources" and not has_sources:
        raise UsageError(
            f"{_what_needs_sources(stored, settings)} reads the documents again: give the pipeline "
            "file of the collection instead of its name, or its folders with --source"
        )
    if how == "sources":
        check_documents(wanted, current)
    return MigrationPlan(how, wanted, settings, model)


def _check_family(stored: Settings, model: Model) -> None:
    """Raise UsageError if the model may use the collection's vectors as they are."""
    if is_other_member(stored.identity, model):
        own = stored.identity.model
        raise UsageError(
            f"{model.name} shares its vector space with {own}, so a run or a search can use it "
            f"with this collection as it is; add --model {own} to keep the vectors, or "
            f"--embed-again to embed all texts with {model.name}"
        )


def check_documents(pipeline: Pipeline, current: Collection) -> None:
    """Raise PruneRefused if a collection made from the sources would lack documents of `current`.

    That is: documents of other sources, or more missing files than the prune limit allows.
    """
    state = read_state(current)
    naming = name_sources(
        scan(pipeline), current.notes().get("places", {}), state, moved=pipeline.moved
    )
    files = {file.file for file in naming.files}
    documents = [
        document
        for document in state.documents.values()
        if naming.replaced.get(document.source_name, "") + document.path not in files
        and document.file not in files
    ]
    elsewhere = sorted({d.source_name for d in documents} - naming.names - naming.replaced.keys())
    if elsewhere:
        count = sum(document.source_name == elsewhere[0] for document in documents)
        raise PruneRefused(
            f"{counted(count, 'document')} of the collection came from {elsewhere[0]}, which is "
            "not among the "
            "sources: they would be lost. Name all sources, or remove the documents first with "
            "`ragctl delete`"
        )
    missing = Counter(document.source_name for document in documents)
    check_removal(missing, state, pipeline.prune_limit / 100)


def _check_sources(current: Collection) -> None:
    """Raise UsageError if documents were copied from a collection of another program."""
    documents = read_state(current).documents.values()
    copied = [d.source_name for d in documents if is_server(d.source_name)]
    if copied:
        raise UsageError(
            f"{counted(len(copied), 'document was', 'documents were')} copied from {copied[0]}, "
            "which has no files to chunk "
            "anew; keep the chunk size and the languages, or migrate a collection without them"
        )


def _server_options(stored: ServerOptions, asked: ServerOptions) -> ServerOptions:
    """Return the stored options, with those that are asked for in their place."""
    return ServerOptions.from_json({**stored.to_json(), **asked.to_json()})


def _how(stored: Settings, settings: Settings, embedder: Embedder, *, embed_again: bool) -> How:
    if _what_needs_sources(stored, settings):
        return "sources"
    if stored.identity == settings.identity:
        return "embed" if embed_again else "keep"
    at_old_size = replace(settings.identity, dimension=stored.dim)
    if (
        at_old_size == stored.identity
        and settings.dim < stored.dim
        and embedder.model.name != BUILTIN
        and not embed_again
    ):
        return "cut"
    return "embed"


def _what_needs_sources(stored: Settings, settings: Settings) -> str:
    """Return the change for which the stored chunks are of no use; "" if there is none."""
    before, after = stored.origin, settings.origin
    if before.chunk_size != after.chunk_size or before.overlap != after.overlap:
        return "another chunk size"
    if stored.sparse.languages != settings.sparse.languages:
        return "another list of BM25 languages"
    late = stored.identity.late_chunking or settings.identity.late_chunking
    same = replace(settings.identity, dimension=stored.dim) == stored.identity
    if late and (not same or settings.dim > stored.dim):
        return "late chunking with another model"
    return ""


def same_form(one: Settings, other: Settings) -> bool:
    """Return whether two generations hold the same vectors in the same form.

    Backends, canary and declared fields may differ.
    """
    return _form(one) == _form(other)


def _form(settings: Settings) -> Settings:
    origin = replace(settings.origin, canary=None, backends=())
    return replace(settings, origin=origin, fields={})


def check_cut(stored: Settings, settings: Settings, plan: MigrationPlan) -> None:
    """Raise BackendError unless the model's vectors at the new dimension are cuts of the old ones.

    `settings` hold the canary of the new dimension, which the backend has just answered.
    """
    old = stored.origin.read_canary(stored.dim)
    new = settings.origin.read_canary(settings.dim)
    if old is None or new is None:
        return
    cut = Canary(
        truncate(old.documents, settings.dim, plan.model),
        truncate(old.query, settings.dim, plan.model),
    )
    agreement = min(cut.agreement("document", new.documents), cut.agreement("query", new.query))
    if agreement < CANARY_THRESHOLD:
        raise BackendError(
            f"{plan.model.name} at {settings.dim} dimensions does not return the first numbers of "
            f"its {stored.dim} dimensions (lowest cosine {agreement:.3f}); add --embed-again to "
            "embed the texts"
        )
