"""Faults, one per request: append them to a server's `faults`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Items = list[dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """How one request is answered wrongly.

    `status` is sent in the host's own error format unless `body` is given.
    `corrupt` changes the items of a correct answer; `sending` is how its bytes are sent.
    """

    status: int = 200
    code: str | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    corrupt: Callable[[Items], Items] | None = None
    sending: Literal["whole", "cut", "truncated", "dropped", "hang", "trickle"] = "whole"


def busy(retry_after: object = None, **headers: str) -> Fault:
    """Return a 429, with a Retry-After header if given (seconds or an HTTP date)."""
    given = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    return Fault(429, "RATE_TOKEN_LIMIT_EXCEEDED", headers=given | headers)


def failing(status: int = 500, code: str | None = None) -> Fault:
    return Fault(status, code)


def hang() -> Fault:
    """Send no answer until the server closes."""
    return Fault(sending="hang")


def trickle() -> Fault:
    """Send one byte at a time: each wait is short, but the answer never completes in time."""
    return Fault(sending="trickle")


def dropped() -> Fault:
    """Close the connection before any answer."""
    return Fault(sending="dropped")


def cut() -> Fault:
    """Close the connection in the middle of the body."""
    return Fault(sending="cut")


def truncated() -> Fault:
    """Send half of the JSON with a matching Content-Length."""
    return Fault(sending="truncated")


def html(status: int = 200) -> Fault:
    page = b"<!DOCTYPE html><html><head><title>Gateway\n login</title></head><body>\x1b[31m</body>"
    return Fault(status, body=page + b"<p>x</p>" * 500, content_type="text/html")


def text(status: int, body: bytes) -> Fault:
    return Fault(status, body=body)


def shuffled() -> Fault:
    """Return the items with correct indexes in the wrong order."""
    return Fault(corrupt=lambda items: items[::-1])


def unindexed() -> Fault:
    return Fault(corrupt=lambda items: [_without(item, "index") for item in items])


def partly_indexed() -> Fault:
    return Fault(corrupt=lambda items: [_without(items[0], "index"), *items[1:]])


def repeated_index() -> Fault:
    return Fault(corrupt=lambda items: [item | {"index": 0} for item in items])


def one_item_missing() -> Fault:
    return Fault(corrupt=lambda items: items[:-1])


def one_item_extra() -> Fault:
    return Fault(corrupt=lambda items: [*items, items[0] | {"index": len(items)}])


def wrong_dim() -> Fault:
    def shorten(items: Items) -> Items:
        return [item | {"embedding": item["embedding"][:-1]} for item in items]

    return Fault(corrupt=shorten)


def ragged() -> Fault:
    def shorten(items: Items) -> Items:
        return [items[0] | {"embedding": items[0]["embedding"][:-1]}, *items[1:]]

    return Fault(corrupt=shorten)


def nan() -> Fault:
    return _last_vector(lambda v: np.where(np.arange(len(v)) == 3, np.nan, v))


def infinite() -> Fault:
    return _last_vector(lambda v: np.where(np.arange(len(v)) == 3, np.inf, v))


def zero() -> Fault:
    return _last_vector(lambda v: v * 0)


def every_zero() -> Fault:
    return _every_vector(lambda v: v * 0)


def padded(dim: int | None = None) -> Fault:
    """Replace the second half of each vector by zeros, like a padded vector of a smaller model.

    With `dim`, keep the whole vector and pad it with zeros to that dimension.
    """

    def pad(vector: Any) -> Any:
        length = dim or len(vector)
        kept = vector if dim else vector[: length // 2]
        return np.pad(kept, (0, length - len(kept)))

    return _every_vector(pad)


def no_embedding() -> Fault:
    return Fault(corrupt=lambda items: [_without(item, "embedding") for item in items])


def _last_vector(change: Callable[[Any], Any]) -> Fault:
    def corrupt(items: Items) -> Items:
        return [*items[:-1], items[-1] | {"embedding": change(items[-1]["embedding"])}]

    return Fault(corrupt=corrupt)


def _every_vector(change: Callable[[Any], Any]) -> Fault:
    return Fault(
        corrupt=lambda items: [item | {"embedding": change(item["embedding"])} for item in items]
    )


def _without(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != key}
