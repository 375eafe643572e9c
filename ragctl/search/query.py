"""Build a store's Query from a question, and Hits from the points it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ragctl.catalog import BackendConfig, Catalog
from ragctl.collection.origin import fill_in_backends
from ragctl.collection.ownership import is_sound
from ragctl.collection.payload import SparseVector, Vector
from ragctl.embedding import Embedder, Options, connect
from ragctl.embedding.canary import CANARY_THRESHOLD
from ragctl.hosts.retry import SEARCH_PATIENCE, Patience
from ragctl.lexical.bm25 import Bm25Encoder
from ragctl.lexical.languages import BM25_NAMES
from ragctl.records import Hit, Notify, ignore
from ragctl.search.options import SearchOptions
from ragctl.stores.base import Collection, Query, Scored


def embedder_of(
    collection: Collection,
    *,
    environ: Mapping[str, str],
    backends: Sequence[BackendConfig] = (),
    catalog: Catalog | None = None,
    remote: bool = False,
    threshold: float | None = None,
    patience: Patience = SEARCH_PATIENCE,
    notify: Notify = ignore,
) -> Embedder:
    """Connect the collection's model, through `backends` or those of its origin.

    A backend's first query must agree with the collection's canary, with a cosine of at least
    `threshold`: another model may have moved to a known address. `remote`: the collection is
    on a server, where others may have written the address of the backend. `notify` gets a
    line when a backend fails for a while. Raises UsageError or BackendError if the backend
    cannot be reached with these settings.
    """
    settings = collection.settings
    origin = settings.origin
    return connect(
        settings.identity.model,
        dim=settings.dim,
        task=origin.task,
        backends=fill_in_backends(backends, origin.backends, remote=remote),
        catalog=catalog,
        environ=environ,
        # Late chunking concerns documents only; questions use the same wire.
        options=Options(late_chunking=settings.identity.late_chunking),
        canary=origin.read_canary(settings.dim),
        threshold=CANARY_THRESHOLD if threshold is None else threshold,
        patience=patience,
        notify=notify,
    )


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
