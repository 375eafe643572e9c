"""Vector stores: collections of points in a local folder or on a Qdrant server."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ragctl import environment
from ragctl.errors import UsageError

if TYPE_CHECKING:
    from ragctl.stores.base import Store

__all__ = ["is_server", "open_store"]


def is_server(location: str) -> bool:
    """Return whether a store's location is an address (`http://…`), not a folder."""
    return "://" in location


def open_store(
    location: str,
    *,
    environ: Mapping[str, str],
    patience: float | None = None,
    read_only: bool = False,
    keep_open: bool = False,
) -> "Store":
    """Return the store at a location: an http(s) URL is a Qdrant server, anything else a folder.

    Nothing is contacted yet. `environ` may hold the server's key (RAGCTL_QDRANT_API_KEY, else
    QDRANT_API_KEY), the certificates of an https connection, and RAGCTL_LEASE_SECONDS (a run on
    another host is dead after so long without a heartbeat).
    `keep_open`: what is opened stays open while it is idle, until another process waits for it.
    `patience`: seconds to wait for an answer, or for another process; None: the store's
    default. `read_only`: nothing will be written; RAGCTL_QDRANT_SEARCH_KEY is used if it is set.
    Raises UsageError for an invalid location, key, certificate or lease.
    """
    if re.match(r"https?://", location, re.IGNORECASE):
        from ragctl.stores.server import ServerStore
        from ragctl.stores.server_http import Tls

        keys = environment.SERVER_KEYS
        if read_only:
            keys = (environment.QDRANT_SEARCH_KEY, *keys)
        key = environment.first_set(environ, keys) or environment.QDRANT_API_KEY
        connect = partial(
            ServerStore,
            location,
            api_key=key.value(environ),
            key_variable=key.name,
            tls=Tls(
                environment.QDRANT_CA_FILE.value(environ) or None,
                environment.QDRANT_CERTIFICATE.value(environ) or None,
                environment.QDRANT_CERTIFICATE_KEY.value(environ) or None,
            ),
            lease=_lease_seconds(environ),
        )
        if patience is None:
            return connect()
        return connect(timeout=max(1, round(patience)), patience=patience)
    if is_server(location):
        raise UsageError(f"store {location!r}: write http://… or https://… for a Qdrant server")
    if re.fullmatch(r"[\w.-]+:\d+", location):
        raise UsageError(f"store {location!r}: write http://{location} for a Qdrant server")
    from ragctl.stores.edge import EdgeStore

    folder = Path(location).expanduser()
    if patience is None:
        return EdgeStore(folder, keep_open=keep_open)
    return EdgeStore(folder, patience=patience, keep_open=keep_open)


def _lease_seconds(environ: Mapping[str, str]) -> float | None:
    given = environment.LEASE_SECONDS.value(environ)
    if not given:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:  # also when it is not a number
        raise UsageError(f"{environment.LEASE_SECONDS.name}={given}: seconds, from 1 to 3600")
    return seconds
