"""The limits of a server's strict mode, with the answers of Qdrant 1.18.

Where a server counts what is in a collection, this does too; it does not cache the counts.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models
from qdrant_client.local.local_collection import LocalCollection

_NAMES = {
    "max_query_limit": "limit",
    "search_max_hnsw_ef": "hnsw_ef",
    "search_max_oversampling": "oversampling",
    "search_max_batchsize": "search batch size",
    "upsert_max_batchsize": "upsert limit",
}
"""How error messages name a limit."""


class Problem(Exception):
    """An error answer. `retry_after`: seconds of that header."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass
class Limits:
    """The checks of strict mode. `settings`: strict_mode_config as in a collection's info."""

    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens: dict[str, tuple[float, float]] = {}  # by limit: left, and when

    def get(self, name: str) -> Any:
        """Return a setting; None if strict mode is off or does not set it."""
        return self.settings.get(name) if self.settings.get("enabled") else None

    def check(self, name: str, value: float) -> None:
        allowed = self.get(name)
        if allowed is not None and value > allowed:
            label = _NAMES[name]
            raise Problem(
                400,
                f'Bad request: Limit exceeded {value} > {allowed} for "{label}". '
                f'Help: Reduce the "{label}" parameter to or below {allowed}.',
            )

    def check_exact(self, exact: bool | None) -> None:
        if exact and self.get("search_allow_exact") is False:
            raise Problem(400, "Bad request: Exact search disabled!. Help: Set exact=false.")

    def check_filter(self, condition: Any) -> None:
        most, size = self.get("filter_max_conditions"), self.get("condition_max_size")
        sizes = list(_sizes(condition))
        if most is not None and len(sizes) > most:
            raise Problem(
                400,
                f"Bad request: Filter condition limit reached ({len(sizes)} > {most}). "
                "Help: Reduce the amount of conditions of your filter.",
            )
        if size is not None and max(sizes, default=0) > size:
            raise Problem(
                400,
                f"Bad request: Condition size limit reached ({max(sizes)} > {size}). "
                "Help: Reduce the size of your condition.",
            )

    def check_room(self, held: LocalCollection) -> None:
        """Check an upsert into a collection that holds points already."""
        most = self.get("max_points_count")
        if most is not None and held.count().count >= most:
            raise Problem(400, f"Bad request: Max points count limit of {most} reached!")
        for kind in ("vector", "payload"):
            most = self.get(f"max_collection_{kind}_size_bytes")
            if most is not None and _stored_bytes(held, kind) >= most:
                size = f"{most / 2**20:g}MB"
                raise Problem(400, f"Bad request: Max {kind} storage size limit of {size} reached!")

    def check_indexes(self, count: int) -> None:
        """Check one more payload index beside `count` others."""
        most = self.get("max_payload_index_count")
        if most is not None and count >= most:
            raise Problem(
                400,
                f"Bad request: Collection contains {count} indices. "
                f"Max allowed: {most}. Help: Remove some indices or increase the limit.",
            )

    def spend(self, kind: str, tokens: int) -> None:
        """Take tokens of `write_rate_limit` or `read_rate_limit`, which are tokens a minute."""
        per_minute = self.get(f"{kind}_rate_limit")
        if per_minute is None:
            return
        line = f"Rate limiting exceeded: {kind.title()} rate limit exceeded"
        if tokens > per_minute:
            raise Problem(
                429,
                f"{line}, request larger than rate limiter capacity, "
                "please try to split your request",
            )
        left, when = self._tokens.get(kind, (float(per_minute), time.monotonic()))
        left = min(per_minute, left + (time.monotonic() - when) * per_minute / 60)
        if tokens > left:
            self._tokens[kind] = (left, time.monotonic())
            wait = math.ceil((tokens - left) * 60 / per_minute)
            raise Problem(
                429,
                f"{line}: Operation requires {tokens} tokens but only {left:.1f} were available. "
                f"Retry after {wait}s",
                retry_after=wait,
            )
        self._tokens[kind] = (left - tokens, time.monotonic())


def _stored_bytes(held: LocalCollection, kind: str) -> int:
    if kind == "payload":
        return len(str(held.payload))
    return sum(len(held.payload) * vectors.shape[1] * 4 for vectors in held.vectors.values())


def _sizes(condition: Any) -> Iterator[int]:
    """Yield the number of values of each condition in a filter."""
    if condition is None:
        return
    if isinstance(condition, models.Filter):
        for clause in (condition.must, condition.should, condition.must_not):
            for part in clause if isinstance(clause, list) else [clause]:
                yield from _sizes(part)
    elif isinstance(condition, models.HasIdCondition):
        yield len(condition.has_id)
    elif isinstance(condition, models.FieldCondition) and isinstance(
        condition.match, models.MatchAny
    ):
        yield len(condition.match.any)
    else:
        yield 1
