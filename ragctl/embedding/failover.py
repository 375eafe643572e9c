"""Several providers of one model in order: the next takes over only when its vectors agree."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from ragctl.embedding import canary as canaries
from ragctl.embedding.base import Answer, Refused, Request, Side, Vectors, Wire
from ragctl.embedding.canary import THRESHOLD, Canary
from ragctl.embedding.usage import Usage
from ragctl.errors import BackendError, IdentityMismatch

T = TypeVar("T")
Failure: TypeAlias = BackendError | IdentityMismatch


def nothing() -> None:
    """What a provider in this process has to load is the model itself, and waits for a text."""


@dataclass(eq=False)
class Member:
    """A provider in the row: its stack of wrappers and its account.

    `warm` loads what its first request needs. `trusted`: its query side made this
    collection's searches before, and need not be compared again.
    """

    name: str
    wire: Wire
    usage: Usage
    warm: Callable[[], None] = nothing
    trusted: bool = False
    admitted: bool = False  # its documents agree with the canary
    queried: bool = False  # and its queries
    passed_over: bool = False
    failure: Failure | None = None  # the latest
    failed: int = 0  # how often
    lock: threading.Lock = field(default_factory=threading.Lock)


class Failover:
    """A Wire over providers of one model. The first that works answers, until it fails for good.

    Before a provider's first document goes out, the canary's texts must come
    back with a cosine of `threshold` or more to the canary of the collection
    (or, where there is none, of the provider that was first to answer). One that
    does not agree is never used. With `check` false nothing is compared: for a
    model that runs in this very program. When all have failed, the request fails
    with the reasons of each, and all others of its stream with it; the next
    stream, or query, begins with the first provider again.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        canary: Canary | None = None,
        threshold: float = THRESHOLD,
        check: bool = True,
    ) -> None:
        self._members = members
        self._threshold = threshold
        self._check = check
        self._canary = canary
        self._canary_lock = threading.Lock()
        self._change = threading.Lock()
        self._over: tuple[threading.Event, Failure] | None = None  # a stream that none can serve

    @property
    def members(self) -> Sequence[Member]:
        return self._members

    @property
    def failures(self) -> list[str]:
        """Who failed in this run and why, one line each."""
        with self._change:
            return [f"{m.name}: {m.failure}" for m in self._members if m.failure is not None]

    def canary(self, stopped: threading.Event) -> Canary | None:
        """Return the canary, made by the first provider that works if there is none yet."""
        if self._check and self._canary is None:
            self._each(lambda member: self._admit(member, stopped), stopped)
        return self._canary

    def embed(self, request: Request) -> Answer:
        def ask(member: Member) -> Answer:
            if request.side == "query":
                return self._query(member, request)
            if self._check and (self._canary is not None or len(self._members) > 1):
                self._admit(member, request.stopped)
            return member.wire.embed(request)

        return self._each(ask, request.stopped)

    def _each(self, ask: Callable[[Member], T], stopped: threading.Event) -> T:
        """Return what the first provider says that has not failed. `stopped` is the stream's."""
        self._check_over(stopped)
        for member in self._members:
            if member.passed_over:
                continue
            try:
                return ask(member)
            except Refused:
                raise
            except (BackendError, IdentityMismatch) as error:
                self._pass_over(member, error, stopped)
                if len(self._members) == 1:
                    raise
        raise self._none_left(stopped)

    def _check_over(self, stopped: threading.Event) -> None:
        over = self._over
        if over is not None and over[0] is stopped:
            raise over[1]

    def _pass_over(self, member: Member, error: Failure, stopped: threading.Event) -> None:
        with self._change:
            if len(self._members) == 1:
                self._over = (stopped, error)
            else:
                member.passed_over = True
            if member.failure is not error:
                member.failure = error
                member.failed += 1  # last: whoever sees it sees the rest

    def _none_left(self, stopped: threading.Event) -> Failure:
        """Return the error for all of them, and let others than this stream begin anew."""
        said = "; ".join(self.failures)
        with self._change:
            mixed = any(isinstance(member.failure, IdentityMismatch) for member in self._members)
            kind = IdentityMismatch if mixed else BackendError
            error = kind(f"no provider is left: {said}")
            self._over = (stopped, error)
            for member in self._members:
                member.passed_over = False
        return error

    def _admit(self, member: Member, stopped: threading.Event) -> None:
        """Let a provider's documents in only if its canaries agree."""
        before = member.failed
        self._check_over(stopped)
        if member.passed_over and member.failure is not None:
            raise member.failure
        with member.lock:
            if member.admitted:
                return
            if member.failed > before and member.failure is not None:
                raise member.failure  # another thread has just tried
            try:
                self._introduce(member, stopped)
            except (BackendError, IdentityMismatch) as error:
                self._pass_over(member, error, stopped)
                raise
            member.admitted = True

    def _introduce(self, member: Member, stopped: threading.Event) -> None:
        with self._canary_lock:
            if self._canary is None:
                self._canary = canaries.make(member.wire, stopped)
                member.queried = True
                return
        answer = canaries.ask(member.wire, "document", stopped)
        self._compare(member, self._canary, "document", answer.vectors)

    def _query(self, member: Member, request: Request) -> Answer:
        """Embed queries; a provider's first ones go together with the canary's."""
        if not self._check or self._canary is None or member.trusted or member.queried:
            return member.wire.embed(request)
        extra = canaries.texts("query")
        answer = member.wire.embed(replace(request, texts=(*extra, *request.texts)))
        count = len(extra)
        self._compare(member, self._canary, "query", answer.vectors[:count])
        member.queried = True
        return replace(answer, vectors=answer.vectors[count:])

    def _compare(self, member: Member, canary: Canary, side: Side, vectors: Vectors) -> None:
        agreement = canary.agreement(side, vectors)
        if not agreement >= self._threshold:
            what = "documents" if side == "document" else "queries"
            raise IdentityMismatch(
                f"{member.name} makes other vectors of {what} than this collection has: cosine "
                f"{agreement:.4f} for the canary texts, at least {self._threshold:g} is asked. It "
                "serves another model, or the same in another way; use the collection's own "
                "provider, or another --collection"
            )

    def close(self) -> None:
        for member in self._members:
            member.wire.close()
