"""Batch jobs of a run: which backend takes them, and which open jobs can be collected."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragctl.batch.connect import batch_problem, connect_batch
from ragctl.batch.job import Submission
from ragctl.batch.jobs import Jobs
from ragctl.batch.service import BatchService
from ragctl.batch.waiting import identity_digest
from ragctl.catalog import Backend, BackendConfig
from ragctl.collection.notes import BatchJobNote
from ragctl.embedding import Embedder, Patience
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.errors import BackendError, UsageError
from ragctl.hosts.usage import Usage
from ragctl.index.embedder import effective_embedding
from ragctl.index.report import Report
from ragctl.pipeline import Pipeline
from ragctl.stores.base import Collection


@dataclass(frozen=True, slots=True)
class BatchBackend:
    """The backend that takes the batch jobs of a run. `usage`: at the price of a batch."""

    label: str
    row: Backend
    usage: Usage


def batch_backend(
    pipeline: Pipeline, collection: Collection | None, embedder: Embedder
) -> BatchBackend | None:
    """Return the backend for the batch jobs of a run; None unless the pipeline asks for them.

    It is the first of the pipeline. Raises UsageError if it has no batch API.
    """
    if not pipeline.embedding.batch:
        return None
    config, row = _rows(pipeline, collection, embedder)[0]
    problem = batch_problem(row)
    if embedder.options.late_chunking:
        problem = "late chunking embeds the chunks of a document together; a batch does not"
    if problem is not None or row.batch is None:
        raise pipeline.error("embedding.batch", problem or "")
    served = row.models[embedder.model.name]
    usage = Usage(f"{config.label} (batch)", model=served.id, price=row.batch.price(served.price))
    return BatchBackend(config.label, row, usage)


def _rows(
    pipeline: Pipeline, collection: Collection | None, embedder: Embedder
) -> list[tuple[BackendConfig, Backend]]:
    """Return the backends of a run, each with its row."""
    embedding = effective_embedding(pipeline, collection)
    model = embedder.model
    configs = [
        config.with_default_name(model.backend)
        for config in embedding.backends or (BackendConfig(),)
    ]
    return [
        (config, config.resolve(pipeline.catalog, model.name, embedding.task)) for config in configs
    ]


def open_jobs(
    pipeline: Pipeline,
    collection: Collection,
    embedder: Embedder,
    batch: BatchBackend | None,
    report: Report,
    environ: Mapping[str, str],
    *,
    sources: Sequence[str],
    clock: Callable[[], float] = time.time,
) -> Jobs | None:
    """Return the collection's jobs; None if there are none and none is to be made."""
    if batch is None and not collection.notes().get("batches"):
        return None
    rows = [row for _, row in _rows(pipeline, collection, embedder)]
    embedding = pipeline.embedding
    patience = Patience() if embedding.patience is None else Patience().of(embedding.patience)

    def connect(row: Backend, usage: Usage) -> BatchService:
        return connect_batch(
            row, embedder.model, embedder.dim, embedder.options, usage, environ, patience
        )

    def reach(note: BatchJobNote) -> BatchService | None:
        # An address in the notes of a shared server may be anybody's: the key goes only to an
        # address of the pipeline or of the catalogue.
        known = pipeline.catalog.backends.get(note["backend"].partition(" at ")[0])
        for row in (*rows, *((known,) if known is not None else ())):
            if row.base_url == note["address"] and embedder.model.name in row.models:
                try:
                    return connect(row, Usage())
                except (UsageError, BackendError):
                    return None
        return None

    submission = None
    if batch is not None:
        submission = Submission(
            connect(batch.row, batch.usage),
            batch.label,
            batch.usage,
            sources,
            embedder.check_first,
        )
    return Jobs(
        collection,
        identity_digest(embedder.identity),
        collection.settings.origin.read_canary(collection.settings.dim),
        CANARY_THRESHOLD if embedding.canary is None else embedding.canary,
        reach,
        report.add_warning,
        clock,
        patience,
        submission,
    )
