"""The ways in which a request to a Qdrant server fails, brought to one form.

A connection fails (httpx), an answer is not from Qdrant, its HTTP status is an error, or a write
is accepted but not applied.
"""

from dataclasses import dataclass

import httpx
import orjson

from ragctl.stores.server_http import EndlessAnswerError, ForeignAnswerError, StatusError
from ragctl.text import one_line

MAX_REASON_CHARACTERS = 300
"""Longest part of a server's error message that is shown."""

MAX_HOPELESS_TRIES = 3
"""Tries at what hardly ever passes, such as an address that has never answered."""

TOO_MANY_REQUESTS = 429
TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


TOO_LARGE = 413
NEVER_ALLOWED = "larger than rate limiter capacity"
"""Words of a 429 that no wait helps."""


class WriteNotAppliedError(Exception):
    """A write that the server accepted but has not applied; the same request is sent again."""


class ReplicasError(Exception):
    """Too few replicas of a shard answer."""


REQUEST_ERRORS: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    httpx.InvalidURL,
    StatusError,
    ForeignAnswerError,
    WriteNotAppliedError,
    ReplicasError,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try.

    `status`: of the answer, None if none came. `again`: a retry may help, at most `tries`
    times. `after`: seconds that the server asks to wait. `unreachable`: no connection.
    `silent`: no answer in time. `lost`: the connection ended without an answer. `foreign`: the
    answer is not from Qdrant. `replicas`: too few replicas answer.
    """

    reason: str
    status: int | None = None
    again: bool = True
    after: float = 0.0
    tries: int | None = None
    unreachable: bool = False
    silent: bool = False
    lost: bool = False
    foreign: bool = False
    replicas: bool = False


def describe_failure(error: Exception) -> Failure:
    """Return what an exception of REQUEST_ERRORS means."""
    if isinstance(error, ReplicasError):
        return Failure(str(error), replicas=True)
    if isinstance(error, StatusError):
        reason, status = reason_of(error), error.status
        if status == TOO_MANY_REQUESTS and NEVER_ALLOWED in reason:
            return Failure(reason, status, again=False)
        if status == TOO_MANY_REQUESTS:
            return Failure(f"429: {reason}", status, after=_seconds(error.retry_after))
        return Failure(reason, status, again=status in TRANSIENT_STATUSES)
    if isinstance(error, WriteNotAppliedError):
        return Failure(str(error))
    return _transport_failure(error)


def _seconds(retry_after: str | None) -> float:
    """Return what Retry-After says in seconds; 0 without one, or if it is no number."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        return 0.0


def _transport_failure(source: Exception) -> Failure:
    reason = _one_line(str(source)) or type(source).__name__
    if isinstance(source, httpx.ConnectError | httpx.ConnectTimeout):
        return Failure(reason, unreachable=True)
    if isinstance(source, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return Failure(reason, again=False)
    if isinstance(source, httpx.TimeoutException):
        return Failure("no answer in time", silent=True)
    if isinstance(source, httpx.TransportError):
        return Failure(f"connection lost ({reason})", lost=True)
    return Failure(
        f"an answer that is not from Qdrant ({reason[:120]})",
        again=not isinstance(source, EndlessAnswerError),
        tries=MAX_HOPELESS_TRIES,
        foreign=isinstance(source, ForeignAnswerError),
    )


def reason_of(error: StatusError) -> str:
    """Return the server's message: `status.error` of its JSON, else a body of plain text."""
    phrase = httpx.codes.get_reason_phrase(error.status) or f"HTTP {error.status}"
    try:
        found = orjson.loads(error.content)["status"]["error"]
    except (ValueError, KeyError, TypeError):
        found = error.content.decode("utf-8", "replace").strip()
        if found.startswith("<"):  # HTML
            return f"{phrase}, a page that is not from Qdrant"
    return _one_line(str(found)) or phrase


def _one_line(text: str) -> str:
    return one_line(text, limit=MAX_REASON_CHARACTERS, printable_only=True)
