"""The connection to a Qdrant server: retries, and every failure as one clear line."""

import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

from httpx import create_ssl_context

from ragctl.environment import QDRANT_API_KEY, QDRANT_CA_FILE
from ragctl.errors import StoreError, UsageError
from ragctl.hosts.retry import retry
from ragctl.stores.server_advice import limit_advice
from ragctl.stores.server_failures import (
    MAX_HOPELESS_TRIES,
    REQUEST_ERRORS,
    TOO_LARGE,
    Failure,
    WriteNotAppliedError,
    describe_failure,
)
from ragctl.stores.server_http import NO_TLS, QdrantHttp, Tls
from ragctl.text import counted

T = TypeVar("T")

_DEFAULT_PORT = 6333  # Qdrant's own convention, for https too
OLDEST_VERSION = (1, 12)  # the first with facets
MAX_PAUSE_SECONDS = 15.0

GREETING_SECONDS = 2.5
"""Limit on the answer to `GET /`, for which a server does nothing."""

SUSPECT_BYTES = 1_000_000
"""A server, or a proxy, may close the connection while a request larger than this is sent."""

MAX_LOST_TRIES = 2
"""Lost connections in a row after which such a request counts as too large."""

ASKED_WAIT_FACTOR = 5
"""The waits that a server asks for may last so many times the patience, in sum."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A final answer that is not a success: an HTTP status and the server's reason."""

    status: int
    reason: str


class _RefusedError(Exception):
    """A refusal that ends the retries."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class ServerConnection:
    """A client of one server. Every request sent through it must be idempotent."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        key_variable: str,
        timeout: int,
        patience: float,
        backoff: float,
        tls: Tls = NO_TLS,
    ) -> None:
        self.url = _normal_url(url)
        self._key = _checked_key(api_key, key_variable)
        self._key_variable = key_variable
        self._timeout = timeout
        self._patience = patience
        self._backoff = backoff
        self._reached = False  # something answers at the address
        self._recognised = False  # and it is a Qdrant server
        self._client = QdrantHttp(
            self.url, api_key=self._key, timeout=timeout, verify=_verification(self.url, tls)
        )

    def __repr__(self) -> str:
        return f"ServerConnection({self.url!r})"

    @cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        found = self.call("", lambda client: client.answer("GET", "/", within=GREETING_SECONDS))
        text = str(found.get("version"))
        try:
            major, minor = (int(part) for part in text.split(".")[:2])
        except ValueError:
            raise self._no_qdrant(f"it calls itself version {text[:40]!r}") from None
        return major, minor

    def check(self) -> None:
        """Raise StoreError unless a Qdrant of a supported version answers. Asks once."""
        if self.version < OLDEST_VERSION:
            found = ".".join(map(str, self.version))
            raise StoreError(f"Qdrant {found} at {self.url} is too old; ragctl needs 1.12 or newer")

    def call(self, what: str, request: Callable[[QdrantHttp], T]) -> T:
        """Return the answer to `request` like `attempt`, but raise StoreError for a refusal."""
        outcome = self.attempt(what, request)
        if isinstance(outcome, Refusal):
            raise self.error(what, outcome)
        return outcome

    def attempt(
        self,
        what: str,
        request: Callable[[QdrantHttp], T],
        *,
        patience: float | None = None,
        size: int = 0,
        replicas_patience: float | None = None,
    ) -> T | Refusal:
        """Return the answer to `request`, or the server's final refusal.

        Lost connections, timeouts, 408, 429 and 5xx are retried with growing pauses for
        `patience` seconds (None: the connection's own); the last try may take its own timeout
        beyond that. The waits that the server asks for (Retry-After) do not count; their sum is
        at most ASKED_WAIT_FACTOR times the patience. Raises StoreError when the failures do not
        end. Other errors that `request` raises pass through. `what` begins the error message.
        `size`: bytes of a request that can be split; if the connection is closed while a large
        one is sent, the outcome is a refusal with status 413. `replicas_patience`: seconds to
        retry while too few replicas answer, if shorter.
        """
        patience = self._patience if patience is None else patience
        begin, asked, lost = time.monotonic(), 0.0, 0

        def pause(error: Exception, tries: int, _: float) -> float:
            nonlocal asked, lost
            failure = describe_failure(error)
            self._reached = self._reached or not (failure.unreachable or failure.silent)
            lost = lost + 1 if failure.lost else 0
            if size > SUSPECT_BYTES and lost >= MAX_LOST_TRIES:
                raise _RefusedError(Refusal(TOO_LARGE, failure.reason)) from None
            if not failure.again and failure.status is not None:
                raise _RefusedError(Refusal(failure.status, failure.reason)) from None
            wait, spent = self._pause(tries, failure), time.monotonic() - begin
            if failure.replicas and replicas_patience is not None:
                ended = spent + wait > min(patience, replicas_patience)
            elif failure.after:
                ended = asked + wait > ASKED_WAIT_FACTOR * patience
            else:
                ended = self._is_last(tries, failure) or spent - asked + wait > patience
            if ended:
                raise self._gave_up(what, failure, tries, spent, asked) from None
            if failure.after:
                asked += wait
            return wait

        try:
            answer = retry(lambda: request(self._client), REQUEST_ERRORS, pause, sleep=time.sleep)
        except _RefusedError as refused:
            return refused.refusal
        self._reached = self._recognised = True
        return answer

    def error(self, what: str, refusal: Refusal, *, need: str = "that right") -> StoreError:
        """Return a refusal as an error of one line that says what to do. `need`: the right."""
        place = f"{what} at {self.url}" if what else self.url
        if refusal.status in (401, 403):
            advice = f"set it to a key with {need}" if self._key else "set it"
            line = (
                f"{place}: the server refused the key in {self._key_variable}; {advice}"
                if self._key
                else f"{place}: the server wants a key; {advice} in {self._key_variable}"
            )
            return StoreError(self._scrub(f"{line} ({refusal.status}: {refusal.reason})"))
        if not what and not self._recognised:
            return self._no_qdrant(f"{refusal.reason}, HTTP {refusal.status}")
        if refusal.status == 404 and "doesn't exist" in refusal.reason:
            return StoreError(f"{place} does not exist (any more); was it dropped meanwhile?")
        limit = limit_advice(refusal.status, refusal.reason)
        ending = "" if limit is None else f"; {limit}"
        return StoreError(self._scrub(f"{place}: {refusal.reason} (HTTP {refusal.status}){ending}"))

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _pause(self, tries: int, failure: Failure) -> float:
        grown = min(self._backoff * 2.0 ** min(tries - 1, 16), MAX_PAUSE_SECONDS)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - not for security
        return max(failure.after, grown * jitter)

    def _is_last(self, tries: int, failure: Failure) -> bool:
        if (failure.unreachable or failure.silent) and not self._reached:
            # More likely a wrong address, or a server that hangs, than one that restarts.
            return tries >= MAX_HOPELESS_TRIES
        return not failure.again or (failure.tries is not None and tries >= failure.tries)

    def _gave_up(
        self, what: str, failure: Failure, tries: int, spent: float, asked: float
    ) -> StoreError:
        if failure.unreachable and not self._reached:
            advice = "start it, or choose another store with --store"
            if "CERTIFICATE_VERIFY_FAILED" in failure.reason:
                advice = f"name the authority of its certificate in {QDRANT_CA_FILE.name}"
            return StoreError(self._scrub(f"no Qdrant at {self.url} ({failure.reason}); {advice}"))
        if failure.foreign and not self._recognised:
            return self._no_qdrant(failure.reason)
        place = f"{what} at {self.url}" if what else self.url
        count = counted(tries, "try", "tries")
        wait = f"; it asks to wait {failure.after:g} s" if failure.after else ""
        waited = f", of which it asked to wait {asked:.0f} s" if asked else ""
        return StoreError(
            self._scrub(
                f"{place}: {failure.reason}{wait}; gave up after {count} in {spent:.0f} s{waited}"
            )
        )

    def _no_qdrant(self, reason: str) -> StoreError:
        return StoreError(
            self._scrub(
                f"{self.url}: this is no Qdrant server ({reason}); check the address, "
                "or choose another store with --store"
            )
        )

    def _scrub(self, line: str) -> str:
        """Remove the key, which a server or proxy may have sent back."""
        return line.replace(self._key, "***") if self._key else line


def _normal_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORT
    except ValueError as error:
        raise UsageError(f"store {url!r}: {error}") from None
    if parts.username or parts.password:
        raise UsageError(
            f"store URL holds a user name or password; use {QDRANT_API_KEY.name} instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"store {url!r}: write http://host:port or https://host:port")
    if parts.query or parts.fragment:
        raise UsageError(f"store {url!r}: a store URL has no '?' or '#'")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _verification(url: str, tls: Tls) -> ssl.SSLContext | bool:
    """Return how certificates are checked. Raises UsageError for files that cannot be read."""
    if not url.startswith("https:"):  # without the usual certificates, which take 0.1 s to load
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls == NO_TLS:
        return True
    try:
        context = ssl.create_default_context(cafile=tls.ca) if tls.ca else create_ssl_context()
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        named = [name for name in (tls.ca, tls.certificate, tls.key) if name is not None]
        raise UsageError(f"certificates for {url} ({', '.join(named)}): {error}") from None
    return context


def _checked_key(key: str | None, variable: str) -> str | None:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"{variable} holds characters that no key has; copy it again")
    return key or None


def collection_label(name: str) -> str:
    """Return how errors name a collection."""
    return f"collection {name!r}"


def require_applied(result: Mapping[str, Any]) -> None:
    """Raise WriteNotAppliedError if a write is only queued because the server timed out."""
    if result["status"] != "completed":
        raise WriteNotAppliedError(f"a write is still queued on the server ({result['status']})")


def require_all_applied(results: Sequence[Mapping[str, Any]]) -> None:
    """Raise WriteNotAppliedError unless every write of a request is applied."""
    for result in results:
        require_applied(result)
