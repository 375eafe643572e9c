"""Several backends of one model in order; the next takes over only if its vectors agree."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from ragctl.embedding.backend_wire import BackendWire
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side, Vectors
from ragctl.embedding.canary import (
    CANARY_THRESHOLD,
    Canary,
    canary_texts,
    embed_canary,
    make_canary,
)
from ragctl.embedding.encoding import EncodingChoice
from ragctl.errors import BackendError, IdentityMismatch
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage

T = TypeVar("T")
BackendFailure: TypeAlias = BackendError | IdentityMismatch


def no_warm_up() -> None:
    """Do nothing: a model in this process is loaded with its first text."""


@dataclass(eq=False)
class ConnectedBackend:
    """A backend of a run: its wire in its wrappers, its usage, and its state.

    Attributes:
        name: The backend, as reports name it.
        service: The wire and the wrappers around it.
        usage: What was sent to it.
        warm: Loads what its first request needs.
        wire: The wire alone; None: there is none, in a dry run.
        encoding: That of the vectors which it is asked for.
        documents_checked: Its vectors of documents agree with the canary.
        queries_checked: Its vectors of queries do.
        skipped: It failed for good, and is not asked again by this stream.
        failure: Its latest failure.
        failure_count: How often it has failed.
        checked_interruptions: How many interruptions there had been when it was last compared
            with the canary.
        max_texts: The most texts that it has taken in one request after it refused more;
            None: no limit is known beside the catalogue's.
        lock: Held while its documents are compared with the canary.
    """

    name: str
    service: EmbeddingService
    usage: Usage
    warm: Callable[[], None] = no_warm_up
    wire: BackendWire | None = None
    encoding: EncodingChoice = field(default_factory=lambda: EncodingChoice("unset"))
    documents_checked: bool = False
    queries_checked: bool = False
    skipped: bool = False
    failure: BackendFailure | None = None
    failure_count: int = 0
    checked_interruptions: int = 0
    max_texts: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Failover:
    """A service over backends of one model. The first that works answers until it fails for good.

    Before a backend's first document is sent, its vectors of the canary texts are compared
    with the collection's canary, or, if there is none yet, with those of the first backend
    that answered. A backend whose cosine is below `threshold` is never used. With `check`
    false nothing is compared: the model is part of this program. `other_member`: the canary is
    that of another model of the family; see `Canary.is_distinct`.

    When all backends have failed, the request and the rest of its stream fail with the
    reasons of each. The next stream or query starts with the first backend again.
    """

    def __init__(
        self,
        backends: Sequence[ConnectedBackend],
        *,
        canary: Canary | None = None,
        threshold: float = CANARY_THRESHOLD,
        check: bool = True,
        other_member: bool = False,
    ) -> None:
        self._backends = backends
        self._other_member = other_member
        self._threshold = threshold
        self._check = check
        self._canary = canary
        self._canary_lock = threading.Lock()
        self._change = threading.Lock()
        # The stream that no backend can serve, by its stop event, and the error for its requests.
        self._failed_stream: tuple[threading.Event, BackendFailure] | None = None

    @property
    def backends(self) -> Sequence[ConnectedBackend]:
        """The backends, in order of preference."""
        return self._backends

    @property
    def failures(self) -> list[str]:
        """The backends that failed in this run, each with its reason, one line each."""
        with self._change:
            return [f"{b.name}: {b.failure}" for b in self._backends if b.failure is not None]

    @property
    def max_texts(self) -> int | None:
        """How many texts every backend takes in one request; None: nothing was learned."""
        return min((b.max_texts for b in self._backends if b.max_texts), default=None)

    def learn_max_texts(self, backend: str, texts: int) -> None:
        """Send no more than `texts` texts in one request from now on, if `backend` serves it."""
        for known in self._backends:
            if known.name == backend:
                known.max_texts = min(texts, known.max_texts or texts)

    def canary(self, stopped: threading.Event) -> Canary | None:
        """Return the canary, made by the first backend that works if there is none yet."""
        if self._check and self._canary is None:
            self._first_working(lambda backend: self._check_documents(backend, stopped), stopped)
        return self._canary

    def check_first(self, stopped: threading.Event) -> None:
        """Compare documents of the first backend with the canary. Raises its failure."""
        if self._check:
            self._check_documents(self._backends[0], stopped)

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Answer one request, with the first backend that works.

        Raises Refused if a backend refuses the texts, IdentityMismatch if no backend is left
        and one made other vectors, else BackendError.
        """

        def ask(backend: ConnectedBackend) -> Embeddings:
            if request.side == "query":
                answer = self._embed_queries(backend, request)
                self._check_after_interruption(backend, request, answer)
                return answer
            if self._check and (self._canary is not None or len(self._backends) > 1):
                self._check_documents(backend, request.stopped)
            answer = backend.service.call(request)
            self._check_after_interruption(backend, request, answer)
            return answer

        return self._first_working(ask, request.stopped)

    def _first_working(self, ask: Callable[[ConnectedBackend], T], stopped: threading.Event) -> T:
        """Return the answer of the first backend that does not fail. `stopped` is the stream's."""
        self._check_stream(stopped)
        for backend in self._backends:
            if backend.skipped:
                continue
            try:
                return ask(backend)
            except Refused as refusal:
                refusal.backend = backend.name
                raise
            except (BackendError, IdentityMismatch) as error:
                self._record_failure(backend, error, stopped)
                if len(self._backends) == 1:
                    raise
        raise self._none_left(stopped)

    def _check_stream(self, stopped: threading.Event) -> None:
        """Raise the error that ended this stream, if one did."""
        failed = self._failed_stream
        if failed is not None and failed[0] is stopped:
            raise failed[1]

    def _record_failure(
        self, backend: ConnectedBackend, error: BackendFailure, stopped: threading.Event
    ) -> None:
        with self._change:
            if len(self._backends) == 1:
                self._failed_stream = (stopped, error)
            else:
                backend.skipped = True
            if backend.failure is not error:
                backend.failure = error
                backend.failure_count += 1  # last: a thread that sees it sees the failure too

    def _none_left(self, stopped: threading.Event) -> BackendFailure:
        """Return the error that names all failures, and let other streams start anew."""
        reasons = "; ".join(self.failures)
        with self._change:
            mismatch = any(isinstance(b.failure, IdentityMismatch) for b in self._backends)
            kind = IdentityMismatch if mismatch else BackendError
            error = kind(f"no backend is left: {reasons}")
            self._failed_stream = (stopped, error)
            for backend in self._backends:
                backend.skipped = False
        return error

    def _check_documents(self, backend: ConnectedBackend, stopped: threading.Event) -> None:
        """Compare a backend's documents with the canary, once. Raises its failure."""
        count = backend.failure_count
        self._check_stream(stopped)
        if backend.skipped and backend.failure is not None:
            raise backend.failure
        with backend.lock:
            if backend.documents_checked:
                return
            if backend.failure_count > count and backend.failure is not None:
                raise backend.failure  # another thread has just tried
            try:
                self._compare_documents(backend, stopped)
            except (BackendError, IdentityMismatch) as error:
                self._record_failure(backend, error, stopped)
                raise
            backend.documents_checked = True

    def _compare_documents(self, backend: ConnectedBackend, stopped: threading.Event) -> None:
        with self._canary_lock:
            if self._canary is None:
                self._canary = make_canary(backend.service, stopped)
                backend.queries_checked = True
                return
        answer = embed_canary(backend.service, "document", stopped)
        self._compare(backend, self._canary, "document", answer.vectors)
        backend.checked_interruptions = answer.interruptions

    def _embed_queries(self, backend: ConnectedBackend, request: EmbeddingRequest) -> Embeddings:
        """Embed queries; a backend's first ones are sent together with the canary's."""
        if not self._check or self._canary is None or backend.queries_checked:
            return backend.service.call(request)
        extra = canary_texts("query")
        count = len(extra)
        try:
            answer = backend.service.call(replace(request, texts=(*extra, *request.texts)))
        except Refused:
            # A question may be the reason, or the number of texts.
            own = embed_canary(backend.service, "query", request.stopped)
            self._compare(backend, self._canary, "query", own.vectors)
            backend.queries_checked = True
            return backend.service.call(request)
        for position in range(count):
            if position in answer.failed:
                raise BackendError(answer.failed[position])
        self._compare(backend, self._canary, "query", answer.vectors[:count])
        backend.queries_checked = True
        failed = {position - count: reason for position, reason in answer.failed.items()}
        return replace(answer, vectors=answer.vectors[count:], failed=failed)

    def _check_after_interruption(
        self, backend: ConnectedBackend, request: EmbeddingRequest, answer: Embeddings
    ) -> None:
        """Compare a backend with the canary again if it had failed before it was sent a request.

        A server that was restarted may serve another model. Raises IdentityMismatch, or
        BackendError: then the answer is not used, and the texts are sent again.
        """
        if not self._check or self._canary is None:
            return
        if answer.interruptions <= backend.checked_interruptions:
            return
        with backend.lock:
            if answer.interruptions <= backend.checked_interruptions:
                return
            own = embed_canary(backend.service, request.side, request.stopped)
            self._compare(backend, self._canary, request.side, own.vectors)
            backend.checked_interruptions = own.interruptions

    def _compare(
        self, backend: ConnectedBackend, canary: Canary, side: Side, vectors: Vectors
    ) -> None:
        """Raise IdentityMismatch unless vectors of the canary texts agree with the canary."""
        cosine = canary.agreement(side, vectors)
        what = "documents" if side == "document" else "queries"
        if self._other_member and not (
            cosine >= self._threshold and canary.is_distinct(side, vectors)
        ):
            raise IdentityMismatch(
                f"{backend.name} makes vectors of {what} that do not lie in the space of this "
                f"collection, as those of another member of the family would: the canary texts "
                f"have a cosine of {cosine:.4f}, and {self._threshold:g} is the minimum "
                "(family_cosine in the model's row), and each must be nearest to its own text. "
                "Use the collection's own model, or another --collection"
            )
        if not cosine >= self._threshold:
            raise IdentityMismatch(
                f"{backend.name} makes other vectors of {what} than this collection has: the "
                f"canary texts have a cosine of {cosine:.4f}, and {self._threshold:g} is the "
                "minimum. It serves another model, or the same one in another way; use the "
                "collection's own backend, or another --collection"
            )

    def close(self) -> None:
        """Close every backend."""
        for backend in self._backends:
            backend.service.close()
