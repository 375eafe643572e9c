"""One question → hits: embed it with the query side, ask the collection, read the payloads."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from ragctl import catalog
from ragctl.embedding import Embedder, connect
from ragctl.embedding.language import BM25_NAMES
from ragctl.embedding.sparse import Sparse, SparseConfig
from ragctl.errors import UsageError
from ragctl.records import Hit
from ragctl.stores.base import Collection, Fusion, Match, Query, Scored, SparseVector, Where

Mode = Literal["hybrid", "dense", "sparse"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "sparse")

_OWN_FIELDS = {"source", "file", "page", "lang", "title", "ordinal", "text_hash", "digest"}
_NUMBER = re.compile(r"-?\d{1,18}")


def embedder_of(
    collection: Collection,
    *,
    backend: str | None,
    base_url: str | None,
    environ: Mapping[str, str],
) -> Embedder:
    """The model that made the collection, through the backend that made it or another.

    Raises UsageError or BackendError when it cannot be reached with these settings.
    """
    settings = collection.settings
    origin = cast(dict[str, Any], dict(settings.origin))
    if backend is None and base_url is None:
        base_url = origin.get("base_url")
    return connect(
        str(settings.identity["model"]),
        dim=settings.dim,
        backend=backend or origin.get("backend"),
        base_url=base_url,
        environ=environ,
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
    found = collection.query(Query(limit, dense, sparse, where, fusion_of(collection)))
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


def fusion_of(collection: Collection) -> Fusion:
    """How dense and sparse are weighed: by the model, as the catalogue has it."""
    model = str(collection.settings.identity["model"])
    known = catalog.builtin().models.get(model)
    return Fusion(dense=known.dense_weight if known else 1.0)


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
