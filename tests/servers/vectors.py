"""Vectors for tests: they depend on text, side, model and size, and searching with them works.

Texts that share words are near. Beside its words (block W) a document's vector
has noise of its own in block D, a query's in block Q, with four times the
weight. A document and a query so meet in their words alone, while two vectors
of the same side are ranked by noise: a query sent as a document finds the
wrong thing. Any other task puts the words elsewhere altogether.
"""

import hashlib
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_WORDS = re.compile(r"[㐀-鿿぀-ヿ]|[^\W㐀-鿿぀-ヿ]+")
_NOISE = 8  # dimensions of blocks D and Q, at the front: a cut vector keeps them
_WEIGHT = 2.0


def vector(
    text: str,
    side: str | None,
    model: str,
    native: int,
    dim: int | None = None,
    context: str = "",
) -> Vector:
    """Return a unit vector of `dim` dimensions: a prefix of the native one, renormalised.

    `context`: the text that it is embedded in (late chunking); the noise depends on it.
    `side` is "document", "query", None for a model without sides, or any other
    task, whose vectors fit neither.
    """
    whole = np.zeros(native)
    words = _WORDS.findall(text.casefold())
    space = model if side in ("document", "query", None) else f"{model} {side}"
    for word in words or [text]:
        whole[2 * _NOISE :] += _gaussian(f"{space}|{word}", native - 2 * _NOISE)
    whole /= np.linalg.norm(whole)
    if side in ("document", "query"):
        noise = _gaussian(f"{side}|{context}{text}", _NOISE)
        start = 0 if side == "document" else _NOISE
        whole[start : start + _NOISE] = _WEIGHT * noise / np.linalg.norm(noise)
    cut: Vector = whole[: dim or native]
    return cut / np.linalg.norm(cut)


def tokens(text: str) -> int:
    """Return how many tokens a test server takes a text for: its words and CJK characters."""
    return len(_WORDS.findall(text)) + 2


def first(text: str, limit: int) -> str:
    """Return the beginning of a text that `tokens` takes for `limit` at most."""
    words = list(_WORDS.finditer(text))
    return text if len(words) + 2 <= limit else text[: words[limit - 3].end()]


@lru_cache(maxsize=2048)
def _gaussian(seed: str, size: int) -> Vector:
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).standard_normal(size)
