"""Posting JSON to an embedding API, and sorting what goes wrong.

Every failure becomes one of three: Transient (try again), Refused (what the
request held), or BackendError (this host will not do it: key, credit, address).
"""

import json
import math
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ragctl.embedding import complaints
from ragctl.embedding.base import Refused, Transient, Usage
from ragctl.embedding.complaints import Complaint
from ragctl.embedding.retry import Patience
from ragctl.errors import BackendError
from ragctl.records import Json

if TYPE_CHECKING:
    import httpx

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Key:
    """A secret from an environment variable. Prints as the variable's name only."""

    __slots__ = ("_secret", "variable")

    def __init__(self, variable: str, secret: str) -> None:
        self.variable = variable
        self._secret = secret.strip()
        if not (self._secret.isascii() and self._secret.isprintable()) or " " in self._secret:
            # Told apart here: further down the error would quote the whole header.
            raise BackendError(f"the value of {variable} has characters that no key has")

    def reveal(self) -> str:
        return self._secret

    def __repr__(self) -> str:
        return f"<key from {self.variable}>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not written anywhere")


@dataclass(frozen=True, slots=True)
class Words:
    """The codes by which a wire's errors tell one kind from another, beside their status."""

    text: frozenset[str] = frozenset()  # the text itself is refused
    fatal: frozenset[str] = frozenset()  # no text would pass


class Api:
    """One API at one address with one key. Connections are kept open; threads may share it."""

    def __init__(
        self,
        url: str,
        key: Key | None,
        *,
        words: Words,
        usage: Usage,
        patience: Patience,
        connections: int,
        key_variable: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`key_variable` is named when the host wants a key and none was given."""
        self.host = urlsplit(url).netloc
        self._url = url
        self._key = key
        self._words = words
        self._usage = usage
        self._patience = patience
        self._connections = connections
        self._key_variable = key.variable if key else key_variable
        self._wall = wall
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def post(self, body: Mapping[str, Json]) -> dict[str, object]:
        """Send `body` and return the answer's JSON object.

        Raises Transient, Refused, or BackendError. The key is in none of them.
        """
        import httpx

        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        client = self._connected()
        self._usage.sent()
        try:
            response = client.post(
                self._url, content=content, headers={"Content-Type": "application/json"}
            )
        # From None: the frames below hold the request's headers, and the key among them.
        except httpx.TimeoutException as error:
            kind = "no connection" if isinstance(error, httpx.ConnectTimeout) else "no answer"
            raise Transient(f"{self.host}: {kind} in time") from None
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                raise BackendError(f"{self.host}: {reason}") from None
            raise Transient(f"{self.host}: {reason}") from None
        if response.status_code != 200:
            raise self._sorted(response.status_code, response)
        return self._parsed(response)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _connected(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._client is None:
                patience = self._patience
                self._client = httpx.Client(
                    auth=_bearer(self._key) if self._key else None,
                    timeout=httpx.Timeout(patience.read, connect=patience.connect),
                    limits=httpx.Limits(max_connections=self._connections + 1),
                    # A proxy of the environment is for the world outside, not for this machine.
                    trust_env=urlsplit(self._url).hostname not in LOOPBACK,
                    headers={"User-Agent": "ragctl", "Accept": "application/json"},
                )
            return self._client

    def _parsed(self, response: "httpx.Response") -> dict[str, object]:
        try:
            body = json.loads(response.content)
        except ValueError as error:
            if complaints.is_html(response.text):
                page = complaints.read(response.content, self._secret).message
                raise BackendError(f"{self.host} answered {page}; is the address right?") from error
            raise Transient(f"{self.host} answered JSON that is cut off or broken") from error
        if not isinstance(body, dict):
            raise BackendError(f"{self.host} answered JSON that is no object")
        if "data" not in body and isinstance(body.get("error"), dict):
            # Some routers answer 200 and put the failure of the host behind them in the body.
            code = body["error"].get("code")
            raise self._sorted(code if isinstance(code, int) else 500, response)
        return body

    def _sorted(self, status: int, response: "httpx.Response") -> BackendError:
        """Return the error for a status that is not 200."""
        complaint = complaints.read(response.content, self._secret)
        said = f"{status} {complaint.message}".strip()
        if complaint.codes & self._words.fatal or status == 402:
            return BackendError(f"{self.host} refused: {said}")
        if status in (408, 409, 429) or (status >= 500 and status != 501):
            wait = retry_after(response.headers, self._wall())
            if response.headers.get("x-should-retry") == "false":
                return BackendError(f"{self.host} failed and says not to try again: {said}")
            return Transient(f"{self.host}: {said}", wait)
        if status in (400, 413, 422):
            return self._refused(status, complaint, said)
        if status == 401:
            return BackendError(f"{self.host} refused {self._key_in_words()}: {said}")
        if status == 404:
            return BackendError(f"{self.host} knows no such model or address: {said}")
        if 300 <= status < 400:
            to = response.headers.get("location", "elsewhere")
            return BackendError(f"{self.host} redirects to {to}: give the final address")
        return BackendError(f"{self.host} refused: {said}")

    def _refused(self, status: int, complaint: Complaint, said: str) -> BackendError:
        if complaint.fields and "input" not in complaint.fields:
            return BackendError(f"{self.host} refused the request: {said}")
        certain = (
            bool(complaint.codes & self._words.text) or "input" in complaint.fields or status == 413
        )
        return Refused(f"refused by {self.host}: {said}", certain)

    def _key_in_words(self) -> str:
        if self._key is not None:
            return f"the key in {self._key.variable}"
        return f"to work without a key (set {self._key_variable})" if self._key_variable else "us"

    @property
    def _secret(self) -> str | None:
        return self._key.reveal() if self._key else None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds a host asks to wait; `now` is the wall clock.

    Reads `retry-after-ms`, and `Retry-After` as seconds or as an HTTP date
    (RFC 9110, 10.2.3). Rubbish and negative values count as not given.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - now
            except ValueError:
                continue
            seconds = max(seconds, 0.0)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _bearer(key: Key) -> "httpx.Auth":
    import httpx

    class Bearer(httpx.Auth):
        """Sets the header as each request leaves, so that the client holds no copy of the key."""

        def auth_flow(
            self, request: httpx.Request
        ) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers["Authorization"] = f"Bearer {key.reveal()}"
            yield request

    return Bearer()
