"""Cut stored vectors to a smaller dimension, without embedding again."""

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


def check_dimension(model: Model, stored: int, dim: int) -> None:
    """Raise UsageError for a dimension that cannot be cut from the stored dimension.

    Warn of a dimension that the model was not trained at.
    """
    model.size(dim)
    if dim > stored and model.name != BUILTIN:
        raise UsageError(
            f"dim={dim}: the collection has vectors of {stored} dimensions, which cannot be "
            f"extended; ingest another collection at dimension {dim}"
        )
    if model.trained and dim not in model.trained:
        trained = ", ".join(map(str, sorted(model.trained)))
        warnings.warn(
            f"{model.name} was trained at {trained} dimensions, not at {dim}", stacklevel=2
        )


def truncate(vectors: Vectors, dim: int, model: Model) -> Vectors:
    """Cut unit vectors as stored, of shape (n, stored dimension), to unit vectors (n, dim).

    Keeps the first numbers of each and normalises them. If the model has a layer norm, it is
    applied first, unless the stored vectors are already cut: those went through it.
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
    """Return question vectors at a dimension, as `documents_at` does for documents."""
    if model.name == BUILTIN and dim != vectors.shape[1]:
        return _builtin(texts, dim)
    return truncate(vectors, dim, model)


def documents_at(vectors: Vectors, payloads: Sequence[Payload], dim: int, model: Model) -> Vectors:
    """Return stored document vectors at a dimension.

    The built-in model hashes words into its dimensions, so its vectors cannot be cut: the texts
    in `payloads` are embedded again, in this process and at no cost.
    """
    if model.name == BUILTIN and dim != vectors.shape[1]:
        return _builtin([_embedded_text(payload) for payload in payloads], dim)
    return truncate(vectors, dim, model)


def _builtin(texts: Sequence[str], dim: int) -> Vectors:
    from ragctl.lexical.builtin import embed

    return embed(texts, dim) if texts else np.empty((0, dim), np.float32)


def _embedded_text(payload: Payload) -> str:
    return embedded_text(payload["text"], payload.get("heading") or ())
