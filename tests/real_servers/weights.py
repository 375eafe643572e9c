"""Weights for real servers: those of all-MiniLM-L6-v2, and others of the same shape."""

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ragctl.embedding.base import Vectors
from tests.runtime_models import minilm, need

NAME = "sentence-transformers/all-MiniLM-L6-v2"
DIM = 384


@cache
def _reference() -> object:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm()), device="cpu")


def vectors(texts: Sequence[str]) -> Vectors:
    """Return the unit vectors of sentence-transformers with the same weights."""
    found: Vectors = _reference().encode(  # type: ignore[attr-defined]
        list(texts), normalize_embeddings=True, show_progress_bar=False
    )
    return found


def cosines(texts: Sequence[str], stored: Vectors) -> Vectors:
    """Return the cosine of each stored vector to the model's own."""
    own = vectors(texts)
    found: Vectors = np.sum(own * stored, axis=1) / np.linalg.norm(stored, axis=1)
    return found


def other_weights(folder: Path) -> Path:
    """Write weights of the same shape that give other vectors, and return the folder."""
    need("safetensors")
    from safetensors.numpy import load_file, save_file

    shutil.copytree(minilm(), folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(each for each in tensors if each.endswith("word_embeddings.weight"))
    tensors[name] = np.ascontiguousarray(np.roll(tensors[name], 1000, axis=0))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
