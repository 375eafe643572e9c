"""The call to a URL when a run has ended. The URL may hold a secret: never shown."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from ragctl.hosts.addresses import is_loopback

_SECONDS = 10.0  # one try, its whole answer included
_PAUSES = (1.0, 4.0)  # seconds before the second and the third try
_LATER = (408, 425, 429)  # besides every 5xx


@dataclass(frozen=True, slots=True)
class _Missed:
    """Why a try failed, and whether another may do better."""

    reason: str
    again: bool = False


def call(
    url: str,
    body: bytes,
    *,
    seconds: float = _SECONDS,
    pauses: Sequence[float] = _PAUSES,
) -> str | None:
    """POST `body`, which is JSON. Return None, or why nobody took it, without the URL's secrets."""
    place = _place(url)
    if place is None:
        return "its address does not begin with http:// or https:// and a host"
    missed = _try(url, body, seconds)
    for pause in pauses:
        if missed is None or not missed.again:
            break
        time.sleep(pause)
        missed = _try(url, body, seconds)
    return None if missed is None else f"{place}: {missed.reason}"


def _place(url: str) -> str | None:
    """Scheme and host, all of a URL that may be shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    return f"{parts.scheme}://{host}"


def _try(url: str, body: bytes, seconds: float) -> _Missed | None:
    """One try, in a thread of its own: the client's timeouts begin anew with every byte."""
    outcome: SimpleQueue[_Missed | None] = SimpleQueue()
    work = threading.Thread(
        target=lambda: outcome.put(_post(url, body, seconds)), name="call", daemon=True
    )
    work.start()
    try:
        return outcome.get(timeout=seconds)
    except Empty:
        return _Missed(f"no answer within {seconds:g} s", again=True)


def _post(url: str, body: bytes, seconds: float) -> _Missed | None:
    import httpx

    headers = {"Content-Type": "application/json", "User-Agent": "ragctl"}
    try:
        # Only the head of the answer is read. A redirect is not followed: the URL names
        # whom to tell, and nobody else.
        here = is_loopback(url)  # no proxy leads there
        with (
            httpx.Client(timeout=seconds, follow_redirects=False, trust_env=not here) as client,
            client.stream("POST", url, content=body, headers=headers) as response,
        ):
            status = response.status_code
    except httpx.TimeoutException:
        return _Missed(f"no answer within {seconds:g} s", again=True)
    except httpx.ConnectError as error:
        return _Missed(str(error) or "no connection", again=True)
    except (httpx.RemoteProtocolError, httpx.NetworkError):
        return _Missed("the connection broke off", again=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # Their words may quote the URL.
        return _Missed(f"the request could not be sent ({type(error).__name__})")
    if response.is_success:
        return None
    if response.is_redirect:
        return _Missed(f"answered {status}, a redirect, which is not followed")
    return _Missed(f"answered {status}", again=status >= 500 or status in _LATER)
