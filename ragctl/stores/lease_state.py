"""The state of a lease, as the payload of a hidden point holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragctl.stores.hidden_point import Hidden
from ragctl.text import one_line

DEFAULT_LEASE_SECONDS = 45.0
"""Life of a lease without a heartbeat."""

MAX_LEASE_SECONDS = 3600.0

LEASE_KEY = "lease"
"""Payload key of the lease on the hidden point."""

UNFINISHED_KEY = "unfinished"
"""Payload key beside the lease: the last holder may have left writes that some replicas lack."""

FREE = "free"
SINCE_KEY, RENEWED_KEY = "since", "renewed"
"""Payload keys beside the lease: when it was taken and last renewed, by its holder's clock, in
seconds since 1970. They are for people; whether a lease has ended is measured by its reader.
"""

KEYS = (LEASE_KEY, "host", "who", "seconds", UNFINISHED_KEY, SINCE_KEY, RENEWED_KEY)
_DISPUTED = "?"  # a token that no holder has


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as it was read.

    `token` None: never taken. `point`: whether the point exists. `unfinished`: the last holder
    may have left writes that some replicas lack. `disputed`: the payload of one replica, if the
    replicas disagree. `since`, `renewed`: see SINCE_KEY; None: unknown.
    """

    point: bool
    token: str | None = None
    host: str = ""
    who: str = "unknown"
    seconds: float = DEFAULT_LEASE_SECONDS
    unfinished: bool = False
    disputed: Mapping[str, Any] | None = None
    since: float | None = field(default=None, compare=False)
    renewed: float | None = field(default=None, compare=False)

    @property
    def free(self) -> bool:
        """Whether no run holds the lease."""
        return self.token is None or self.token.endswith(f":{FREE}")


def lease_state(found: Hidden) -> LeaseState:
    """Return the lease that a hidden point holds."""
    payload = found.payload
    if payload is None:
        return LeaseState(point=False)
    seconds = payload.get("seconds")
    usable = isinstance(seconds, int | float) and 0 < seconds <= MAX_LEASE_SECONDS
    lifetime = float(seconds) if usable else DEFAULT_LEASE_SECONDS  # type: ignore[arg-type]
    if not found.agreed:
        return LeaseState(True, _DISPUTED, seconds=lifetime, disputed=payload)
    token = payload.get(LEASE_KEY)
    if token is None:
        return LeaseState(point=True, unfinished=bool(payload.get(UNFINISHED_KEY)))
    return LeaseState(
        point=True,
        token=str(token),
        host=str(payload.get("host")),
        who=one_line(str(payload.get("who")), limit=100, printable_only=True),
        seconds=lifetime,
        unfinished=bool(payload.get(UNFINISHED_KEY)),
        since=_time(payload.get(SINCE_KEY)),
        renewed=_time(payload.get(RENEWED_KEY)),
    )


def _time(stored: Any) -> float | None:
    return float(stored) if type(stored) in (int, float) else None
