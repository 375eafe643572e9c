"""Which addresses are on this machine, and a warning about keys sent in the clear."""

import warnings
from urllib.parse import urlsplit

from ragctl.hosts.keys import ApiKey

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_loopback(url: str) -> bool:
    """Return whether `url` leads to this machine. Raises ValueError for a malformed URL."""
    return urlsplit(url).hostname in LOOPBACK_HOSTS


def warn_of_plain_http(url: str, key: ApiKey | None) -> None:
    """Warn if `key` is sent unencrypted to another machine."""
    parts = urlsplit(url)
    if key is not None and parts.scheme == "http" and not is_loopback(url):
        warnings.warn(
            f"the key in {key.variable} is sent to {parts.netloc} over plain http, where others "
            "on the network can read it",
            stacklevel=5,
        )
