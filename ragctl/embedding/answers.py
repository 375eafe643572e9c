"""What came back from a host, checked before anything else sees it.

A wrong count, order, length, a NaN or a vector of no length raises BackendError
that says what came back and from whom.
"""

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from ragctl.catalog import Model
from ragctl.embedding.base import Embeddings, Vectors
from ragctl.errors import BackendError
from ragctl.hosts.responses import json_object

_SHORTEST = 64  # dimensions from which padding is looked for: an eighth of them is no chance


def from_data(body: object, texts: int, model: Model, dim: int, host: str) -> Embeddings:
    """Return the Answer in an object of OpenAI's shape: {"data": [{"index", "embedding"}], …}."""
    found = json_object(body, host)
    items = items_in_order(found.get("data"), texts, host)
    rows = decode_vectors([item.get("embedding") for item in items], host)
    return from_vectors(rows, tokens(found), model, dim, host)


def from_list(
    embeddings: object, texts: int, billed: int, model: Model, dim: int, host: str
) -> Embeddings:
    """Return the Answer in a bare list of vectors, which come in the order of the texts."""
    if not isinstance(embeddings, list):
        raise BackendError(f"{host} answered no list of embeddings")
    if len(embeddings) != texts:
        raise BackendError(f"{host} answered {len(embeddings)} vectors for {texts} texts")
    return from_vectors(decode_vectors(embeddings, host), billed, model, dim, host)


def from_vectors(rows: Vectors, billed: int, model: Model, dim: int, host: str) -> Embeddings:
    """Return the Answer made of vectors as a host gave them, checked, cut and normalised."""
    vectors = to_unit_vectors(
        rows,
        dim,
        native=model.dim,
        cut=model.matryoshka,
        layer_norm=model.layer_norm,
        host=host,
    )
    _check_padding(rows, host)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    return Embeddings(vectors, billed, rows.shape[1], (float(norms.min()), float(norms.max())))


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Return the answers to consecutive parts of one request (one or more) as its answer."""
    if len(parts) == 1:
        return parts[0]
    return Embeddings(
        np.concatenate([part.vectors for part in parts]),
        sum(part.tokens for part in parts),
        parts[0].length,
        (min(part.norms[0] for part in parts), max(part.norms[1] for part in parts)),
    )


def items_in_order(items: object, count: int, host: str) -> list[dict[str, object]]:
    """Return the items of an answer in the order of the texts, by their `index`.

    An answer in which no item has an index is taken as it is ordered.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BackendError(f'{host} answered no list of embeddings under "data"')
    if len(items) != count:
        raise BackendError(f"{host} answered {len(items)} vectors for {count} texts")
    indexes = [item.get("index") for item in items]
    if all(index is None for index in indexes):
        return items
    ordered: list[dict[str, object] | None] = [None] * count
    for index, item in zip(indexes, items, strict=True):
        if type(index) is not int or not 0 <= index < count or ordered[index] is not None:
            raise BackendError(
                f"{host} answered vectors that cannot be put in order: index {index!r} among "
                f"{count} texts is missing, repeated or out of range"
            )
        ordered[index] = item
    return [item for item in ordered if item is not None]


def decode_vectors(embeddings: Sequence[object], host: str) -> Vectors:
    """Return embeddings (lists of numbers, or base64 of little-endian float32) as one array.

    Shape (len(embeddings), their common length); nothing else is checked yet.
    """
    rows = [_row(embedding, host) for embedding in embeddings]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise BackendError(f"{host} answered vectors of different lengths: {sorted(lengths)}")
    return np.stack(rows)


def to_unit_vectors(
    rows: Vectors, dim: int, *, native: int, cut: bool, host: str, layer_norm: bool = False
) -> Vectors:
    """Return vectors of length `dim` and norm 1, from those that a host answered.

    A host that answers the model's `native` length, whether it was not asked for
    less or ignored it, has its vectors cut here where `cut` allows (Matryoshka),
    through a layer norm first where the model was trained with one.
    """
    length = rows.shape[1]
    if not np.isfinite(rows).all():
        raise BackendError(f"{host} answered a vector with NaN or infinity in it")
    wide = rows.astype(np.float64)
    if length != dim:
        if not (cut and length == native and dim < native):
            raise BackendError(f"{host} answered vectors of {length} dimensions, not {dim}")
        if layer_norm:
            # Scale does not matter to it, so a vector that was normalised already is as good.
            spread = wide.std(axis=1, keepdims=True)
            wide = (wide - wide.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
        wide = wide[:, :dim]
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise BackendError(f"{host} answered a vector of zero length")
    return np.ascontiguousarray(wide / norms, dtype=np.float32)


def tokens(body: dict[str, object]) -> int:
    """Return the tokens that an answer says it billed; 0 if it does not say."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return 0
    for name in ("total_tokens", "prompt_tokens"):
        value = usage.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _check_padding(rows: Vectors, host: str) -> None:
    """Refuse vectors that end in zeros: a shorter one, filled up to the length that was asked.

    Some hosts do so without a word. Numbers of a trained model are zero by chance,
    and not so many in a row.
    """
    length = rows.shape[1]
    if length < _SHORTEST:
        return
    ends = rows[:, -(length // 8) :]
    if (rows.any(axis=1) & ~ends.any(axis=1)).any():
        raise BackendError(
            f"{host} answered a vector padded with zeros to {length} dimensions, not of them"
        )


def _row(embedding: object, host: str) -> Vectors:
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise BackendError(f"{host} answered base64 that is no float32 vector") from error
    if not isinstance(embedding, list):
        raise BackendError(f"{host} answered an item without an embedding")
    if not {*map(type, embedding)} <= {float, int}:
        raise BackendError(f"{host} answered a vector that holds something else than numbers")
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which to_unit_vectors() refuses
        return np.array(embedding, dtype=np.float64).astype(np.float32)
