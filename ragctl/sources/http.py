"""Requests of the sources that are web servers: time limits, no redirect to another host."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from ragctl.sources.base import CONNECT_SECONDS, READ_SECONDS
from ragctl.sources.remote_file import PIECE_BYTES
from ragctl.sources.retry import Refused

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
USER_AGENT = "ragctl"
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_TEMPORARY = (408, 425, 429)


class WebClient:
    """Makes requests. Used by several threads; connections are kept."""

    @cached_property
    def _client(self) -> "httpx.Client":
        import httpx

        return httpx.Client(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            auth=_netrc(),
            headers={"User-Agent": USER_AGENT},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Iterator["httpx.Response"]:
        """Yield the answer to a request; its body is not read yet.

        Follows redirects to the same host. Raises FileNotFoundError for 404 and 410, Refused for
        what will not change, such as 403, and other errors for what may.
        """
        host = urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS):
            with self._client.stream(method, url, headers=headers, content=content) as response:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    url = urljoin(url, response.headers["location"])
                    parts = urlsplit(url)
                    if parts.netloc != host or parts.scheme not in ("http", "https"):
                        raise Refused(f"redirects to another host, {parts.netloc}")
                    continue
                _check_status(response)
                yield response
                return
        raise Refused(f"redirects more than {MAX_REDIRECTS} times")

    def body(
        self,
        method: str,
        url: str,
        limit: int,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> bytes:
        """Return the whole answer. Raises as `request`, and Refused for a larger one."""
        with self.request(method, url, headers=headers, content=content) as response:
            data = bytearray()
            for piece in response.iter_bytes(PIECE_BYTES):
                data += piece
                if len(data) > limit:
                    raise Refused(f"is larger than {limit:,} bytes")
            _check_length(response)
            return bytes(data)

    def fetch(self, url: str, to: BinaryIO) -> None:
        """Write the body of a page to a file. Raises as `request`."""
        with self.request("GET", url) as response:
            for piece in response.iter_bytes(PIECE_BYTES):
                to.write(piece)
            _check_length(response)


def _netrc() -> Any:
    """Return the credentials of ~/.netrc, or of $NETRC, for httpx; None without such a file."""
    import httpx

    try:
        return httpx.NetRCAuth()
    except (OSError, SyntaxError):
        return None


def _check_length(response: "httpx.Response") -> None:
    """Raise OSError for a body that is shorter than announced."""
    expected = response.headers.get("content-length", "")
    if expected.isdigit() and response.num_bytes_downloaded < int(expected):
        raise OSError(0, f"{response.num_bytes_downloaded:,} of {int(expected):,} bytes came")


def _check_status(response: "httpx.Response") -> None:
    status = response.status_code
    if status < 300 or status == 304:
        return
    if status in _GONE:
        raise FileNotFoundError(2, f"the server answered {status}")
    if status in _TEMPORARY or status >= 500:
        raise OSError(0, f"the server answered {status}")
    raise Refused(f"the server answered {status}")


def http_time(text: str | None) -> int:
    """Return the time of a header in nanoseconds since 1970; 0 if there is none."""
    try:
        return int(parsedate_to_datetime(text or "").timestamp()) * 1_000_000_000
    except (TypeError, ValueError):
        return 0


def address_of(url: str) -> str:
    """Return the URL of a folder as servers write it: quoted, with "/" at the end."""
    parts = urlsplit(url)
    path = quote(unquote(parts.path.rstrip("/")))
    return urlunsplit((parts.scheme.lower(), parts.netloc, f"{path}/", "", ""))


def exact_stamp(etag: str, size: str) -> bool:
    """Return whether an ETag identifies the content: a strong one, and the size is known."""
    return bool(etag) and not etag.startswith("W/") and size.isdigit()
