"""Things that go wrong, one per request: append them to a server's `faults`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Items = list[dict[str, Any]]


@dataclass(frozen=True)
class Fault:
    """How one request is answered wrongly.

    `status` is answered in the host's own error shape unless `body` is given.
    `spoil` changes the items of a right answer; `sending` how its bytes leave.
    """

    status: int = 200
    code: str | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    spoil: Callable[[Items], Items] | None = None
    sending: Literal["whole", "cut", "truncated", "dropped", "hang", "trickle"] = "whole"


def busy(retry_after: object = None, **headers: str) -> Fault:
    """429, with a Retry-After where given (seconds or an HTTP date)."""
    given = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    return Fault(429, "RATE_TOKEN_LIMIT_EXCEEDED", headers=given | headers)


def failing(status: int = 500, code: str | None = None) -> Fault:
    return Fault(status, code)


def hang() -> Fault:
    """No answer until the server closes."""
    return Fault(sending="hang")


def trickle() -> Fault:
    """A byte now and then, so that no single wait for one is long. It never ends in time."""
    return Fault(sending="trickle")


def dropped() -> Fault:
    """The connection closes before any answer."""
    return Fault(sending="dropped")


def cut() -> Fault:
    """The connection closes in the middle of the body."""
    return Fault(sending="cut")


def truncated() -> Fault:
    """Half of the JSON, with a Content-Length that says it is whole."""
    return Fault(sending="truncated")


def html(status: int = 200) -> Fault:
    page = b"<!DOCTYPE html><html><head><title>Gateway\n login</title></head><body>\x1b[31m</body>"
    return Fault(status, body=page + b"<p>x</p>" * 500, content_type="text/html")


def text(status: int, body: bytes) -> Fault:
    return Fault(status, body=body)


def shuffled() -> Fault:
    """Right indexes, wrong order."""
    return Fault(spoil=lambda items: items[::-1])


def unindexed() -> Fault:
    return Fault(spoil=lambda items: [_without(item, "index") for item in items])


def partly_indexed() -> Fault:
    return Fault(spoil=lambda items: [_without(items[0], "index"), *items[1:]])


def repeated_index() -> Fault:
    return Fault(spoil=lambda items: [item | {"index": 0} for item in items])


def one_less() -> Fault:
    return Fault(spoil=lambda items: items[:-1])


def one_more() -> Fault:
    return Fault(spoil=lambda items: [*items, items[0] | {"index": len(items)}])


def wrong_dim() -> Fault:
    def shorten(items: Items) -> Items:
        return [item | {"embedding": item["embedding"][:-1]} for item in items]

    return Fault(spoil=shorten)


def ragged() -> Fault:
    def shorten(items: Items) -> Items:
        return [items[0] | {"embedding": items[0]["embedding"][:-1]}, *items[1:]]

    return Fault(spoil=shorten)


def nan() -> Fault:
    return _vectors(lambda v: np.where(np.arange(len(v)) == 3, np.nan, v))


def infinite() -> Fault:
    return _vectors(lambda v: np.where(np.arange(len(v)) == 3, np.inf, v))


def zero() -> Fault:
    return _vectors(lambda v: v * 0)


def padded(wanted: int | None = None) -> Fault:
    """Half of each vector, and zeros to its length: what a smaller model's looks like in disguise.

    With `wanted` the whole vector, and zeros to that length.
    """

    def pad(vector: Any) -> Any:
        length = wanted or len(vector)
        kept = vector if wanted else vector[: length // 2]
        return np.pad(kept, (0, length - len(kept)))

    return _all(pad)


def no_embedding() -> Fault:
    return Fault(spoil=lambda items: [_without(item, "embedding") for item in items])


def _vectors(change: Callable[[Any], Any]) -> Fault:
    def spoil(items: Items) -> Items:
        return [*items[:-1], items[-1] | {"embedding": change(items[-1]["embedding"])}]

    return Fault(spoil=spoil)


def _all(change: Callable[[Any], Any]) -> Fault:
    return Fault(
        spoil=lambda items: [item | {"embedding": change(item["embedding"])} for item in items]
    )


def _without(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != key}
