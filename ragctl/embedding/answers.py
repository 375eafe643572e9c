"""From a host's JSON to checked unit vectors.

A wrong count, order or length, NaN, infinity or a zero vector raises a BackendError that says
what the host answered.
"""

import base64
import binascii
from collections.abc import Sequence
from types import NoneType

import numpy as np

from ragctl.catalog import Model
from ragctl.embedding.base import Embeddings, Vectors
from ragctl.embedding.faults import FaultyBackend
from ragctl.errors import BackendError
from ragctl.hosts.errors import Refused
from ragctl.hosts.responses import json_object
from ragctl.text import counted

ABSENT: dict[str, object] = {}
"""Stands for the embedding of an item that has none; null stands for a vector of NaN."""

MIN_PADDED_DIMENSIONS = 64
"""Vectors from this size on are checked for padding: an eighth of their numbers is zero.

In a shorter vector so few zeros may be chance.
"""


def from_data(body: object, texts: int, model: Model, dim: int, host: str) -> Embeddings:
    """Return the vectors in OpenAI's format: {"data": [{"index", "embedding"}], …}."""
    answer = json_object(body, host)
    items = items_in_order(answer.get("data"), texts, host)
    rows = decode_vectors([item.get("embedding", ABSENT) for item in items], host)
    return from_vectors(rows, billed_tokens(answer), model, dim, host)


def from_list(
    embeddings: object, texts: int, billed: int, model: Model, dim: int, host: str
) -> Embeddings:
    """Return the vectors in a bare list, which has the order of the texts."""
    if not isinstance(embeddings, list):
        raise BackendError(f"{host} answered no list of embeddings")
    if len(embeddings) != texts:
        raise BackendError(
            f"{host} answered {counted(len(embeddings), 'vector')} for {counted(texts, 'text')}"
        )
    return from_vectors(decode_vectors(embeddings, host), billed, model, dim, host)


def from_vectors(rows: Vectors, billed: int, model: Model, dim: int, host: str) -> Embeddings:
    """Check, cut and normalise a host's vectors of shape (texts, length).

    A vector that cannot be used fails its own text. If none can be used, Refused is raised:
    the texts or the host may be the reason.
    """
    failed = _unusable(rows, host)
    if len(failed) == len(rows) > 0:
        raise Refused(failed[0])
    if failed:
        rows = rows.copy()
        usable = next(position for position in range(len(rows)) if position not in failed)
        rows[list(failed)] = rows[usable]
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
    return Embeddings(
        vectors, billed, rows.shape[1], (float(norms.min()), float(norms.max())), failed
    )


def _unusable(rows: Vectors, host: str) -> dict[int, str]:
    """Return the positions of vectors with NaN, infinity or zeros alone, with the reasons."""
    if not rows.shape[1]:
        return {}  # the length is checked for all together
    failed = {}
    with np.errstate(invalid="ignore"):  # a signalling NaN, out of base64 of another kind
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        nonzero = np.asarray(rows.any(axis=1))
    for position in range(len(rows)):
        if not (finite[position] and nonzero[position]):
            what = "of zero length" if finite[position] else "with NaN or infinity in it"
            failed[position] = f"{host} answered a vector {what}"
    return failed


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Join the answers to consecutive parts of one request. There is at least one."""
    if len(parts) == 1:
        return parts[0]
    failed: dict[int, str] = {}
    start = 0
    for part in parts:
        failed |= {start + position: reason for position, reason in part.failed.items()}
        start += len(part.vectors)
    return Embeddings(
        np.concatenate([part.vectors for part in parts]),
        sum(part.tokens for part in parts),
        parts[0].length,
        (min(part.norms[0] for part in parts), max(part.norms[1] for part in parts)),
        failed,
        min(part.interruptions for part in parts),
    )


def items_in_order(items: object, count: int, host: str) -> list[dict[str, object]]:
    """Return the items of an answer in the order of the texts, by their `index`.

    If no item has an index, their own order is kept.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BackendError(f'{host} answered no list of embeddings under "data"')
    if len(items) != count:
        raise BackendError(
            f"{host} answered {counted(len(items), 'vector')} for {counted(count, 'text')}"
        )
    indexes = [item.get("index") for item in items]
    if all(index is None for index in indexes):
        return items
    ordered: list[dict[str, object] | None] = [None] * count
    for index, item in zip(indexes, items, strict=True):
        if type(index) is not int or not 0 <= index < count or ordered[index] is not None:
            raise FaultyBackend(
                "order",
                f"{host} answered vectors that cannot be put in order: index {index!r} among "
                f"{counted(count, 'text')} is missing, repeated or out of range",
            )
        ordered[index] = item
    return [item for item in ordered if item is not None]


def decode_vectors(embeddings: Sequence[object], host: str) -> Vectors:
    """Return embeddings as an array of shape (len(embeddings), their common length).

    An embedding is a list of numbers, or base64 of little-endian float32. Some servers
    write null for NaN, or for a whole vector of it. Values are not checked yet.
    """
    rows = [None if embedding is None else _decode(embedding, host) for embedding in embeddings]
    lengths = {len(row) for row in rows if row is not None}
    if len(lengths) > 1:
        raise BackendError(f"{host} answered vectors of different lengths: {sorted(lengths)}")
    if not lengths:
        raise Refused(f"{host} answered null instead of a vector")
    missing = np.full(lengths.pop(), np.nan, np.float32)
    return np.stack([missing if row is None else row for row in rows])


def to_unit_vectors(
    rows: Vectors, dim: int, *, native: int, cut: bool, host: str, layer_norm: bool = False
) -> Vectors:
    """Return vectors of length `dim` and norm 1, from those of a host.

    Vectors of the model's `native` length are cut here if `cut` allows it (Matryoshka): the
    host was not asked to cut them, or did not. If the model was trained with one, a
    `layer_norm` comes before the cut.
    """
    length = rows.shape[1]
    if not np.isfinite(rows).all():
        raise BackendError(f"{host} answered a vector with NaN or infinity in it")
    wide = rows.astype(np.float64)
    if length != dim:
        if not (cut and length == native and dim < native):
            raise FaultyBackend(
                "dimension",
                f"{host} answered vectors of {counted(length, 'dimension')}, not {dim}",
            )
        if layer_norm:
            # It ignores scale, so the host may have normalised the vector before.
            deviation = wide.std(axis=1, keepdims=True)
            centred = wide - wide.mean(axis=1, keepdims=True)
            wide = centred / np.where(deviation > 0, deviation, 1)
        wide = wide[:, :dim]
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise BackendError(f"{host} answered a vector of zero length")
    return np.ascontiguousarray(wide / norms, dtype=np.float32)


def billed_tokens(body: dict[str, object]) -> int:
    """Return the tokens that an answer says were billed; 0 if it does not say."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return 0
    for name in ("total_tokens", "prompt_tokens"):
        value = usage.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _check_padding(rows: Vectors, host: str) -> None:
    """Raise BackendError if the last eighth of a vector is zero: it is a shorter one, padded.

    Some hosts pad silently when they are asked for a larger dimension. A trained model does
    not produce so many zeros in a row.
    """
    length = rows.shape[1]
    if length < MIN_PADDED_DIMENSIONS:
        return
    ends = rows[:, -(length // 8) :]
    if (rows.any(axis=1) & ~ends.any(axis=1)).any():
        raise FaultyBackend(
            "padding",
            f"{host} answered a vector padded with zeros to {counted(length, 'dimension')}: the "
            "model has fewer",
        )


def _decode(embedding: object, host: str) -> Vectors:
    """Return one embedding as an array."""
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise BackendError(f"{host} answered base64 that is not a float32 vector") from error
    if not isinstance(embedding, list):
        raise BackendError(f"{host} answered an item without an embedding")
    if not {*map(type, embedding)} <= {float, int, NoneType}:
        raise BackendError(f"{host} answered a vector that holds something other than numbers")
    with np.errstate(over="ignore"):  # beyond float32 it is infinity, which is refused later
        try:
            return np.array(embedding, dtype=np.float64).astype(np.float32)
        except OverflowError:  # an integer beyond float64
            raise BackendError(f"{host} answered a number that is too large") from None
