"""Embedding, from the caller's side: texts in, checked unit vectors out.

    Embedder ── stream() ──► DocumentStream    batches, concurrency, back-pressure
        │                        │
        └──────── query() ───────┴──► Failover([Guarded(Proving(Retrying(…)))])    connect()

A wire answers one request. The base owns everything around it: what may be
sent, batching, and finding the one text for which a whole batch was refused.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragctl.catalog import Model, RequestLimits
from ragctl.errors import DocumentError, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.service import Service
from ragctl.hosts.usage import UsageTotals
from ragctl.records import Identity

if TYPE_CHECKING:
    from ragctl.embedding.canary import Canary
    from ragctl.embedding.failover import ConnectedBackend, Failover
    from ragctl.embedding.stream import DocumentStream

Side = Literal["document", "query"]
Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts of one side, to be answered at once. `stopped` ends waits between tries.

    `tokens` is about how many they are together, 0 where nobody counted.
    `together`: the texts are chunks of one document in their order, each to be
    embedded in the context of all (late chunking).
    """

    side: Side
    texts: tuple[str, ...]
    stopped: threading.Event
    tokens: int = 0
    together: bool = False

    def part(self, start: int, end: int) -> "EmbeddingRequest":
        """Return the request for some of its texts."""
        share = round(self.tokens * (end - start) / len(self.texts))
        return replace(self, texts=self.texts[start:end], tokens=share)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Unit vectors of shape (texts, dim) in the order of the texts, and the tokens billed.

    `length` and `norms` (least, greatest) are those of the vectors as the host
    answered them, before anything was cut or normalised here.
    """

    vectors: Vectors
    tokens: int
    length: int = 0
    norms: tuple[float, float] = (1.0, 1.0)


EmbeddingService: TypeAlias = Service[EmbeddingRequest, Embeddings]
"""A wire to one backend, or a wrapper over one. Vectors have passed every check of `answers.unit`.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run asks of every backend: cut texts beyond the context; embed chunks together."""

    truncate: bool = False
    late_chunking: bool = False


_ROOM = 1 << 20  # bytes of the questions in one request, where nobody says less
_FIELD = 64  # bytes that a question may need beside its text


class Embedder:
    """Embeds the documents and the queries of one model at one dimension.

    `identity` decides whether two vectors may be compared; the backend is no
    part of it. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        wire: "Failover",
        model: Model,
        *,
        dim: int,
        limits: RequestLimits,
        concurrency: int,
        options: Options,
        revision: str | None = None,
    ) -> None:
        self.model = model
        self.dim = dim
        self.usage = UsageTotals([backend.usage for backend in wire.backends])
        self.limits = limits
        self.concurrency = concurrency
        self.options = options
        self.identity = Identity(
            model=model.name,
            revision=revision or model.revision,
            dimension=dim,
            document=model.document.label,
            query=model.query.label,
            normalized=model.normalized,
            distance=model.distance,
            late_chunking=options.late_chunking,
            element="float32",
        )
        self._wire = wire

    @property
    def backends(self) -> "Sequence[ConnectedBackend]":
        """The backends in their order, each of which can be asked on its own."""
        return self._wire.backends

    @property
    def failures(self) -> list[str]:
        """Which backends failed for good so far, and why; another took over, or none was left."""
        return self._wire.failures

    def canary(self, stopped: threading.Event | None = None) -> "Canary | None":
        """Return what a new collection keeps, to know this model again by its vectors.

        None for the built-in model, which its version names. Asks the backend
        if nobody has yet. Raises BackendError; Interrupted once `stopped` is set.
        """
        return self._wire.canary(stopped or threading.Event())

    def warm(self) -> None:
        """Load in the background what the first request needs: a client, certificates."""
        threading.Thread(target=self.backends[0].warm, name="warming", daemon=True).start()

    def query(self, text: str) -> Vectors:
        """Return the vector of a question, shape (dim,).

        Raises UsageError when the text cannot be embedded, BackendError when
        the backend fails.
        """
        problem = unsendable(text)
        if problem:
            raise UsageError(f"the query {problem}")
        for _, outcome in self.embed(EmbeddingRequest("query", (text,), threading.Event())):
            if isinstance(outcome, DocumentError):
                raise UsageError(f"the query: {outcome}")
            vector: Vectors = outcome[0]
            return vector
        raise AssertionError("embed() answers every text")

    def queries(self, texts: Sequence[str]) -> list[Vectors | UsageError]:
        """Return for each question its vector, shape (dim,), or why it cannot be embedded.

        As many go into a request as every backend takes. Raises BackendError when the
        backend fails.
        """
        outcomes: list[Vectors | UsageError] = []
        for batch in self._batches(texts):
            found: list[Vectors | UsageError] = [
                UsageError(f"the query {problem}") for problem in map(unsendable, batch) if problem
            ]
            if not found:
                for _, outcome in self.embed(
                    EmbeddingRequest("query", tuple(batch), threading.Event())
                ):
                    if isinstance(outcome, DocumentError):
                        found.append(UsageError(f"the query: {outcome}"))
                    else:
                        found.extend(outcome)
            outcomes += found
        return outcomes

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Questions that go together; one that no backend can embed stands alone."""
        limits = self.limits
        prompt = len((self.model.query.prompt or "").encode())
        # A backend's first questions travel with a canary; a token is at least a byte.
        most, room = max(1, limits.texts - 1), min(limits.tokens or _ROOM, limits.bytes or _ROOM)
        batch: list[str] = []
        size = 0
        for text in texts:
            alone = unsendable(text) is not None
            own = 0 if alone else 2 * (len(text.encode()) + prompt) + _FIELD
            if batch and (alone or len(batch) == most or size + own > room):
                yield batch
                batch, size = [], 0
            batch.append(text)
            size += own
            if alone:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

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

    def embed(self, request: EmbeddingRequest) -> Iterator[tuple[int, Vectors | DocumentError]]:
        """Yield (position of the first text, vectors of texts from there on) until all are done.

        One batch is one yield. A batch refused for its content is halved until
        the bad texts stand alone; each of them yields a DocumentError. Halves of
        texts to be embedded together still are together. What was paid for is
        yielded before an error ends it.
        """
        parts = [(0, len(request.texts))]
        while parts:
            start, end = parts.pop()
            try:
                answer = self._wire.call(request.part(start, end))
            except Refused as refusal:
                if end - start == 1:
                    yield start, DocumentError(str(refusal))
                else:
                    middle = (start + end) // 2
                    parts += [(middle, end), (start, middle)]
                continue
            assert answer.vectors.shape == (end - start, self.dim)
            yield start, answer.vectors

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
