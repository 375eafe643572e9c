"""Stored vectors at another dimension, without embedding again."""

import warnings
from collections.abc import Sequence

import numpy as np

from ragctl.catalog import Model
from ragctl.collection.payload import Payload
from ragctl.collection.text import embedded_text
from ragctl.embedding import answers
from ragctl.embedding.base import Vectors
from ragctl.errors import UsageError

BUILTIN = "builtin"


def check_size(model: Model, stored: int, dim: int) -> None:
    """Raise UsageError for a dimension that cannot be had from what is stored.

    Warns of one that the model was not trained at.
    """
    model.size(dim)
    if dim > stored and model.name != BUILTIN:
        raise UsageError(
            f"dim={dim}: the collection has vectors of {stored} dimensions, and more cannot be "
            f"made of fewer; ingest with --dim {dim} into another collection"
        )
    if model.trained and dim not in model.trained:
        trained = ", ".join(map(str, sorted(model.trained)))
        warnings.warn(
            f"{model.name} was trained at {trained} dimensions, not at {dim}", stacklevel=2
        )


def cut(vectors: Vectors, dim: int, model: Model) -> Vectors:
    """Unit vectors of shape (n, dim) from unit vectors of the model as they are stored (n, more).

    The first numbers of each, normalised again; through a layer norm first where the
    model has one and the vectors are whole (stored shorter they have passed it).
    """
    stored = vectors.shape[1]
    if dim == stored:
        return vectors
    return answers.to_unit_vectors(
        vectors,
        dim,
        native=stored,
        cut=True,
        layer_norm=model.layer_norm and stored == model.dim,
        host="the collection",
    )


def questions_at(vectors: Vectors, texts: Sequence[str], dim: int, model: Model) -> Vectors:
    """Question vectors at a dimension, made as `documents_at` makes the documents'."""
    if model.name == BUILTIN and dim != vectors.shape[1]:
        return _builtin(texts, dim)
    return cut(vectors, dim, model)


def documents_at(vectors: Vectors, payloads: Sequence[Payload], dim: int, model: Model) -> Vectors:
    """Stored document vectors, with their payloads, at a dimension.

    The built-in model hashes words into its dimensions, so that a part of a vector is
    not a shorter vector: its texts are embedded anew, here and at no cost.
    """
    if model.name == BUILTIN and dim != vectors.shape[1]:
        return _builtin([_sent(payload) for payload in payloads], dim)
    return cut(vectors, dim, model)


def _builtin(texts: Sequence[str], dim: int) -> Vectors:
    from ragctl.lexical.builtin import embed

    return embed(texts, dim) if texts else np.empty((0, dim), np.float32)


def _sent(payload: Payload) -> str:
    return embedded_text(payload["text"], payload.get("heading") or ())
