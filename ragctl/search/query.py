"""Build a store's Query from a question, and Hits from the points it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ragctl.catalog import BackendConfig, Catalog
from ragctl.collection.family import check_member, member_backends
from ragctl.collection.origin import fill_in_backends
from ragctl.collection.ownership import is_sound
from ragctl.collection.payload import SparseVector, Vector
from ragctl.embedding import Embedder, Options, connect
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.embedding.catalogs import package_catalog
from ragctl.hosts.retry import SEARCH_PATIENCE, Patience
from ragctl.lexical.bm25 import Bm25Encoder
from ragctl.lexical.languages import BM25_NAMES
from ragctl.pipeline import Embedding
from ragctl.records import Hit, Notify, ignore
from ragctl.search.options import SearchOptions
from ragctl.stores.base import Collection, Query, Scored


def embedder_of(
    collection: Collection,
    *,
    environ: Mapping[str, str],
    backends: Sequence[BackendConfig] = (),
    catalog: Catalog | None = None,
    query_model: str | None = None,
    remote: bool = False,
    threshold: float | None = None,
    patience: Patience = SEARCH_PATIENCE,
    notify: Notify = ignore,
) -> Embedder:
    """Connect the collection's model, through `backends` or those of its origin.

    `query_model`: another model of its family, for the questions.
    A backend's first query must agree with the collection's canary, with a cosine of at least
    `threshold`: another model may have moved to a known address. `remote`: the collection is
    on a server, where others may have written the address of the backend. `notify` gets a
    line when a backend fails for a while. Raises UsageError or BackendError if the backend
    cannot be reached with these settings, IdentityMismatch for a model outside the family.
    """
    settings = collection.settings
    origin, identity = settings.origin, settings.identity
    model, made = identity.model, origin.backends
    if query_model is not None:
        catalog = catalog or package_catalog()
        row = catalog.model(query_model)
        check_member(collection.name, identity, row, catalog)
        if row.name != model:
            model, made = row.name, member_backends(made, catalog, row)
    return connect(
        model,
        dim=settings.dim,
        task=origin.task,
        backends=fill_in_backends(backends, made, remote=remote),
        catalog=catalog,
        environ=environ,
        # Late chunking concerns documents only; questions use the same wire.
        options=Options(late_chunking=settings.identity.late_chunking),
        canary=origin.read_canary(settings.dim),
        reference=identity.model,
        threshold=CANARY_THRESHOLD if threshold is None else threshold,
        patience=patience,
        notify=notify,
    )


def query_backends(
    embedding: Embedding, catalog: Catalog, query_model: str | None
) -> tuple[BackendConfig, ...]:
    """Return the backends of a pipeline for questions: those that serve the model of these."""
    if query_model is None:
        return tuple(embedding.backends)
    queries = catalog.model(query_model)
    documents = queries if embedding.model is None else catalog.model(embedding.model)
    if documents.name == queries.name:
        return tuple(embedding.backends)
    configs = (config.with_default_name(documents.backend) for config in embedding.backends)
    return member_backends(configs, catalog, queries)


def bm25_encoder(collection: Collection) -> Bm25Encoder:
    """Return the BM25 encoder of questions, for the languages now in the collection."""
    config = collection.settings.sparse
    if not config.languages:
        present = sorted(BM25_NAMES.keys() & collection.facet("mark"))
        config = replace(config, languages=tuple(present))
    return Bm25Encoder(config)


def sparse_vector(encoder: Bm25Encoder, question: str) -> SparseVector | None:
    """Return the BM25 terms of a question; None if it has only stop words."""
    indices, values = encoder.query(question)
    return SparseVector(indices, values) if indices else None


def build_query(
    options: SearchOptions,
    dense: Vector | None,
    sparse: SparseVector | None,
    *,
    dense_weight: float,
    limit: int,
    offset: int = 0,
) -> Query:
    """Return the store's query for a question, with one or both of its vectors.

    `dense_weight`: the model's own RRF weight. `limit`, `offset`: how many points to return and
    to skip; they differ from the options if hits are reranked or grouped.
    """
    return Query(
        limit,
        dense,
        sparse,
        options.conditions,
        options.fusion_for(dense_weight),
        offset=offset,
        exact=options.exact,
        ef=options.ef,
        diversity=options.diversity,
        min_score=options.min_score,
        rescore=options.rescoring,
        accept=is_sound,
    )


def hit_from_point(point: Scored) -> Hit:
    """Return a Hit from a point that a query returned."""
    payload = point.payload
    return Hit(
        source=payload["source"],
        score=point.score,
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        page=payload.get("page"),
        heading=tuple(payload.get("heading") or ()),
        ordinal=payload["ordinal"],
        meta=payload.get("meta") or {},
        line=payload.get("line"),
        title=payload.get("title"),
        spans=((payload["start"], payload["end"]),),
        ordinals=(payload["ordinal"],),
        chunks=payload["chunks"],
        version=payload["version"],
        id=point.id,
        lang=payload.get("lang"),
    )
