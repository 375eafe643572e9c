"""Several providers of one model in order: the next takes over only when its vectors agree."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from ragctl.embedding import canary as canaries
from ragctl.embedding.base import Answer, Refused, Request, Wire
from ragctl.embedding.canary import THRESHOLD, Canary
from ragctl.embedding.usage import Usage
from ragctl.errors import BackendError, IdentityMismatch

T = TypeVar("T")
Failure: TypeAlias = BackendError | IdentityMismatch


@dataclass
class Member:
    """A provider in the row: its stack of wrappers and its account.

    `trusted`: its query side made this collection's searches before, and need
    not be compared again.
    """

    name: str
    wire: Wire
    usage: Usage
    trusted: bool = False
    admitted: bool = False  # its documents agree with the canary
    queried: bool = False  # and its queries
    lock: threading.Lock = field(default_factory=threading.Lock)


class Failover:
    """A Wire over providers of one model. The first that works answers, until it fails for good.

    Before a provider's first document goes out, the canary's texts must come
    back with a cosine of `threshold` or more to the canary of the collection
    (or, where there is none, of the provider that was first to answer). One that
    does not agree is never used. With `check` false nothing is compared: for a
    model that runs in this very program.
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
        self._current = 0
        self._failures: list[tuple[str, Failure]] = []

    @property
    def members(self) -> Sequence[Member]:
        return self._members

    @property
    def failures(self) -> list[str]:
        """Who failed and why, one line each."""
        return [f"{name}: {error}" for name, error in self._failures]

    def canary(self) -> Canary | None:
        """Return the canary, made by the first provider that works if there is none yet."""
        if not self._check:
            return None
        if self._canary is None:
            self._each(lambda member: self._admit(member, making=True))
        return self._canary

    def embed(self, request: Request) -> Answer:
        def ask(member: Member) -> Answer:
            if request.side == "query":
                return self._query(member, request)
            self._admit(member)
            return member.wire.embed(request)

        return self._each(ask)

    def _each(self, ask: Callable[[Member], T]) -> T:
        while True:
            index = self._current
            member = self._members[index]
            try:
                return ask(member)
            except Refused:
                raise
            except (BackendError, IdentityMismatch) as error:
                self._next(index, error)

    def _next(self, index: int, error: Failure) -> None:
        """Go on to the next provider, or raise for all of them when there is none."""
        if len(self._members) == 1:
            raise error
        with self._change:
            if index < self._current:
                return  # another thread was first
            self._failures.append((self._members[index].name, error))
            if index + 1 < len(self._members):
                self._current = index + 1
                return
        said = "; ".join(self.failures[-len(self._members) :])
        mixed = any(isinstance(failure, IdentityMismatch) for _, failure in self._failures)
        kind = IdentityMismatch if mixed else BackendError
        raise kind(f"no provider is left: {said}") from error

    def _admit(self, member: Member, making: bool = False) -> None:
        """Let a provider's documents in only if its canaries agree."""
        if not self._check or (self._canary is None and len(self._members) == 1 and not making):
            return
        with member.lock:
            if member.admitted:
                return
            with self._canary_lock:
                if self._canary is None:
                    self._canary = canaries.make(member.wire)
                    member.admitted = member.queried = True
                    return
            answer = canaries.ask(member.wire, "document")
            self._compare(member, self._canary.agreement("document", answer.vectors), "documents")
            member.admitted = True

    def _query(self, member: Member, request: Request) -> Answer:
        """Embed queries; a provider's first ones go together with the canary's."""
        if not self._check or self._canary is None or member.trusted or member.queried:
            return member.wire.embed(request)
        extra = canaries.texts("query")
        answer = member.wire.embed(replace(request, texts=(*extra, *request.texts)))
        count = len(extra)
        agreement = self._canary.agreement("query", answer.vectors[:count])
        self._compare(member, agreement, "queries")
        member.queried = True
        return replace(answer, vectors=answer.vectors[count:])

    def _compare(self, member: Member, agreement: float, what: str) -> None:
        if not agreement >= self._threshold:
            raise IdentityMismatch(
                f"{member.name} makes other vectors of {what} than this collection has: cosine "
                f"{agreement:.4f} for the canary texts, at least {self._threshold:g} is asked. It "
                "serves another model, or the same in another way; use the collection's own "
                "provider, or another --collection"
            )

    def close(self) -> None:
        for member in self._members:
            member.wire.close()
