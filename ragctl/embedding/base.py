"""Embedding, from the caller's side: texts in, checked unit vectors out.

    Embedder ── stream() ──► DocumentStream    batches, concurrency, back-pressure
        │                        │
        └──────── query() ───────┴──► Retrying(wire)    stacked in connect()

A wire answers one request. The base owns everything around it: what may be
sent, batching, and finding the one text for which a whole batch was refused.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragctl.catalog import Limits, Model
from ragctl.errors import BackendError, DocumentError, UsageError
from ragctl.records import Json

if TYPE_CHECKING:
    from ragctl.embedding.stream import DocumentStream

Side = Literal["document", "query"]
Vectors: TypeAlias = NDArray[np.float32]


class Transient(BackendError):
    """A failure that may pass: worth another try. `retry_after` is in seconds, if the host said."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(BackendError):
    """The host took the request and refused what it held (400, 413, 422).

    `certain` is true when the host named the input as the reason. Else it may
    as well be a parameter that it does not like.
    """

    def __init__(self, message: str, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


@dataclass(frozen=True, slots=True)
class Request:
    """Texts of one side, to be answered at once. `stopped` ends waits between tries."""

    side: Side
    texts: tuple[str, ...]
    stopped: threading.Event


@dataclass(frozen=True, slots=True)
class Answer:
    """Unit vectors of shape (texts, dim) in the order of the texts, and the tokens billed."""

    vectors: Vectors
    tokens: int


class Wire(Protocol):
    """One protocol to one host, or a wrapper over another Wire.

    Obligations: `embed` may be called from several threads at once. It answers
    all texts or raises: Transient, Refused, or another BackendError, which
    ends the run. Vectors have passed every check of `answers.unit`.
    """

    def embed(self, request: Request) -> Answer: ...

    def close(self) -> None: ...


class Usage:
    """What was sent and billed so far. Safe to read and add to from any thread.

    `requests` counts what was sent, tries that failed too; `texts` and
    `tokens` what came back. A host that does not say its tokens adds none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.texts = 0
        self.tokens = 0

    def sent(self) -> None:
        with self._lock:
            self.requests += 1

    def answered(self, texts: int, tokens: int) -> None:
        with self._lock:
            self.texts += texts
            self.tokens += tokens

    def __repr__(self) -> str:
        return f"Usage(requests={self.requests}, texts={self.texts}, tokens={self.tokens})"


class Embedder:
    """Embeds the documents and the queries of one model at one dimension.

    `identity` decides whether two vectors may be compared; the provider is no
    part of it. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        wire: Wire,
        model: Model,
        *,
        dim: int,
        usage: Usage,
        limits: Limits,
        concurrency: int,
        revision: str | None = None,
    ) -> None:
        self.model = model
        self.dim = dim
        self.usage = usage
        self.limits = limits
        self.concurrency = concurrency
        self.identity: dict[str, Json] = {
            "model": model.name,
            "revision": revision or model.revision,
            "dimension": dim,
            "document": model.document.label,
            "query": model.query.label,
            "normalized": model.normalized,
            "distance": model.distance,
            "late_chunking": False,
            "element": "float32",
        }
        self._wire = wire
        self._proved: set[Side] = set()

    def query(self, text: str) -> Vectors:
        """Return the vector of a question, shape (dim,).

        Raises UsageError when the text cannot be embedded, BackendError when
        the backend fails.
        """
        problem = unsendable(text)
        if problem:
            raise UsageError(f"the query {problem}")
        for _, outcome in self.embed("query", (text,), threading.Event()):
            if isinstance(outcome, DocumentError):
                raise UsageError(f"the query: {outcome}")
            vector: Vectors = outcome[0]
            return vector
        raise AssertionError("embed() answers every text")

    def documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of document texts, shape (len(texts), dim), in their order.

        Raises DocumentError for the first text that cannot be embedded,
        BackendError when the backend fails. For many texts use stream().
        """
        vectors: Vectors = np.empty((len(texts), self.dim), np.float32)

        def collect(block: bool) -> None:
            for position, outcome in stream.completed(block):
                if isinstance(outcome, DocumentError):
                    raise outcome
                vectors[position] = outcome

        with self.stream() as stream:
            for position, text in enumerate(texts):
                stream.add(position, text)
                collect(block=False)
            while stream.pending:
                collect(block=True)
        return vectors

    def stream(self) -> "DocumentStream[Any]":
        """Return a stream that embeds documents while more are being added."""
        from ragctl.embedding.stream import DocumentStream

        return DocumentStream(self)

    def embed(
        self, side: Side, texts: tuple[str, ...], stopped: threading.Event
    ) -> Iterator[tuple[int, Vectors | DocumentError]]:
        """Yield (position of the first text, vectors of texts from there on) until all are done.

        One batch is one yield. A batch refused for its content is halved until
        the bad texts stand alone; each of them yields a DocumentError. What
        was paid for is yielded before an error ends it.
        """
        parts = [(0, len(texts))]
        while parts:
            start, end = parts.pop()
            try:
                answer = self._wire.embed(Request(side, texts[start:end], stopped))
            except Refused as refusal:
                if not refusal.certain:
                    self._prove(side, refusal, stopped)
                if end - start == 1:
                    yield start, DocumentError(str(refusal))
                else:
                    middle = (start + end) // 2
                    parts += [(middle, end), (start, middle)]
                continue
            self._proved.add(side)
            self.usage.answered(end - start, answer.tokens)
            assert answer.vectors.shape == (end - start, self.dim)
            yield start, answer.vectors

    def _prove(self, side: Side, refusal: Refused, stopped: threading.Event) -> None:
        """Raise BackendError if not even a harmless text passes: then it is not the texts.

        Without it a wrong parameter would be reported as every document's own fault.
        """
        if side in self._proved:
            return
        try:
            answer = self._wire.embed(Request(side, ("text",), stopped))
        except Refused:
            raise BackendError(f"{refusal} (a plain one-word text is refused too)") from refusal
        self.usage.answered(1, answer.tokens)
        self._proved.add(side)

    def close(self) -> None:
        """Close the connections. Streams must have ended."""
        self._wire.close()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unsendable(text: str) -> str | None:
    """Return why no backend can embed this text, None if one may."""
    if not text.strip():
        return "is empty"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode (a lone surrogate)"
    return None
