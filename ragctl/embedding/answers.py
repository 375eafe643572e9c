"""What came back from a host, checked before anything else sees it.

A wrong count, order, length, a NaN or a vector of no length raises BackendError
that says what came back and from whom.
"""

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from ragctl.catalog import Model
from ragctl.embedding.base import Answer, Vectors
from ragctl.errors import BackendError


def from_data(body: dict[str, object], texts: int, model: Model, dim: int, host: str) -> Answer:
    """Return the Answer in an object of OpenAI's shape: {"data": [{"index", "embedding"}], …}."""
    items = in_order(body.get("data"), texts, host)
    rows = vectors([item.get("embedding") for item in items], host)
    return Answer(unit(rows, dim, native=model.dim, cut=model.matryoshka, host=host), tokens(body))


def in_order(items: object, count: int, host: str) -> list[dict[str, object]]:
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


def vectors(embeddings: Sequence[object], host: str) -> Vectors:
    """Return embeddings (lists of numbers, or base64 of little-endian float32) as one array.

    Shape (len(embeddings), their common length); nothing else is checked yet.
    """
    rows = [_row(embedding, host) for embedding in embeddings]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise BackendError(f"{host} answered vectors of different lengths: {sorted(lengths)}")
    return np.stack(rows)


def unit(rows: Vectors, dim: int, *, native: int, cut: bool, host: str) -> Vectors:
    """Return vectors of length `dim` and norm 1, from those that a host answered.

    A host that answers the model's `native` length, whether it was not asked for
    less or ignored it, has its vectors cut here where `cut` allows (Matryoshka).
    """
    length = rows.shape[1]
    if length != dim:
        if not (cut and length == native and dim < native):
            raise BackendError(f"{host} answered vectors of {length} dimensions, not {dim}")
        rows = rows[:, :dim]
    if not np.isfinite(rows).all():
        raise BackendError(f"{host} answered a vector with NaN or infinity in it")
    wide = rows.astype(np.float64)
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


def _row(embedding: object, host: str) -> Vectors:
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise BackendError(f"{host} answered base64 that is no float32 vector") from error
    if not isinstance(embedding, list):
        raise BackendError(f"{host} answered an item without an embedding")
    if not all(type(number) in (float, int) for number in embedding):
        raise BackendError(f"{host} answered a vector that holds something else than numbers")
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which unit() refuses
        return np.array(embedding, dtype=np.float64).astype(np.float32)
