"""The ways in which a request to a Qdrant server fails, brought to one form.

Four layers have exceptions of their own: httpx (wrapped by the client in
ResponseHandlingException), the client's models (a body that is invalid or cut off), HTTP
statuses, and gRPC.
"""

import json
from dataclasses import dataclass

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from ragctl.text import one_line

MAX_REASON_CHARACTERS = 300
"""Longest part of a server's error message that is shown."""

MAX_HOPELESS_TRIES = 3
"""Tries at what hardly ever passes, such as an address that has never answered."""

TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_STATUS_OF = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class WriteNotAppliedError(Exception):
    """A write that the server accepted but has not applied; the same request is sent again."""


REQUEST_ERRORS: tuple[type[Exception], ...] = (
    ApiException,
    QdrantException,
    grpc.RpcError,
    WriteNotAppliedError,
    ValueError,
    AssertionError,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try.

    `status`: of the answer, None if none came. `again`: a retry may help, at most `tries`
    times. `after`: seconds that the server asks to wait. `unreachable`: no connection.
    """

    reason: str
    status: int | None = None
    again: bool = True
    after: float = 0.0
    tries: int | None = None
    unreachable: bool = False


def describe_failure(error: Exception) -> Failure:
    """Return what an exception of REQUEST_ERRORS means."""
    if isinstance(error, ResponseHandlingException):
        return _transport_failure(error.source)
    if isinstance(error, UnexpectedResponse):
        status = error.status_code or 0
        return Failure(_reason(error), status, again=status in TRANSIENT_STATUSES)
    if isinstance(error, ResourceExhaustedResponse):
        after = max(0.0, float(error.retry_after_s))
        return Failure(f"429: {_one_line(str(error))}", 429, after=after)
    if isinstance(error, QdrantException):  # a Retry-After that is no number
        return Failure(f"429: {_one_line(str(error))}", 429)
    if isinstance(error, grpc.RpcError):
        return _grpc_failure(error)
    if isinstance(error, WriteNotAppliedError):
        return Failure(str(error))
    return _transport_failure(error)


def _transport_failure(source: Exception) -> Failure:
    reason = _one_line(str(source)) or type(source).__name__
    if isinstance(source, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure(reason, unreachable=True)
    if isinstance(source, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return Failure(reason, again=False)
    if isinstance(source, httpx.TimeoutException):
        return Failure("no answer in time")
    if isinstance(source, httpx.TransportError):
        return Failure(f"connection lost ({reason})")
    return Failure(f"an answer that is not from Qdrant ({reason[:120]})", tries=MAX_HOPELESS_TRIES)


def _grpc_failure(error: grpc.RpcError) -> Failure:
    # Errors of calls carry code() and details(); the bare class does not promise them.
    code = error.code() if isinstance(error, grpc.Call) else None
    reason = _one_line((error.details() if isinstance(error, grpc.Call) else "") or str(error))
    if code is grpc.StatusCode.UNAVAILABLE:
        return Failure(reason, 503, unreachable=True)
    status = 400 if code is None else _STATUS_OF.get(code, 400)
    return Failure(reason, status, again=status in TRANSIENT_STATUSES)


def _reason(error: UnexpectedResponse) -> str:
    """Return the server's message: `status.error` of its JSON, else the body."""
    text = error.content.decode("utf-8", "replace")
    try:
        text = json.loads(text)["status"]["error"]
    except (ValueError, KeyError, TypeError):
        text = text or error.reason_phrase
    return _one_line(str(text)) or f"HTTP {error.status_code}"


def _one_line(text: str) -> str:
    return one_line(text, limit=MAX_REASON_CHARACTERS, printable_only=True)
