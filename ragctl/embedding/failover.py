"""Several backends of one model in order: the next takes over only when its vectors agree."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from ragctl.embedding import canary as canaries
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Side, Vectors
from ragctl.embedding.canary import THRESHOLD, Canary
from ragctl.errors import BackendError, IdentityMismatch
from ragctl.hosts.errors import Refused
from ragctl.hosts.usage import Usage

T = TypeVar("T")
BackendFailure: TypeAlias = BackendError | IdentityMismatch


def nothing() -> None:
    """What a backend in this process has to load is the model itself, and waits for a text."""


@dataclass(eq=False)
class ConnectedBackend:
    """A backend in the row: its stack of wrappers and its account.

    `warm` loads what its first request needs. `trusted`: its query side made this
    collection's searches before, and need not be compared again.
    """

    name: str
    wire: EmbeddingService
    usage: Usage
    warm: Callable[[], None] = nothing
    trusted: bool = False
    admitted: bool = False  # its documents agree with the canary
    queried: bool = False  # and its queries
    passed_over: bool = False
    failure: BackendFailure | None = None  # the latest
    failed: int = 0  # how often
    lock: threading.Lock = field(default_factory=threading.Lock)


class Failover:
    """A Wire over backends of one model. The first that works answers, until it fails for good.

    Before a backend's first document goes out, the canary's texts must come
    back with a cosine of `threshold` or more to the canary of the collection
    (or, where there is none, of the backend that was first to answer). One that
    does not agree is never used. With `check` false nothing is compared: for a
    model that runs in this very program. When all have failed, the request fails
    with the reasons of each, and all others of its stream with it; the next
    stream, or query, begins with the first backend again.
    """

    def __init__(
        self,
        backends: Sequence[ConnectedBackend],
        *,
        canary: Canary | None = None,
        threshold: float = THRESHOLD,
        check: bool = True,
    ) -> None:
        self._backends = backends
        self._threshold = threshold
        self._check = check
        self._canary = canary
        self._canary_lock = threading.Lock()
        self._change = threading.Lock()
        self._over: tuple[threading.Event, BackendFailure] | None = (
            None  # a stream that none can serve
        )

    @property
    def backends(self) -> Sequence[ConnectedBackend]:
        return self._backends

    @property
    def failures(self) -> list[str]:
        """Who failed in this run and why, one line each."""
        with self._change:
            return [f"{m.name}: {m.failure}" for m in self._backends if m.failure is not None]

    def canary(self, stopped: threading.Event) -> Canary | None:
        """Return the canary, made by the first backend that works if there is none yet."""
        if self._check and self._canary is None:
            self._each(lambda backend: self._admit(backend, stopped), stopped)
        return self._canary

    def call(self, request: EmbeddingRequest) -> Embeddings:
        def ask(backend: ConnectedBackend) -> Embeddings:
            if request.side == "query":
                return self._query(backend, request)
            if self._check and (self._canary is not None or len(self._backends) > 1):
                self._admit(backend, request.stopped)
            return backend.wire.call(request)

        return self._each(ask, request.stopped)

    def _each(self, ask: Callable[[ConnectedBackend], T], stopped: threading.Event) -> T:
        """Return what the first backend says that has not failed. `stopped` is the stream's."""
        self._check_over(stopped)
        for backend in self._backends:
            if backend.passed_over:
                continue
            try:
                return ask(backend)
            except Refused:
                raise
            except (BackendError, IdentityMismatch) as error:
                self._pass_over(backend, error, stopped)
                if len(self._backends) == 1:
                    raise
        raise self._none_left(stopped)

    def _check_over(self, stopped: threading.Event) -> None:
        over = self._over
        if over is not None and over[0] is stopped:
            raise over[1]

    def _pass_over(
        self, backend: ConnectedBackend, error: BackendFailure, stopped: threading.Event
    ) -> None:
        with self._change:
            if len(self._backends) == 1:
                self._over = (stopped, error)
            else:
                backend.passed_over = True
            if backend.failure is not error:
                backend.failure = error
                backend.failed += 1  # last: whoever sees it sees the rest

    def _none_left(self, stopped: threading.Event) -> BackendFailure:
        """Return the error for all of them, and let others than this stream begin anew."""
        said = "; ".join(self.failures)
        with self._change:
            mixed = any(isinstance(backend.failure, IdentityMismatch) for backend in self._backends)
            kind = IdentityMismatch if mixed else BackendError
            error = kind(f"no backend is left: {said}")
            self._over = (stopped, error)
            for backend in self._backends:
                backend.passed_over = False
        return error

    def _admit(self, backend: ConnectedBackend, stopped: threading.Event) -> None:
        """Let a backend's documents in only if its canaries agree."""
        before = backend.failed
        self._check_over(stopped)
        if backend.passed_over and backend.failure is not None:
            raise backend.failure
        with backend.lock:
            if backend.admitted:
                return
            if backend.failed > before and backend.failure is not None:
                raise backend.failure  # another thread has just tried
            try:
                self._introduce(backend, stopped)
            except (BackendError, IdentityMismatch) as error:
                self._pass_over(backend, error, stopped)
                raise
            backend.admitted = True

    def _introduce(self, backend: ConnectedBackend, stopped: threading.Event) -> None:
        with self._canary_lock:
            if self._canary is None:
                self._canary = canaries.make_canary(backend.wire, stopped)
                backend.queried = True
                return
        answer = canaries.embed_canary(backend.wire, "document", stopped)
        self._compare(backend, self._canary, "document", answer.vectors)

    def _query(self, backend: ConnectedBackend, request: EmbeddingRequest) -> Embeddings:
        """Embed queries; a backend's first ones go together with the canary's."""
        if not self._check or self._canary is None or backend.trusted or backend.queried:
            return backend.wire.call(request)
        extra = canaries.canary_texts("query")
        answer = backend.wire.call(replace(request, texts=(*extra, *request.texts)))
        count = len(extra)
        self._compare(backend, self._canary, "query", answer.vectors[:count])
        backend.queried = True
        return replace(answer, vectors=answer.vectors[count:])

    def _compare(
        self, backend: ConnectedBackend, canary: Canary, side: Side, vectors: Vectors
    ) -> None:
        agreement = canary.agreement(side, vectors)
        if not agreement >= self._threshold:
            what = "documents" if side == "document" else "queries"
            raise IdentityMismatch(
                f"{backend.name} makes other vectors of {what} than this collection has: cosine "
                f"{agreement:.4f} for the canary texts, at least {self._threshold:g} is asked. It "
                "serves another model, or the same in another way; use the collection's own "
                "backend, or another --collection"
            )

    def close(self) -> None:
        for backend in self._backends:
            backend.wire.close()
