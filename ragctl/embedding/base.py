"""The values that cross the embedding services: requests, embeddings, options."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragctl.errors import BackendError
from ragctl.hosts.service import Service

Side = Literal["document", "query"]
Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts of one side, for one request.

    `stopped` ends every wait for a retry or a rate limit. `tokens`: estimated tokens of all
    texts together; 0: not counted. `together`: the texts are consecutive chunks of one
    document, each to be embedded in the context of all (late chunking). `failures`: how this
    very request has failed so far.
    """

    side: Side
    texts: tuple[str, ...]
    stopped: threading.Event
    tokens: int = 0
    together: bool = False
    failures: list[str] = field(default_factory=list, init=False, compare=False, repr=False)

    def part(self, start: int, end: int) -> "EmbeddingRequest":
        """Return a request for the texts from `start` up to `end`."""
        share = round(self.tokens * (end - start) / len(self.texts))
        return replace(self, texts=self.texts[start:end], tokens=share)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Unit vectors of shape (texts, dim), in the order of the texts, and the tokens billed.

    `length` and `norms` (lowest, highest) are those of the host's vectors, before they were
    cut and normalised here. `failed`: the positions of texts for which the host made no
    usable vector, each with the reason; their rows in `vectors` mean nothing.
    `interruptions`: how often the backend had failed when this request was sent.
    """

    vectors: Vectors
    tokens: int
    length: int = 0
    norms: tuple[float, float] = (1.0, 1.0)
    failed: Mapping[int, str] = field(default_factory=dict)
    interruptions: int = 0

    def complete(self) -> "Embeddings":
        """Return these, or raise BackendError if a text has no usable vector."""
        for reason in self.failed.values():
            raise BackendError(reason)
        return self


EmbeddingService: TypeAlias = Service[EmbeddingRequest, Embeddings]
"""A wire, or a wrapper around one. Its vectors are checked by `answers.to_unit_vectors`."""


@dataclass(frozen=True, slots=True)
class Options:
    """What applies to every backend of a run.

    `truncate`: truncate texts beyond the context length, instead of refusing them.
    `late_chunking`: embed the chunks of a window together.
    """

    truncate: bool = False
    late_chunking: bool = False


def text_problem(text: str) -> str | None:
    """Return why no backend can embed `text`, or None. It completes "the text …"."""
    if not text.strip():
        return "is empty"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode (a lone surrogate)"
    return None
