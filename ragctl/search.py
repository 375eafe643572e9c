"""One question → hits: embed it with the query side, ask the collection, read the payloads."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from ragctl.catalog import Catalog, Choice
from ragctl.embedding import Embedder, Options, connect
from ragctl.embedding.canary import THRESHOLD
from ragctl.embedding.language import BM25_NAMES
from ragctl.embedding.sparse import Sparse, SparseConfig
from ragctl.errors import UsageError
from ragctl.index import origin
from ragctl.records import Hit
from ragctl.stores.base import Collection, Fusion, Match, Query, Scored, SparseVector, Where

Mode = Literal["hybrid", "dense", "sparse"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "sparse")

_OWN_FIELDS = {"source", "file", "page", "lang", "title", "ordinal", "text_hash", "digest"}
_NUMBER = re.compile(r"-?\d{1,18}")


def embedder_of(
    collection: Collection,
    *,
    environ: Mapping[str, str],
    choices: Sequence[Choice] = (),
    catalog: Catalog | None = None,
    remote: bool = False,
    threshold: float | None = None,
) -> Embedder:
    """The model that made the collection, through the providers that made it or others.

    Another provider's first query must agree with the collection's canary.
    `remote`: the collection is on a server, where others may have written the
    provider's address. Raises UsageError or BackendError when it cannot be
    reached with these settings.
    """
    settings = collection.settings
    made = origin.providers(collection)
    return connect(
        str(settings.identity["model"]),
        dim=settings.dim,
        task=cast(str | None, settings.origin.get("task")),
        choices=origin.merged(choices, made, remote),
        catalog=catalog,
        environ=environ,
        # Chunks of documents are embedded together, a question never is; its wire is the same.
        options=Options(late_chunking=bool(settings.identity["late_chunking"])),
        canary=origin.canary(collection),
        threshold=THRESHOLD if threshold is None else threshold,
        trusted=origin.trusted(made),
    )


def search(
    collection: Collection,
    text: str,
    *,
    embedder: Embedder | None,
    limit: int = 10,
    mode: Mode = "hybrid",
    where: Where = (),
) -> list[Hit]:
    """Hits for a question, best first. `embedder` may be None in sparse mode.

    Raises UsageError for a question without a single letter or digit, or a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"limit {limit}: ask for at least 1 hit")
    if not any(character.isalnum() for character in text):
        raise UsageError("the question has no letters or digits; ask with words")
    if mode != "sparse" and embedder is None:
        raise AssertionError("dense search needs an embedder")
    dense = embedder.query(text) if embedder is not None and mode != "sparse" else None
    sparse = _sparse_query(collection, text) if mode != "dense" else None
    if dense is None and sparse is None:
        return []
    found = collection.query(Query(limit, dense, sparse, where, fusion_of(embedder)))
    return [_hit(point) for point in found]


def _sparse_query(collection: Collection, text: str) -> SparseVector | None:
    """The question's terms under the languages that the collection's documents have.

    None where it has no terms, such as a question of stop words alone.
    """
    config = SparseConfig.from_json(collection.settings.sparse)
    if not config.languages:
        present = sorted(BM25_NAMES.keys() & collection.facet("mark"))
        config = replace(config, languages=tuple(present))
    indices, values = Sparse(config).query(text)
    return SparseVector(indices, values) if indices else None


def fusion_of(embedder: Embedder | None) -> Fusion:
    """How dense and sparse are weighed: by the model, as the catalogue has it."""
    return Fusion(dense=embedder.model.dense_weight if embedder is not None else 1.0)


def _hit(point: Scored) -> Hit:
    payload = cast(dict[str, Any], point.payload)
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
    )


def parse_where(conditions: Sequence[str]) -> Where:
    """`key=value` conditions: a user's field (under `meta`), or one of ragctl's own.

    A value that reads as a number or as true/false also matches that, since
    fields from JSONL and front matter keep their types. Several conditions on
    one key are alternatives; different keys must all hold.
    """
    wanted: dict[str, list[str | int | bool]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--where {condition!r}: write key=value")
        if not re.fullmatch(r"[\w.-]+", key):
            raise UsageError(f"--where {condition!r}: a key has letters, digits, '.', '_', '-'")
        name = key if key in _OWN_FIELDS or key.startswith("meta.") else f"meta.{key}"
        values: list[str | int | bool] = [value]
        if _NUMBER.fullmatch(value):
            values.append(int(value))
        if value in ("true", "false"):
            values.append(value == "true")
        wanted.setdefault(name, []).extend(values)
    return tuple(Match(key, tuple(values)) for key, values in wanted.items())
