"""Sends a message to a webhook. The URL may hold a secret and is never shown."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from ragctl.errors import BackendError
from ragctl.hosts.addresses import is_loopback
from ragctl.hosts.deadline import within
from ragctl.hosts.errors import Transient
from ragctl.hosts.retry import retry

TRY_SECONDS = 10.0  # for the whole of one try
RETRY_PAUSES_SECONDS = (1.0, 4.0)
TRANSIENT_STATUSES = frozenset({408, 425, 429})  # besides every 5xx


def send(
    url: str,
    body: bytes,
    *,
    seconds: float = TRY_SECONDS,
    pauses: Sequence[float] = RETRY_PAUSES_SECONDS,
) -> str | None:
    """POST `body`, which is JSON, to `url`. Return None, or why it was not delivered.

    A try takes at most `seconds`; after the n-th failed one, `pauses[n - 1]` seconds pass.
    The reason shows only the scheme and the host of the URL.
    """
    origin = _origin(url)
    if origin is None:
        return "its address does not begin with http:// or https:// and a host"

    def pause(failure: Transient, tries: int, _: float) -> float:
        if tries > len(pauses):
            raise failure
        return pauses[tries - 1]

    try:
        retry(lambda: _deliver(url, body, seconds), Transient, pause)
    except BackendError as error:
        return f"{origin}: {error}"
    return None


def _origin(url: str) -> str | None:
    """Return the scheme and host of an http(s) URL: all of it that may be shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return f"{parts.scheme}://{host}"


def _deliver(url: str, body: bytes, seconds: float) -> None:
    """Try once. Raises Transient if another try may succeed, else BackendError."""
    try:
        error = within(seconds, lambda: _post(url, body, seconds))
    except TimeoutError:
        raise Transient(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error


def _post(url: str, body: bytes, seconds: float) -> BackendError | None:
    """Return None if the message was accepted, else the error without the URL."""
    import httpx

    headers = {"Content-Type": "application/json", "User-Agent": "ragctl"}
    try:
        # Only the head of the answer is read. A redirect is not followed: the message goes to
        # the URL that the user named and nowhere else. No proxy leads to this machine.
        with (
            httpx.Client(
                timeout=seconds, follow_redirects=False, trust_env=not is_loopback(url)
            ) as client,
            client.stream("POST", url, content=body, headers=headers) as response,
        ):
            status = response.status_code
    except httpx.TimeoutException:
        return Transient(f"no answer within {seconds:g} s")
    except httpx.ConnectError as error:
        return Transient(str(error) or "no connection")
    except (httpx.RemoteProtocolError, httpx.NetworkError):
        return Transient("the connection broke off")
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # The message of such an error may quote the URL.
        return BackendError(f"the request could not be sent ({type(error).__name__})")
    if response.is_success:
        return None
    if response.is_redirect:
        return BackendError(f"answered {status}, a redirect, which is not followed")
    if status >= 500 or status in TRANSIENT_STATUSES:
        return Transient(f"answered {status}")
    return BackendError(f"answered {status}")
