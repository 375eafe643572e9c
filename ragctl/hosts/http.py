"""A client for one host: sends JSON, bounds each request in time and size, hides the key.

Every failure is raised as one of three errors: Transient (try again), Refused (the host
refuses the texts), or BackendError (this host will not do it: key, credit, address).
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ragctl.errors import BackendError
from ragctl.hosts.addresses import is_loopback
from ragctl.hosts.deadline import within
from ragctl.hosts.errors import Transient
from ragctl.hosts.keys import ApiKey
from ragctl.hosts.responses import ErrorRules, Response, ResponseParser
from ragctl.hosts.retry import Patience
from ragctl.hosts.usage import Usage
from ragctl.records import Json

if TYPE_CHECKING:
    import httpx

MAX_RESPONSE_BYTES = 1 << 28  # 2,048 vectors of 4,096 numbers as text are 160 MB
KEEPALIVE_SECONDS = 60.0  # idle connections stay open through a pause that a rate limit causes
MIN_MASKED_KEY_LENGTH = 16
"""Shorter keys are not masked in responses: they may occur in a vector's base64 by chance.

Keys of hosted services are longer.
"""


class HostClient:
    """A client for one base URL with one key. Keeps connections open; threads may share it.

    Every path is relative to the base URL, or is a whole address of the same host.
    """

    def __init__(
        self,
        url: str,
        key: ApiKey | None,
        *,
        error_rules: ErrorRules,
        usage: Usage,
        patience: Patience,
        connections: int,
        auth: tuple[str, str] = ("Authorization", "Bearer "),
        key_variable: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Make a client. Nothing is sent yet.

        Args:
            url: The base that paths are appended to.
            key: The API key, if there is one.
            error_rules: How this host's errors are classified.
            usage: Counts the requests.
            patience: The time limits of a request.
            connections: How many requests may be in flight at once.
            auth: The name of the header that carries the key, and the prefix of its value.
            key_variable: The environment variable to name if the host wants a key and `key`
                is None.
            wall: The wall clock, in seconds since 1970.
        """
        self.host = urlsplit(url).netloc
        self._url = url
        self._auth = auth
        self._key = key
        self._parser = ResponseParser(self.host, error_rules, key, key_variable, wall)
        self._usage = usage
        self._patience = patience
        self._connections = connections
        self._client: httpx.Client | None = None
        self._abandoned: list[httpx.Client] = []
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Open the HTTP client in advance; importing httpx alone takes 0.1 s.

        Errors are ignored here: the first request raises them again.
        """
        with contextlib.suppress(BackendError):
            self._open_client()

    def post(self, path: str, body: Mapping[str, Json]) -> object:
        """Send `body` to `path` and return the JSON of the response.

        Raises Transient, Refused, or BackendError. None of them contains the key.
        """
        return self.exchange(path, body)[0]

    def exchange(self, path: str, body: Mapping[str, Json]) -> tuple[object, Mapping[str, str]]:
        """Return the JSON and the headers of the response. Raises as `post` does."""
        self._usage.sent()
        response = self._exchange("POST", path, _encoded(body))
        return self._parser.parse(response), response.headers

    def ask(self, path: str, body: Mapping[str, Json]) -> object:
        """Send a request that embeds nothing, and is not counted. Raises as `post` does."""
        return self._parser.parse(self._exchange("POST", path, _encoded(body)))

    def get(self, path: str) -> object:
        """Return the JSON at `path`. Raises as `post` does."""
        return self._parser.parse(self._exchange("GET", path, None))

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in (*self._abandoned, self._client):
                if client is not None:
                    client.close()
            self._abandoned, self._client = [], None

    def _exchange(self, method: str, path: str, content: bytes | None) -> Response:
        """Send one request and return the whole response, within `Patience.attempt` seconds."""
        client = self._open_client()
        try:
            outcome = within(
                self._patience.attempt, lambda: self._send(client, method, path, content)
            )
        except TimeoutError:
            self._abandon(client)
            raise Transient(
                f"{self.host}: no complete answer within {self._patience.attempt:g} s",
                timed_out=True,
            ) from None
        if isinstance(outcome, BackendError):
            raise outcome
        return outcome

    def _send(
        self, client: "httpx.Client", method: str, path: str, content: bytes | None
    ) -> Response | BackendError:
        """Return the response, or the error for the waiting thread to raise.

        The error is not raised here: its context would be httpx's error, whose frames hold
        the request with the key.
        """
        import httpx

        headers = {"Content-Type": "application/json"} if content is not None else {}
        url = path if path.startswith(("http://", "https://")) else self._url + path
        answered = False
        try:
            with client.stream(method, url, content=content, headers=headers) as response:
                answered = True
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > MAX_RESPONSE_BYTES:
                        limit = MAX_RESPONSE_BYTES >> 20
                        return BackendError(f"{self.host} answered more than {limit} MB")
                return Response(response.status_code, response.headers, self._mask_key(body))
        except httpx.TimeoutException as error:
            connected = not isinstance(error, httpx.ConnectTimeout)
            kind = "no answer" if connected else "no connection"
            return Transient(f"{self.host}: {kind} in time", answered=answered, timed_out=connected)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                return BackendError(f"{self.host}: {reason}")
            refused = isinstance(error, httpx.ConnectError) and is_loopback(self._url)
            return Transient(f"{self.host}: {reason}", answered=answered, refused=refused)
        except UnicodeError:
            return BackendError(f"{self.host} is not a valid host name; is the address right?")

    def _mask_key(self, body: bytearray) -> bytes:
        """Return a body without the key, which some hosts quote back, so no frame shows it."""
        content = bytes(body)
        if self._key is None or len(self._key.reveal()) < MIN_MASKED_KEY_LENGTH:
            return content
        return content.replace(self._key.reveal().encode(), b"***")

    def _abandon(self, client: "httpx.Client") -> None:
        """Leave a client to the request that still runs on it; the next one gets a new client."""
        with self._lock:
            if self._client is client:
                self._client = None
                self._abandoned.append(client)

    def _open_client(self) -> "httpx.Client":
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> "httpx.Client":
        import httpx

        local = is_loopback(self._url)
        try:
            return httpx.Client(
                auth=_key_header(self._key, *self._auth) if self._key else None,
                timeout=httpx.Timeout(self._patience.read, connect=self._patience.connect),
                # HTTP/1.1, with one kept connection per request in flight. With HTTP/2 requests
                # would share a connection and take turns: in Python that takes twice the time
                # per request and saves a few handshakes per run.
                limits=httpx.Limits(
                    max_connections=self._connections + 1, keepalive_expiry=KEEPALIVE_SECONDS
                ),
                # The environment's proxy does not apply to this machine; nor do the system's
                # certificates, which take 30 ms to load.
                trust_env=not local,
                verify=not local or urlsplit(self._url).scheme == "https",
                headers={"User-Agent": "ragctl", "Accept": "application/json"},
            )
        except (ImportError, ValueError, OSError) as error:
            reason = f"the environment's proxy or certificates cannot be used: {error}"
            raise BackendError(f"{self.host}: {reason}") from None


def _encoded(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _key_header(key: ApiKey, header: str, prefix: str) -> "httpx.Auth":
    """Return an Auth that sets the header on each request, so the client holds no copy of it."""
    import httpx

    class KeyHeader(httpx.Auth):
        def auth_flow(
            self, request: httpx.Request
        ) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers[header] = f"{prefix}{key.reveal()}"
            yield request

    return KeyHeader()
