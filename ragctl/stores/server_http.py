"""Qdrant's REST API over a pool of connections: requests and answers are JSON values.

No client library is used: importing qdrant-client takes 1.1 s of CPU, and its models encode
vectors with four times the CPU that orjson needs (docs/benchmarks.md#upserts).
"""

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote

import httpx
import orjson

T = TypeVar("T")

JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
"""float32 arrays are written with the shortest text that gives the same float32 again."""

MAX_ANSWER_BYTES = 2**28

MAX_GREETING_BYTES = 2**20
"""Limit on the answer to `GET /`, which is the first request to an address."""

MAX_ANSWER_TIMEOUTS = 5
"""An answer may take so many times the timeout; that to `GET /` once."""

KEEP_ALIVE_SECONDS = 4.0  # the server closes idle connections after 5


class StatusError(Exception):
    """An answer with an HTTP status that is not a success."""

    def __init__(self, status: int, content: bytes, retry_after: str | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.content = content
        self.retry_after = retry_after


class ForeignAnswerError(Exception):
    """An answer that is not JSON, or not what Qdrant answers to this request."""


class EndlessAnswerError(ForeignAnswerError):
    """An answer that is larger, or takes longer, than any of Qdrant's."""


@dataclass(frozen=True, slots=True)
class Tls:
    """What an https connection uses; paths of PEM files.

    `ca`: certificate authorities to trust instead of the usual ones. `certificate` and `key`:
    the client's certificate and its private key; without `key` the certificate's file holds both.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


NO_TLS = Tls()
"""The usual certificate authorities, and no client certificate."""


class QdrantHttp:
    """Requests to one server. Thread-safe.

    Args:
        url: address without a trailing slash.
        api_key: sent with every request.
        timeout: seconds for connecting, and for each part of an answer.
        verify: what httpx takes as `verify`.
    """

    def __init__(self, url: str, *, api_key: str | None, timeout: float, verify: Any) -> None:
        headers = {"User-Agent": "ragctl", "Content-Type": "application/json"}
        if api_key is not None:
            headers["api-key"] = api_key
        self._url = url
        self._timeout = timeout
        self._client = httpx.Client(
            headers=headers,
            timeout=timeout,
            verify=verify,
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
        )
        self.close = weakref.finalize(self, self._client.close)
        """Close the connections. They are also closed with the object's end."""

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        read: Callable[[Any], T] | None = None,
        within: float | None = None,
        **query: str,
    ) -> T:
        """Send one request and return what `read` makes of the answer's `result`.

        `body`: a JSON value that may hold float32 arrays and orjson.Fragments; None: no body.
        `read`: None returns the result as it is; a result on which it raises an error of keys,
        types or values is a ForeignAnswerError. `within`: seconds, instead of the timeout.
        `query`: parameters of the URL.

        Raises StatusError, ForeignAnswerError, and httpx.HTTPError for a lost connection.
        """
        answer = self.answer(method, path, body, within=within, **query)
        try:
            result = answer["result"]
            return cast(T, result) if read is None else read(result)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ForeignAnswerError(f"{type(error).__name__}: {error}") from error

    def answer(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        within: float | None = None,
        **query: str,
    ) -> Mapping[str, Any]:
        """Send one request and return the whole answer, a JSON object. Raises as `send`."""
        content = None if body is None else orjson.dumps(body, option=JSON_OPTIONS)
        url = f"{self._url}{path}"
        first = path == "/"
        deadline = time.monotonic() + self._timeout * (1 if first else MAX_ANSWER_TIMEOUTS)
        parts: list[bytes] = []
        left = MAX_GREETING_BYTES if first else MAX_ANSWER_BYTES
        timeout = self._timeout if within is None else within
        with self._client.stream(
            method, url, content=content, params=query or None, timeout=timeout
        ) as answer:
            for part in answer.iter_bytes():
                parts.append(part)
                left -= len(part)
                if left < 0 or time.monotonic() > deadline:
                    raise EndlessAnswerError("the answer does not end")
        text = b"".join(parts)
        if not answer.is_success:
            raise StatusError(answer.status_code, text, answer.headers.get("Retry-After"))
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ForeignAnswerError(str(error)) from error
        if not isinstance(found, dict):
            raise ForeignAnswerError("the JSON is not an object")
        return found


def collection_path(name: str, *parts: str) -> str:
    """Return the path of a collection, or of something below it."""
    return "/".join(("/collections", quote(name, safe=""), *parts))
