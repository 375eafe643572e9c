"""Posting JSON to an embedding API, and sorting what goes wrong.

Every failure becomes one of three: Transient (try again), Refused (what the
request held), or BackendError (this host will not do it: key, credit, address).
"""

import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ragctl.errors import BackendError
from ragctl.hosts import error_messages
from ragctl.hosts.error_messages import Complaint
from ragctl.hosts.errors import Refused, Transient
from ragctl.hosts.keys import LOOPBACK, ApiKey
from ragctl.hosts.retry import Patience
from ragctl.hosts.usage import Usage
from ragctl.records import Json

if TYPE_CHECKING:
    import httpx

INPUTS = frozenset({"input", "inputs", "texts", "prompt"})
"""The names that the wires have for the field with the texts."""

_CHANCE = 16  # characters of a key; a shorter one may stand in a vector's base64 by chance
_LARGEST = 1 << 28  # bytes of an answer; 2,048 vectors of 4,096 numbers as text are 160 MB
_LONG = 16  # characters that no shorter key of a hosted service has
_KEPT = 60.0  # seconds that an idle connection is kept; a rate limit may cause such a pause
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(
    rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?"
)
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


@dataclass(frozen=True, slots=True)
class Words:
    """The codes by which a wire's errors tell one kind from another, beside their status."""

    text: frozenset[str] = frozenset()  # the text itself is refused
    fatal: frozenset[str] = frozenset()  # no text would pass
    phrases: frozenset[str] = frozenset()  # in a message, lower case: the text itself is refused
    key: frozenset[str] = frozenset()  # the key is refused, whatever the status
    spent: frozenset[str] = frozenset()  # in a message or code, lower case: no quota is left today


@dataclass(frozen=True, slots=True)
class _Answer:
    # Not shown: a host may quote the key back.
    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


class Api:
    """One API at one address with one key. Connections are kept open; threads may share it."""

    def __init__(
        self,
        url: str,
        key: ApiKey | None,
        *,
        words: Words,
        usage: Usage,
        patience: Patience,
        connections: int,
        auth: tuple[str, str] = ("Authorization", "Bearer "),
        key_variable: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`url` is the base that paths are appended to. `auth`: the header with the key, and
        what stands before the key in it. `key_variable` is named when the host wants a key
        and none was given.
        """
        self.host = urlsplit(url).netloc
        self._url = url
        self._auth = auth
        self._key = key
        self._words = words
        self._usage = usage
        self._patience = patience
        self._connections = connections
        self._key_variable = key.variable if key else key_variable
        self._wall = wall
        self._client: httpx.Client | None = None
        self._left: list[httpx.Client] = []
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Make the client now (importing httpx alone takes 0.1 s); a request says what fails."""
        with contextlib.suppress(BackendError):
            self._connected()

    def post(self, path: str, body: Mapping[str, Json]) -> object:
        """Send `body` and return the answer's JSON.

        Raises Transient, Refused, or BackendError. The key is in none of them.
        """
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        self._usage.sent()
        return self._json(self._exchange("POST", path, content))

    def get(self, path: str) -> object:
        """Return the JSON at `path`. Raises as `post` does."""
        return self._json(self._exchange("GET", path, None))

    def _exchange(self, method: str, path: str, content: bytes | None) -> "_Answer":
        """Send one request and read the whole answer, within the time of one try."""
        # In a thread of its own: the client's timeouts begin anew with every byte, and bound
        # neither the search for the host's address nor an answer that trickles in.
        client = self._connected()
        outcome: SimpleQueue[_Answer | BaseException] = SimpleQueue()

        def work() -> None:
            outcome.put(self._tried(client, method, path, content))

        threading.Thread(target=work, name="request", daemon=True).start()
        try:
            found = outcome.get(timeout=self._patience.attempt)
        except Empty:
            self._leave(client)
            within = f"{self._patience.attempt:g} s"
            raise Transient(f"{self.host}: no whole answer within {within}") from None
        if isinstance(found, BaseException):
            raise found
        return found

    def _tried(
        self, client: "httpx.Client", method: str, path: str, content: bytes | None
    ) -> "_Answer | BaseException":
        """Return the answer, or the error to be raised in the thread that waits for it."""
        import httpx

        headers = {"Content-Type": "application/json"} if content is not None else {}
        answered = False
        try:
            with client.stream(
                method, self._url + path, content=content, headers=headers
            ) as response:
                answered = True
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > _LARGEST:
                        return BackendError(f"{self.host} answers more than {_LARGEST >> 20} MB")
                return _Answer(response.status_code, response.headers, self._blotted(body))
        # New errors, raised elsewhere: the frames here hold the request, and the key with it.
        except httpx.TimeoutException as error:
            kind = "no connection" if isinstance(error, httpx.ConnectTimeout) else "no answer"
            return Transient(f"{self.host}: {kind} in time", answered=answered)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in reason:
                return BackendError(f"{self.host}: {reason}")
            return Transient(f"{self.host}: {reason}", answered=answered)
        except UnicodeError:
            return BackendError(f"{self.host} cannot be the name of a host; is the address right?")
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            return error.with_traceback(None)

    def _blotted(self, body: bytearray) -> bytes:
        """Return an answer without the key, which some hosts repeat, so that no frame shows it."""
        content = bytes(body)
        if self._key is None or len(self._key.reveal()) < _CHANCE:
            return content
        return content.replace(self._key.reveal().encode(), b"***")

    def close(self) -> None:
        with self._lock:
            for client in (*self._left, self._client):
                if client is not None:
                    client.close()
            self._left, self._client = [], None

    def _leave(self, client: "httpx.Client") -> None:
        """Let a try that is late have its client for itself, and the next ones a new one."""
        with self._lock:
            if self._client is client:
                self._client = None
                self._left.append(client)

    def _connected(self) -> "httpx.Client":
        with self._lock:
            if self._client is None:
                self._client = self._opened()
            return self._client

    def _opened(self) -> "httpx.Client":
        import httpx

        parts = urlsplit(self._url)
        here = parts.hostname in LOOPBACK
        try:
            return httpx.Client(
                auth=_keyed(self._key, *self._auth) if self._key else None,
                timeout=httpx.Timeout(self._patience.read, connect=self._patience.connect),
                # HTTP/1.1 with a connection for each request in flight, kept for the next.
                # HTTP/2 would have them share one and take turns: in Python that needs twice
                # the time a request, and saves a few handshakes a run.
                limits=httpx.Limits(max_connections=self._connections + 1, keepalive_expiry=_KEPT),
                # A proxy of the environment is for the world outside, not for this machine;
                # nor are the world's certificates, which take 30 ms to load.
                trust_env=not here,
                verify=not here or parts.scheme == "https",
                headers={"User-Agent": "ragctl", "Accept": "application/json"},
            )
        except (ImportError, ValueError, OSError) as error:
            what = f"the environment's proxy or certificates cannot be used: {error}"
            raise BackendError(f"{self.host}: {what}") from None

    def _json(self, answer: "_Answer") -> object:
        if answer.status != 200:
            raise self._sorted(answer.status, answer)
        body = _parsed(answer)
        if body is _BROKEN:
            if error_messages.is_html(answer.content.decode("utf-8", "replace")):
                page = error_messages.read(answer.content, self._secret).message
                raise BackendError(f"{self.host} answered {page}; is the address right?")
            raise Transient(f"{self.host} answered JSON that is cut off or broken")
        if isinstance(body, dict) and "data" not in body and isinstance(body.get("error"), dict):
            # Some routers answer 200 and put the failure of the host behind them in the body.
            code = body["error"].get("code")
            raise self._sorted(code if isinstance(code, int) else 500, answer)
        return body

    def _sorted(self, status: int, answer: "_Answer") -> BackendError:
        """Return the error for a status that is not 200."""
        complaint = error_messages.read(answer.content, self._secret)
        said = f"{status} {complaint.message}".strip()
        if complaint.codes & self._words.key or status in (401, 498):
            return BackendError(f"{self.host} refused {self._key_in_words()}: {said}")
        if complaint.codes & self._words.fatal or status == 402 or self._spent(complaint):
            return BackendError(f"{self.host} refused: {said}")
        # Servers of llama.cpp call a text that is too long a failure of their own.
        if complaint.codes & self._words.text or (status == 500 and self._named(complaint)):
            return Refused(f"refused by {self.host}: {said}", certain=True)
        if status in (408, 409, 424, 429, 499) or (status >= 500 and status != 501):
            wait = retry_after(answer.headers, self._wall(), throttled=status == 429)
            wait = complaint.wait if wait is None else wait
            if answer.headers.get("x-should-retry") == "false":
                return BackendError(f"{self.host} failed and says not to try again: {said}")
            return Transient(f"{self.host}: {said}", wait, throttled=status in (429, 503))
        if status in (400, 413, 422):
            return self._refused(status, complaint, said)
        if status == 404:
            return BackendError(f"{self.host} knows no such model or address: {said}")
        if 300 <= status < 400:
            # Without its query, which may quote the key back.
            to = answer.headers.get("location", "elsewhere").partition("?")[0]
            to = to.replace(self._secret, "***") if self._secret else to
            return BackendError(f"{self.host} redirects to {to}: give the final address")
        return BackendError(f"{self.host} refused: {said}")

    def _refused(self, status: int, complaint: Complaint, said: str) -> BackendError:
        if complaint.fields and not complaint.fields & INPUTS:
            return BackendError(f"{self.host} refused the request: {said}")
        certain = bool(complaint.fields & INPUTS) or status == 413 or self._named(complaint)
        return Refused(f"refused by {self.host}: {said}", certain)

    def _named(self, complaint: Complaint) -> bool:
        """Whether a message says of the text itself that it is refused."""
        message = complaint.message.lower()
        return any(phrase in message for phrase in self._words.phrases)

    def _spent(self, complaint: Complaint) -> bool:
        said = " ".join((complaint.message, *complaint.codes)).lower()
        return any(phrase in said for phrase in self._words.spent)

    def _key_in_words(self) -> str:
        if self._key is not None:
            return f"the key in {self._key.variable}"
        return f"to work without a key (set {self._key_variable})" if self._key_variable else "us"

    @property
    def _secret(self) -> str | None:
        return self._key.reveal() if self._key else None


_BROKEN = object()


def _parsed(answer: _Answer) -> object:
    """Return an answer's JSON, or _BROKEN: the error of json itself would show all of it."""
    import orjson  # six times as fast on vectors

    body: object = _BROKEN
    try:
        body = orjson.loads(answer.content)
    except ValueError:
        with contextlib.suppress(ValueError):  # NaN, which is no JSON, is told apart later
            body = json.loads(answer.content)
    return body


def retry_after(headers: Mapping[str, str], now: float, throttled: bool = False) -> float | None:
    """Return how many seconds a host asks to wait; `now` is the wall clock.

    Reads `retry-after-ms`, and `Retry-After` as seconds or as an HTTP date
    (RFC 9110, 10.2.3); where a host that is `throttled` gives neither, the time
    until its limit of requests or tokens begins anew (`x-ratelimit-reset-…`, in
    OpenAI's durations such as 6m0s). Rubbish and negative values count as not given.
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
    return _reset(headers) if throttled else None


def _reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limit that is used up begins anew."""
    waits = []
    for what in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() not in ("", "0"):
            continue
        found = _DURATION.fullmatch(headers.get(f"x-ratelimit-reset-{what}", "").strip())
        if found and found[0]:
            parts = zip(found.groups(), _UNITS, strict=True)
            waits.append(sum(float(part or 0) * unit for part, unit in parts))
    return max(waits, default=None)


def _keyed(key: ApiKey, header: str, before: str) -> "httpx.Auth":
    import httpx

    class Keyed(httpx.Auth):
        """Sets the header as each request leaves, so that the client holds no copy of the key."""

        def auth_flow(
            self, request: httpx.Request
        ) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers[header] = f"{before}{key.reveal()}"
            yield request

    return Keyed()
