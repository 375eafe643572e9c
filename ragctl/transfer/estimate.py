"""What a migration would send, cost and take on disk."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from ragctl.collection.payload import PayloadKey
from ragctl.collection.state import read_state
from ragctl.collection.text import context_of
from ragctl.embedding.embedder import Embedder
from ragctl.index.embedder import connect_for
from ragctl.index.estimate import estimate_backends
from ragctl.index.report import Report
from ragctl.stores import is_server
from ragctl.stores.base import Collection, Store
from ragctl.stores.size import estimate_size
from ragctl.transfer.migration_plan import MigrationPlan

_FIELDS: tuple[PayloadKey, ...] = ("text_hash", "text", "heading", "tokens", "chunks")


def estimate_migration(
    report: Report,
    current: Collection,
    plan: MigrationPlan,
    store: Store,
    environ: Mapping[str, str],
    embedded: AbstractSet[str],
) -> None:
    """Fill the report: documents, tokens, cost, time and size. Reads the stored texts.

    `embedded`: text hashes of the generation that the migration would go on with. For chunks that
    are to be made anew the stored ones are counted, so tokens are an estimate.
    """
    from ragctl import chunking

    report.documents.added = len(read_state(current).documents)
    seen = set(embedded)
    points = size = tokens = 0
    embeds = plan.how in ("embed", "sources")
    for point in current.scroll(fields=_FIELDS):
        row = point.payload
        points += 1
        if not row.get("chunks"):
            continue
        size += len(row["text"].encode())
        if row["text_hash"] in seen:
            report.chunks.reused += 1
            continue
        seen.add(row["text_hash"])
        if embeds:
            report.chunks.embedded += 1
            tokens += row["tokens"] + chunking.count(context_of(row["text"], row["heading"]))
        else:
            report.chunks.reused += 1
    report.tokens = tokens
    report.size = estimate_size(
        points,
        plan.settings.dim,
        text_bytes=size / points if points else 0.0,
        quantization=plan.settings.quantization,
        server=plan.settings.server if is_server(store.location) else None,
    )
    with connect_for(plan.pipeline, None, environ, dry=True) as embedder:
        _add_cost(report, plan, embedder)


def _add_cost(report: Report, plan: MigrationPlan, embedder: Embedder) -> None:
    usages = embedder.usage.usages
    rows = [
        config.resolve(plan.pipeline.catalog, embedder.model.name)
        for config in plan.pipeline.embedding.backends or plan.settings.origin.backends
    ]
    report.backends = list(estimate_backends(rows, usages, report.chunks.embedded, report.tokens))
    if usages[0].price is not None:
        report.cost = report.tokens * usages[0].price / 1e6
