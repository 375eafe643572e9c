"""Vectors for tests: they depend on text, side, model and dimension, and search works.

Texts that share words are close. Besides its words (block W), a document's vector has noise
in block D and a query's has noise in block Q, with four times the weight. So a document and
a query are compared by their words only, while two vectors of the same side are ranked by
noise: a query embedded as a document finds the wrong result. Any other task uses different
vectors for the words. A model of a family has the space of another one, not exactly.
"""

import hashlib
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.servers.families import FAMILIES

Vector = NDArray[np.float64]

_WORDS = re.compile(r"[㐀-鿿぀-ヿ]|[^\W㐀-鿿぀-ヿ]+")
_NOISE = 8  # dimensions of blocks D and Q, at the front, so that a truncated vector keeps them
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

    `context`: in late chunking, the text that it is embedded in; the noise depends on it.
    `side`: "document", "query", None for a model without sides, or any other task, whose
    vectors match neither side.
    """
    own, (model, distance) = model, FAMILIES.get(model, (model, 0.0))
    whole = np.zeros(native)
    words = _WORDS.findall(text.casefold())
    space = model if side in ("document", "query", None) else f"{model} {side}"
    for word in words or [text]:
        whole[2 * _NOISE :] += _gaussian(f"{space}|{word}", native - 2 * _NOISE)
    whole /= np.linalg.norm(whole)
    if side in ("document", "query"):
        noise = _gaussian(f"{model}|{side}|{context}{text}", _NOISE)
        start = 0 if side == "document" else _NOISE
        whole[start : start + _NOISE] = _WEIGHT * noise / np.linalg.norm(noise)
    if distance:
        difference = _gaussian(f"{own}|{side}|{text}", native)
        whole /= np.linalg.norm(whole)
        whole += distance * difference / np.linalg.norm(difference)
    prefix: Vector = whole[: dim or native]
    return prefix / np.linalg.norm(prefix)


def tokens(text: str) -> int:
    """Return a text's number of tokens on a test server: words and CJK characters, plus two."""
    return len(_WORDS.findall(text)) + 2


def first(text: str, limit: int) -> str:
    """Return the longest beginning of a text with at most `limit` tokens, as `tokens` counts."""
    words = list(_WORDS.finditer(text))
    return text if len(words) + 2 <= limit else text[: words[limit - 3].end()]


@lru_cache(maxsize=2048)
def _gaussian(seed: str, size: int) -> Vector:
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).standard_normal(size)
