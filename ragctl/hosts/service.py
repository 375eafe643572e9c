"""The interface that a wire and every wrapper around one has: one request, one answer.

A wrapper (retry, rate limit, context check, failover) takes a Service and is one, so they
can be stacked in any order. They do not know what is embedded, reranked or sent.
"""

import threading
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Request(Protocol):
    """What the wrappers need to know of a request."""

    @property
    def texts(self) -> Sequence[str]:
        """The texts that are sent and billed."""

    @property
    def tokens(self) -> int:
        """Estimated o200k_base tokens of all texts together; 0: not counted."""

    @property
    def stopped(self) -> threading.Event:
        """Set when the caller gives up: ends every wait."""


class Answer(Protocol):
    """What the wrappers need to know of an answer."""

    @property
    def tokens(self) -> int:
        """Tokens billed; 0: the host does not say."""


RequestT = TypeVar("RequestT", bound=Request)
AnswerT = TypeVar("AnswerT", bound=Answer)
RequestT_contra = TypeVar("RequestT_contra", bound=Request, contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", bound=Answer, covariant=True)


class Service(Protocol[RequestT_contra, AnswerT_co]):
    """Answers requests.

    `call` may be called from several threads at once. It answers the whole request or
    raises Transient, Refused, or another BackendError, which ends the run.
    """

    def call(self, request: RequestT_contra) -> AnswerT_co:
        """Answer one request."""

    def close(self) -> None:
        """Release connections."""
