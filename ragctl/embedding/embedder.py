"""The Embedder: texts in, checked unit vectors out.

    Embedder ── stream() ──► DocumentStream    batches, concurrency, back-pressure
        │                        │
        └──────── query() ───────┴──► Failover([Retrying(Isolation(ContextGuard(…)))])

A wire answers one request. The Embedder does the rest: it checks what may be sent, forms
batches, and finds the text because of which a batch was refused. `connect` stacks the parts.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ragctl.catalog import Model, RequestLimits
from ragctl.catalog.backend_table import Encoding
from ragctl.embedding.base import EmbeddingRequest, Options, Vectors, text_problem
from ragctl.embedding.canary import Canary
from ragctl.embedding.failover import ConnectedBackend, Failover
from ragctl.embedding.stream import DocumentStream
from ragctl.errors import DocumentError, UsageError
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import UsageTotals
from ragctl.records import Identity

MAX_QUERY_REQUEST_BYTES = 1 << 20  # of the questions in one request, unless a limit is lower
QUERY_FIELD_BYTES = 64  # what a question may need besides its text


class Embedder:
    """Embeds documents and queries with one model at one dimension.

    `identity` decides whether two vectors may be compared; the backend is not part of it.
    `task`: one of the model's other tasks; None: retrieval. Close it, or use it as a context
    manager.
    """

    def __init__(
        self,
        service: Failover,
        model: Model,
        *,
        dim: int,
        limits: RequestLimits,
        concurrency: int,
        options: Options,
        revision: str | None = None,
        task: str | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.dim = dim
        self.usage = UsageTotals([backend.usage for backend in service.backends])
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
            family=model.family,
        )
        self._service = service

    @property
    def max_texts(self) -> int:
        """How many texts a request has at most: the catalogue's limit, or a lower one learned."""
        learned = self._service.max_texts
        return self.limits.texts if learned is None else min(self.limits.texts, learned)

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The learned limits: by backend, how many texts it takes in one request."""
        return {b.name: b.max_texts for b in self.backends if b.max_texts}

    def limit_batch(self, backend: str, texts: int) -> None:
        """Send no more than `texts` texts in one request, if `backend` is one of these."""
        self._service.learn_max_texts(backend, texts)

    @property
    def encodings(self) -> dict[str, Encoding]:
        """The encodings of vectors found to work: by backend."""
        return {b.name: b.encoding.learned for b in self.backends if b.encoding.learned}

    def use_encoding(self, backend: str, encoding: Encoding) -> None:
        """Ask `backend` for vectors in an encoding that worked earlier, if it is one of these."""
        for known in self.backends:
            if known.name == backend:
                known.encoding.use(encoding)

    @property
    def backends(self) -> Sequence[ConnectedBackend]:
        """The backends in order of preference."""
        return self._service.backends

    @property
    def failures(self) -> list[str]:
        """The backends that have failed for good so far, each with its reason."""
        return self._service.failures

    def canary(self, stopped: threading.Event | None = None) -> Canary | None:
        """Return the canary of a new collection. Asks the backend on the first call.

        None for the built-in model, whose vectors its version decides. Raises BackendError,
        and Interrupted once `stopped` is set.
        """
        return self._service.canary(stopped or threading.Event())

    def check_first(self) -> None:
        """Compare documents of the first backend with the canary, unless that was done before.

        Raises IdentityMismatch, or BackendError.
        """
        self._service.check_first(threading.Event())

    def warm(self) -> None:
        """Load in the background what the first request needs: an HTTP client, certificates."""
        threading.Thread(target=self.backends[0].warm, name="warming", daemon=True).start()

    def query(self, text: str) -> Vectors:
        """Return the vector of a question, shape (dim,).

        Raises UsageError if the text cannot be embedded, BackendError if the backend fails.
        """
        problem = text_problem(text)
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

        A request has as many questions as every backend takes. Raises BackendError if the
        backend fails.
        """
        outcomes: list[Vectors | UsageError] = []
        for batch in self._batches(texts):
            answers: list[Vectors | UsageError] = [
                UsageError(f"the query {problem}")
                for problem in map(text_problem, batch)
                if problem
            ]
            if not answers:
                for _, outcome in self.embed(
                    EmbeddingRequest("query", tuple(batch), threading.Event())
                ):
                    if isinstance(outcome, DocumentError):
                        answers.append(UsageError(f"the query: {outcome}"))
                    else:
                        answers.extend(outcome)
            outcomes += answers
        return outcomes

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Yield the questions of each request; one that cannot be embedded is alone."""
        limits = self.limits
        prompt = len((self.model.query.prompt or "").encode())
        # A backend's first questions are sent with the canary's. A token is at least a byte.
        max_texts = max(1, self.max_texts - 1)
        max_bytes = min(
            limits.tokens or MAX_QUERY_REQUEST_BYTES, limits.bytes or MAX_QUERY_REQUEST_BYTES
        )
        batch: list[str] = []
        size = 0
        for text in texts:
            alone = text_problem(text) is not None
            text_bytes = 0 if alone else 2 * (len(text.encode()) + prompt) + QUERY_FIELD_BYTES
            if batch and (alone or len(batch) == max_texts or size + text_bytes > max_bytes):
                yield batch
                batch, size = [], 0
            batch.append(text)
            size += text_bytes
            if alone:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of document texts, shape (len(texts), dim), in their order.

        For many texts use `stream`. Raises DocumentError for the first text that cannot be
        embedded, BackendError if the backend fails.
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

    def stream(self) -> DocumentStream[Any]:
        """Return a stream that embeds documents while more are being added."""
        return DocumentStream(self)

    def embed(self, request: EmbeddingRequest) -> Iterator[tuple[int, Vectors | DocumentError]]:
        """Yield (position of the first text, vectors from there on) until all texts are done.

        A batch that is refused is split until the bad texts are alone; each yields a
        DocumentError. If none is bad, the batch was too large, and the size that passed is
        used from then on. Halves of texts to be embedded together are each embedded
        together. Vectors that were paid for are yielded before an error is raised.
        """
        yield from self._embed_range(request, 0, len(request.texts))

    def _embed_range(
        self, request: EmbeddingRequest, start: int, end: int
    ) -> Generator[tuple[int, Vectors | DocumentError], None, bool]:
        """Embed the texts from `start` up to `end`; return whether a text was refused."""
        size = end - start
        if size > self.max_texts and not request.together:
            return (yield from self._embed_parts(request, start, end, self.max_texts))
        try:
            answer = self._service.call(request.part(start, end))
        except Refused as refusal:
            if size == 1:
                yield start, DocumentError(str(refusal))
                return True
            part = min(refusal.max_texts or (size + 1) // 2, size - 1)
            if refusal.max_texts:
                self._learn(refusal, request, part)  # the host says so: others learn it at once
            blamed = yield from self._embed_parts(request, start, end, part)
            if not blamed:
                self._learn(refusal, request, part)
            return blamed
        assert answer.vectors.shape == (size, self.dim)
        at = 0
        for position in sorted(answer.failed):
            if at < position:
                yield start + at, answer.vectors[at:position]
            yield start + position, DocumentError(answer.failed[position])
            at = position + 1
        if at < size:
            yield start + at, answer.vectors[at:]
        return bool(answer.failed)

    def _learn(self, refusal: Refused, request: EmbeddingRequest, texts: int) -> None:
        """Remember that the backend takes no more than `texts` texts, unless sent together."""
        if refusal.backend is not None and not request.together:
            self._service.learn_max_texts(refusal.backend, texts)

    def _embed_parts(
        self, request: EmbeddingRequest, start: int, end: int, size: int
    ) -> Generator[tuple[int, Vectors | DocumentError], None, bool]:
        """Embed a range in parts of `size` texts; return whether a text was refused."""
        blamed = False
        for first in range(start, end, size):
            blamed |= yield from self._embed_range(request, first, min(first + size, end))
        return blamed

    def close(self) -> None:
        """Close all connections. Streams must have ended."""
        self._service.close()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
